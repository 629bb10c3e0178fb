// SPDX-License-Identifier: Apache-2.0
//
// The options of `trace`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "cli/option_words.h"
#include "model/sampling.h"
#include "support/strings.h"

namespace tidemark::cli {
namespace {

constexpr uint32_t kStacksOfAll = 1u << 16;  // each process has stacks of its own
constexpr double kLeastBudget = 0.1, kMostBudget = 50, kUsualBudget = 5;  // percent
constexpr uint32_t kSampledBlocks = 1u << 17;  // there are only so many samples

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

Result<uint32_t> read_sampling_interval(const std::string& word) {
  const auto value = parse_size(word);
  if (!value)
    return fail("'{}' is not a size: write it like 512K, bytes between two samples", word);
  if (*value < model::kLeastSamplingInterval) {
    return fail("'{}' is too short an interval: under {} sampling costs more than --exact", word,
                format_bytes(model::kLeastSamplingInterval));
  }
  if (*value > model::kMostSamplingInterval) {
    return fail("'{}' is too long an interval: give it at most {}", word,
                format_bytes(model::kMostSamplingInterval));
  }
  return static_cast<uint32_t>(*value);
}

Result<std::optional<double>> read_budget(const Words& words) {
  const bool chosen = words.exact || words.sample;
  if (!words.budget) return chosen ? std::optional<double>() : kUsualBudget;
  for (const auto& [flag, given] :
       {std::pair{"--exact", words.exact}, {"--sample", words.sample.has_value()}}) {
    if (given)
      return fail(
          "{} says how much is recorded and --budget lets tidemark choose: leave one of them out",
          flag);
  }
  std::string_view number = *words.budget;
  if (number.ends_with('%')) number.remove_suffix(1);
  const auto percent = parse_decimal(number);
  if (!percent) return fail("--budget: '{}' is not a share: write it like 3%", *words.budget);
  if (!(*percent >= kLeastBudget && *percent <= kMostBudget))
    return fail("--budget: '{}' is out of range: give between {}% and {}% of the target's CPU time",
                *words.budget, kLeastBudget, kMostBudget);
  return percent;
}

Status refuse_targets(const Words& words, std::string_view mode) {
  const bool names_target = !words.pids.empty() || !words.children_of.empty() ||
                            !words.comms.empty() || !words.cgroups.empty() || words.all ||
                            words.command;
  if (names_target) return fail("{} watches every process: leave the targets out", mode);
  return {};
}

// Everybody is watched, and nothing is recorded of any block.
Status refuse_with_growth(const Words& words) {
  if (words.automatic)
    return fail("--auto says who grows as well: leave --growth out, or --auto to set no probes");
  if (auto ok = refuse_targets(words, "--growth"); !ok) return ok;
  for (const auto& [flag, given] : {std::pair{"--exact", words.exact},
                                    {"--sample", words.sample.has_value()},
                                    {"--budget", words.budget.has_value()},
                                    {"--min-age", words.min_age.has_value()},
                                    {"--max-blocks", words.max_blocks.has_value()},
                                    {"--max-stacks", words.max_stacks.has_value()},
                                    {"--probe-at-entry", words.probe_at_entry},
                                    {"--no-sessions", words.no_sessions},
                                    {"--no-audit", words.no_audit}}) {
    if (given) return fail("{} is about the probes of a trace, and --growth sets none", flag);
  }
  for (const auto& [format, path] : words.outputs) {
    if (path && format->name == "folded")
      return fail(
          "--folded is of the calls of allocators, which --growth does not count: --json "
          "has its stacks");
  }
  return {};
}

Status read_sampling(const Words& words, TraceOptions& options) {
  if (words.exact && words.sample)
    return fail("--exact counts every block and --sample some of them: leave one of them out");
  if (words.sample && !words.max_blocks) options.max_blocks = kSampledBlocks;
  return read_into(options.sampling_interval_bytes, "--sample", words.sample,
                   read_sampling_interval);
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
  app.add_flag("--growth", words.growth,
               "no target and no probe: which of all processes grow, how fast, and where in their "
               "code; next to free");
  app.add_flag("--auto", words.automatic,
               "no target: watches all as --growth does, and traces those that grow steadily while "
               "they do, within --budget (5 %)");
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
  add_word(app, "--sample", words.sample, "BYTES",
           "record one block in every so many bytes, at random: cheaper, and every figure has its "
           "error (512K is a good start)");
  add_word(app, "--budget", words.budget, "PERCENT",
           "of the target's CPU time that tracing may take (5%): records every block while that "
           "allows it, else samples, else looks now and then");
  app.add_flag("--exact", words.exact, "count every allocation, whatever that takes");
  app.add_flag("--probe-at-entry", words.probe_at_entry,
               "probe at function entry, which costs the target more");
  app.add_flag("--no-sessions", words.no_sessions,
               "probe entry and return apart, as on kernels before 6.13; for comparing");
  app.add_flag("--no-audit", words.no_audit,
               "do not read the target's memory to see which blocks are allocated still");
  add_word(app, "--max-blocks", words.max_blocks, "N",
           "room for live blocks (1M; 128K with --sample)");
  add_word(app, "--max-stacks", words.max_stacks, "N",
           "room for different stacks (16K; 64K with --all)");
  app.add_flag("--debuginfod", words.debuginfod,
               "ask the servers in DEBUGINFOD_URLS for debug files that are not here");
  app.add_flag("--fail-on-suspect", words.fail_on_suspect,
               "exit with 3 if a call site is suspected");
  add_common(app, words);
  app.footer(
      "Times take ms, s, m, h; sizes take K, M, G.\n\nExamples:\n"
      "  tidemark trace -p 4711 --for 30s\n"
      "  tidemark trace -p $(pgrep -o nginx) --for 10m --every 1m\n"
      "  tidemark trace --growth --for 1m      who grows, of all processes\n"
      "  tidemark trace --auto --for 10m       and their call sites\n"
      "  tidemark trace --children-of $(pgrep -o postgres) --for 1m\n"
      "  tidemark trace -- sort big.txt        from its first instruction to its exit\n"
      "  tidemark trace -p 4711 --for 1m --json trace.json --folded trace.folded");
}

Result<Command> trace_options(const Words& words, const Environment& environment) {
  TraceOptions options;
  if (words.growth) {
    if (auto ok = refuse_with_growth(words); !ok) return std::unexpected(ok.error());
    options.mode = TraceMode::kGrowth;
  } else if (words.automatic) {
    if (auto ok = refuse_targets(words, "--auto"); !ok) return std::unexpected(ok.error());
    options.mode = TraceMode::kAuto;
  } else {
    auto selection = read_selection(words);
    if (!selection) return std::unexpected(selection.error());
    options.selection = std::move(*selection);
  }
  if (auto ok = read_trace_times(words, options); !ok) return std::unexpected(ok.error());
  if (options.selection.all) options.max_stacks = kStacksOfAll;
  if (auto ok = read_trace_numbers(words, options); !ok) return std::unexpected(ok.error());
  if (auto ok = read_sampling(words, options); !ok) return std::unexpected(ok.error());
  auto budget = read_budget(words);
  if (!budget) return std::unexpected(budget.error());
  options.budget_percent = *budget;
  auto outputs = read_outputs(words);
  if (!outputs) return std::unexpected(outputs.error());
  options.outputs = std::move(*outputs);
  options.probe_at_entry = words.probe_at_entry;
  options.no_sessions = words.no_sessions;
  options.audit = !words.no_audit;
  options.debuginfod = words.debuginfod;
  take_common(words, environment, options);
  return options;
}

}  // namespace tidemark::cli
