// SPDX-License-Identifier: Apache-2.0
//
// `tidemark diff`: two saved reports or traces, or the ends of a store or of a series, and what
// grew.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "collect/snapshot_store.h"
#include "report/memory_diff_report.h"
#include "support/file.h"

namespace tidemark::cli {
namespace {

using Summaries = std::vector<model::MemorySummary>;

Result<Summaries> read_files(const std::vector<std::string>& paths) {
  Summaries summaries;
  for (const std::string& path : paths) {
    const auto document = read_file(path);
    if (!document) return std::unexpected(document.error());
    auto summary = report::read_summary(*document);
    if (!summary) return within(fmt::format("cannot compare {}", path), summary.error());
    summaries.push_back(std::move(*summary));
  }
  return summaries;
}

Result<Summaries> read_store(const std::string& directory) {
  const auto paths = collect::SnapshotStore::list(directory);
  if (!paths) return std::unexpected(paths.error());
  if (paths->size() < 2) {
    return fail(
        "the store {} holds {} report{}, and a comparison takes two: fill it with 'tidemark report "
        "--every 10s --for 10m --store {}'",
        directory, paths->size(), paths->size() == 1 ? "" : "s", directory);
  }
  return read_files(*paths);
}

// What --every with --json writes: a document a line.
Result<Summaries> read_lines(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return std::unexpected(text.error());
  Summaries summaries;
  std::size_t number = 0;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    ++number;
    auto summary = report::read_summary(line);
    if (!summary) {
      return within(fmt::format("cannot compare {} alone, which takes a document a line as --every "
                                "writes them; line {}",
                                path, number),
                    summary.error());
    }
    summaries.push_back(std::move(*summary));
  }
  if (summaries.size() < 2) {
    return fail("{} holds {} document{}, and a comparison takes two: name another file as well",
                path, summaries.size(), summaries.size() == 1 ? "" : "s");
  }
  return summaries;
}

Result<Summaries> read_what_is_named(const DiffOptions& options) {
  std::error_code ignored;
  const bool is_store = std::filesystem::is_directory(options.first, ignored);
  if (!options.second) return is_store ? read_store(options.first) : read_lines(options.first);
  if (is_store || std::filesystem::is_directory(*options.second, ignored)) {
    return fail("diff compares two files, or the ends of one store: name files, or one directory");
  }
  return read_files({options.first, *options.second});
}

Result<Summaries> read_summaries(const DiffOptions& options) {
  auto summaries = read_what_is_named(options);
  if (!summaries) return summaries;
  const bool alike = std::ranges::all_of(*summaries, [&](const model::MemorySummary& summary) {
    return summary.what == summaries->front().what;
  });
  if (!alike) return fail("a report and a trace cannot be compared: name two of one kind");
  return summaries;
}

}  // namespace

Result<int> run(const DiffOptions& options) {
  const auto summaries = read_summaries(options);
  if (!summaries) return std::unexpected(summaries.error());
  if (options.json_path && *options.json_path != "-") {
    if (auto ok = ReplacedFile::check_writable(*options.json_path); !ok) {
      return std::unexpected(ok.error());
    }
  }
  const model::MemoryDiff diff = model::compare_memory(*summaries);
  if (options.json_path) {
    const std::string document = report::write_diff_json(diff);
    if (*options.json_path == "-") {
      std::fputs(document.c_str(), stdout);
      return kExitDone;
    }
    if (auto ok = ReplacedFile::write(*options.json_path, document); !ok) {
      return std::unexpected(ok.error());
    }
  }
  std::fputs(report::write_diff_text(diff, options.text).c_str(), stdout);
  return kExitDone;
}

}  // namespace tidemark::cli
