// SPDX-License-Identifier: Apache-2.0
//
// What the option readers of all subcommands share: the words behind each option as they were
// typed, how an option is declared, and how a word becomes a value or one line that says what is
// wrong.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"
#include "support/result.h"
#include "support/units.h"

namespace CLI {
class App;
}

namespace tidemark::cli {

inline constexpr Nanoseconds kShortestInterval = std::chrono::milliseconds(100);

// The words behind each option, as typed. A later one wins, except for pids and names, which add
// up.
struct Words {
  std::vector<std::string> pids, children_of, comms, cgroups;
  bool all = false;
  std::optional<std::vector<std::string>> command;  // what stood behind "--"
  std::optional<std::string> duration, interval, top, min_age, max_blocks, max_stacks, sample,
      budget;
  std::map<const report::Format*, std::optional<std::string>> outputs;
  std::optional<std::string> doctor_json;
  std::optional<std::string> memory_json, store, store_limit;
  std::vector<std::string> caches;
  std::optional<std::string> stacks, hooks;
  bool slab = false, pages = false, vmalloc = false, percpu = false, movable = false;
  bool quiet = false, no_color = false, exact = false, verbose = false;
  bool growth = false, automatic = false;
  bool probe_at_entry = false, no_sessions = false, no_audit = false, fail_on_suspect = false,
       debuginfod = false;
};

void add_word(CLI::App& app, const std::string& names, std::optional<std::string>& word,
              const std::string& type, const std::string& help);
// May be repeated: the words add up.
void add_words(CLI::App& app, const std::string& names, std::vector<std::string>& words,
               const std::string& type, const std::string& help);
void add_common(CLI::App& app, Words& words);

// "See 'tidemark trace --help'"
[[nodiscard]] std::string help_of(const CLI::App& app);
[[nodiscard]] bool looks_like_option(std::string_view word);
[[nodiscard]] bool wants_color(const Words& words, const Environment& environment);

// Nothing where the option was not given.
template <typename Value, typename Read>
Status read_into(Value& value, std::string_view option, const std::optional<std::string>& word,
                 Read read) {
  if (!word) return {};
  auto result = read(*word);
  if (!result) return within(option, result.error());
  value = *result;
  return {};
}

inline auto duration_of_at_least(Nanoseconds least) {
  return [least](const std::string& word) -> Result<Nanoseconds> {
    auto value = parse_duration(word);
    if (value && *value < least) {
      return fail("'{}' is too short: give it at least {}", word, format_duration(least));
    }
    return value;
  };
}

// `what` is what there is a number of: "call sites".
[[nodiscard]] Result<std::size_t> read_top(const std::string& word, std::string_view what);

[[nodiscard]] Result<uint64_t> read_age(const std::string& word);
[[nodiscard]] Result<uint32_t> read_max_blocks(const std::string& word);
[[nodiscard]] Result<uint32_t> read_max_stacks(const std::string& word);
// Each pid once.
[[nodiscard]] Result<std::vector<model::Pid>> read_pids(const std::vector<std::string>& words);
// Of what --json was given; an error where it is empty.
[[nodiscard]] Result<std::optional<std::string>> read_json_path(
    const std::optional<std::string>& word);
// An error where --every would never come before --for is over.
[[nodiscard]] Status refuse_no_reports(const Words& words, std::optional<Nanoseconds> duration,
                                       std::optional<Nanoseconds> interval);

// --- what several commands have, into the options of one of them

template <typename Options>
Status read_times(const Words& words, Options& options) {
  const auto duration = duration_of_at_least(std::chrono::milliseconds(1));
  if (auto ok = read_into(options.duration, "--for", words.duration, duration); !ok) return ok;
  const auto interval = duration_of_at_least(kShortestInterval);
  return read_into(options.interval, "--every", words.interval, interval);
}

// --for, --every and --min-age of a trace, of processes or the kernel.
template <typename Options>
Status read_trace_times(const Words& words, Options& options) {
  if (auto ok = read_times(words, options); !ok) return ok;
  if (auto ok = refuse_no_reports(words, options.duration, options.interval); !ok) return ok;
  return read_into(options.text.min_age_ns, "--min-age", words.min_age, read_age);
}

template <typename Options>
Status read_trace_numbers(const Words& words, Options& options) {
  const auto top = [](const std::string& word) { return read_top(word, "call sites"); };
  if (auto ok = read_into(options.text.top, "--top", words.top, top); !ok) return ok;
  if (auto ok = read_into(options.max_blocks, "--max-blocks", words.max_blocks, read_max_blocks);
      !ok)
    return ok;
  return read_into(options.max_stacks, "--max-stacks", words.max_stacks, read_max_stacks);
}

// --quiet, --no-color and --fail-on-suspect.
template <typename Options>
void take_common(const Words& words, const Environment& environment, Options& options) {
  options.quiet = words.quiet;
  options.fail_on_suspect = words.fail_on_suspect;
  options.text.color = wants_color(words, environment);
  options.text.explain = !words.quiet;
}

// --- kernel_options.cpp: kernel

void add_kernel(CLI::App& root, Words& words);
[[nodiscard]] Result<Command> kernel_options(const Words& words, const Environment& environment);

// --- trace_options.cpp: trace

void add_trace(CLI::App& root, Words& words);
[[nodiscard]] Result<Command> trace_options(const Words& words, const Environment& environment);

// --- memory_options.cpp: report and diff

void add_report(CLI::App& root, Words& words);
void add_diff(CLI::App& root, Words& words);
[[nodiscard]] Result<Command> report_options(const Words& words, const Environment& environment);
// `paths` are the words behind the command.
[[nodiscard]] Result<Command> diff_options(const Words& words,
                                           const std::vector<std::string>& paths,
                                           const Environment& environment);

}  // namespace tidemark::cli
