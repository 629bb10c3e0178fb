// SPDX-License-Identifier: Apache-2.0
//
// The options of `report` and `diff`.
#include <CLI/CLI.hpp>
#include <utility>

#include "cli/option_words.h"

namespace tidemark::cli {
namespace {

constexpr uint64_t kSmallestStore = 1u << 20;

Result<std::size_t> read_top_rows(const std::string& word) {
  return read_top(word, "rows");
}

Result<uint64_t> read_store_limit(const std::string& word) {
  auto size = parse_size(word);
  if (size && *size < kSmallestStore) {
    return fail("'{}' is too small for a store: give it at least 1M", word);
  }
  return size;
}

Status check_times(const Words& words, const ReportOptions& options) {
  if (options.duration && !options.interval) {
    return fail("--for {} needs --every TIME beside it: one report takes about a second",
                *words.duration);
  }
  if (options.duration && *options.interval > *options.duration) {
    return fail(
        "--every {} is longer than --for {}: no second report would come; make --every shorter",
        *words.interval, *words.duration);
  }
  return {};
}

}  // namespace

void add_report(CLI::App& root, Words& words) {
  CLI::App& app = *root.add_subcommand(
      "report", "where all memory of this machine is, ghosts and merged slab caches included");
  add_word(app, "--json", words.memory_json, "FILE",
           "everything, as JSON; with --every a document a line; - is stdout");
  add_word(app, "--top", words.top, "N", "rows of each table in the text (10); JSON holds all");
  add_word(app, "--every", words.interval, "TIME", "a report this often");
  add_word(app, "--for", words.duration, "TIME", "end after this time (with --every)");
  add_word(app, "--store", words.store, "DIR",
           "keep each report as a JSON file there, for tidemark diff");
  add_word(app, "--store-limit", words.store_limit, "SIZE",
           "drop the oldest reports of the store beyond this (256M)");
  app.add_flag("--fail-on-suspect", words.fail_on_suspect, "exit with 3 if anything is suspected");
  add_common(app, words);
  app.footer(
      "Times take ms, s, m, h; sizes take K, M, G.\n\nExamples:\n"
      "  tidemark report\n"
      "  tidemark report --json - | jq .ghost\n"
      "  tidemark report --every 10s --for 10m --store DIR && tidemark diff DIR");
}

void add_diff(CLI::App& root, Words& words) {
  CLI::App& app = *root.add_subcommand(
      "diff", "what grew between two reports or traces, or in a store of reports");
  add_word(app, "--json", words.memory_json, "FILE",
           "everything, as one JSON document; - is stdout");
  add_word(app, "--top", words.top, "N", "rows in the text (10); JSON holds all");
  add_common(app, words);
  app.footer(
      "Examples:\n"
      "  tidemark diff before.json after.json     two reports, or two traces\n"
      "  tidemark diff DIR                        the ends of a store, and who came and went\n"
      "  tidemark diff series.json                the same of what --every wrote, a document a "
      "line");
}

Result<Command> report_options(const Words& words, const Environment& environment) {
  ReportOptions options;
  if (auto ok = read_times(words, options); !ok) return std::unexpected(ok.error());
  if (auto ok = check_times(words, options); !ok) return std::unexpected(ok.error());
  if (auto ok = read_into(options.text.top, "--top", words.top, read_top_rows); !ok) {
    return std::unexpected(ok.error());
  }
  if (auto ok = read_into(options.store_limit_bytes, "--store-limit", words.store_limit,
                          read_store_limit);
      !ok) {
    return std::unexpected(ok.error());
  }
  if (words.store_limit && !words.store) return fail("--store-limit needs --store DIR beside it");
  if (words.store && words.store->empty()) return fail("--store needs the name of a directory");
  auto json_path = read_json_path(words.memory_json);
  if (!json_path) return std::unexpected(json_path.error());
  options.json_path = std::move(*json_path);
  options.store = words.store;
  take_common(words, environment, options);
  return options;
}

Result<Command> diff_options(const Words& words, const std::vector<std::string>& paths,
                             const Environment& environment) {
  if (paths.empty() || paths.size() > 2) {
    return fail(
        "diff takes two documents (tidemark diff A.json B.json) or one store (tidemark diff DIR), "
        "not {} names. See 'tidemark diff --help'",
        paths.size());
  }
  DiffOptions options;
  options.first = paths.front();
  if (paths.size() == 2) options.second = paths.back();
  if (auto ok = read_into(options.text.top, "--top", words.top, read_top_rows); !ok) {
    return std::unexpected(ok.error());
  }
  auto json_path = read_json_path(words.memory_json);
  if (!json_path) return std::unexpected(json_path.error());
  options.json_path = std::move(*json_path);
  options.text.color = wants_color(words, environment);
  options.text.explain = !words.quiet;
  return options;
}

}  // namespace tidemark::cli
