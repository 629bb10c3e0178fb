// SPDX-License-Identifier: Apache-2.0
//
// The options of `trace`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "cli/option_words.h"

namespace tidemark::cli {
namespace {

constexpr uint32_t kStacksOfAll = 1u << 16;  // each process has stacks of its own

Result<model::Selection> read_selection(const Words& words) {
  model::Selection selection;
  auto pids = read_pids(words.pids);
  if (!pids) return std::unexpected(pids.error());
  auto parents = read_pids(words.children_of);
  if (!parents) return within("--children-of", parents.error());
  for (const auto& [name, given] : {std::pair{"comm", &words.comms}, {"cgroup", &words.cgroups}}) {
    if (std::ranges::find(*given, std::string()) != given->end())
      return fail("--{} needs a name, and it is empty", name);
  }
  selection.pids = std::move(*pids);
  selection.children_of = std::move(*parents);
  selection.comms = words.comms;
  selection.cgroups = words.cgroups;
  const bool names_running = selection.is_group() || !selection.pids.empty();
  if (words.all && (names_running || words.command))
    return fail("--all is every process already: leave the other targets out");
  selection.all = words.all;
  if (words.command) {
    if (words.command->empty()) return fail("-- needs a command behind it, such as: -- ls -l");
    if (names_running)
      return fail("either a command behind -- or running processes, not both in one trace");
    selection.command = *words.command;
  } else if (!names_running && !words.all) {
    return fail(
        "trace needs a target: -p PID (look it up with 'pgrep NAME'), --comm NAME, --cgroup PATH, "
        "--children-of PID, --all, or -- COMMAND. See 'tidemark trace --help'");
  }
  return selection;
}

Result<std::vector<OutputFile>> read_outputs(const Words& words) {
  std::vector<OutputFile> outputs;
  for (const report::Format& format : report::formats().subspan(1)) {
    const auto& path = words.outputs.at(&format);
    if (!path) continue;
    if (path->empty()) return fail("--{} needs a file name, or - for stdout", format.name);
    const auto same = std::ranges::find(outputs, *path, &OutputFile::path);
    if (same != outputs.end()) {
      return fail("--{} and --{} both write to {}: give each a place of its own",
                  same->format->name, format.name,
                  *path == "-" ? "stdout" : fmt::format("'{}'", *path));
    }
    outputs.push_back({&format, *path});
  }
  return outputs;
}

}  // namespace

void add_trace(CLI::App& root, Words& words) {
  CLI::App& app =
      *root.add_subcommand("trace", "live allocations per call site, of processes or a command");
  add_words(app, "-p,--pid", words.pids, "PID", "process to trace; repeat it for more than one");
  add_words(app, "--children-of", words.children_of, "PID",
            "the children of this process and theirs, also those to come");
  add_words(app, "--comm", words.comms, "NAME",
            "every process of this name (as in /proc/PID/comm), also those to come");
  add_words(app, "--cgroup", words.cgroups, "PATH",
            "every process in this cgroup and below, also those to come");
  app.add_flag("--all", words.all, "every process of the machine, also those to come");
  add_word(app, "--for", words.duration, "TIME",
           "how long, counted from when all probes are on; else until Ctrl-C");
  add_word(app, "--every", words.interval, "TIME", "a report this often, with what changed");
  add_word(app, "--top", words.top, "N", "call sites in the text (10); JSON holds all");
  add_word(app, "--min-age", words.min_age, "TIME",
           "leave call sites out of the text that hold younger blocks only");
  for (const report::Format& format : report::formats().subspan(1)) {
    add_word(app, fmt::format("--{}", format.name), words.outputs[&format], "FILE",
             fmt::format("{}; - is stdout", format.description));
  }
  app.add_flag("--exact", words.exact, "count every allocation (the default)");
  app.add_flag("--probe-at-entry", words.probe_at_entry,
               "probe at function entry, which costs the target more");
  add_word(app, "--max-blocks", words.max_blocks, "N", "room for live blocks (1M)");
  add_word(app, "--max-stacks", words.max_stacks, "N",
           "room for different stacks (16K; 64K with --all)");
  app.add_flag("--fail-on-suspect", words.fail_on_suspect,
               "exit with 3 if a call site is suspected");
  add_common(app, words);
  app.footer(
      "Times take ms, s, m, h; sizes take K, M, G.\n\nExamples:\n"
      "  tidemark trace -p 4711 --for 30s\n"
      "  tidemark trace -p $(pgrep -o nginx) --for 10m --every 1m\n"
      "  tidemark trace --children-of $(pgrep -o postgres) --for 1m\n"
      "  tidemark trace -- sort big.txt        from its first instruction to its exit\n"
      "  tidemark trace -p 4711 --for 1m --json trace.json --folded trace.folded");
}

Result<Command> trace_options(const Words& words, const Environment& environment) {
  TraceOptions options;
  auto selection = read_selection(words);
  if (!selection) return std::unexpected(selection.error());
  options.selection = std::move(*selection);
  if (auto ok = read_trace_times(words, options); !ok) return std::unexpected(ok.error());
  if (options.selection.all) options.max_stacks = kStacksOfAll;
  if (auto ok = read_trace_numbers(words, options); !ok) return std::unexpected(ok.error());
  auto outputs = read_outputs(words);
  if (!outputs) return std::unexpected(outputs.error());
  options.outputs = std::move(*outputs);
  options.probe_at_entry = words.probe_at_entry;
  take_common(words, environment, options);
  return options;
}

}  // namespace tidemark::cli
