// SPDX-License-Identifier: Apache-2.0
//
// `tidemark diff`: two saved reports, or the ends of a store, and what grew.
#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "collect/snapshot_store.h"
#include "report/memory_diff_report.h"
#include "support/file.h"

namespace tidemark::cli {
namespace {

Result<std::vector<std::string>> paths_of(const DiffOptions& options) {
  std::error_code ignored;
  const bool is_store = std::filesystem::is_directory(options.first, ignored);
  if (options.second) {
    if (is_store || std::filesystem::is_directory(*options.second, ignored)) {
      return fail(
          "diff compares two files, or the ends of one store: name files, or one directory");
    }
    return std::vector{options.first, *options.second};
  }
  if (!is_store) {
    return fail("{} is not a store: name its directory, or two files to compare", options.first);
  }
  auto paths = collect::SnapshotStore::list(options.first);
  if (!paths) return paths;
  if (paths->size() < 2) {
    return fail(
        "the store {} holds {} report{}, and a comparison takes two: fill it with 'tidemark report "
        "--every 10s --for 10m --store {}'",
        options.first, paths->size(), paths->size() == 1 ? "" : "s", options.first);
  }
  return paths;
}

Result<model::MemorySummary> read_summary(const std::string& path) {
  const auto document = read_file(path);
  if (!document) return std::unexpected(document.error());
  auto summary = report::read_memory_summary(*document);
  if (!summary) return within(fmt::format("cannot compare {}", path), summary.error());
  return summary;
}

}  // namespace

Result<int> run(const DiffOptions& options) {
  const auto paths = paths_of(options);
  if (!paths) return std::unexpected(paths.error());
  if (options.json_path && *options.json_path != "-") {
    if (auto ok = ReplacedFile::check_writable(*options.json_path); !ok) {
      return std::unexpected(ok.error());
    }
  }
  std::vector<model::MemorySummary> summaries;
  for (const std::string& path : *paths) {
    auto summary = read_summary(path);
    if (!summary) return std::unexpected(summary.error());
    summaries.push_back(std::move(*summary));
  }
  const model::MemoryDiff diff = model::compare_memory(summaries);
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
