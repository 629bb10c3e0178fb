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
  std::optional<std::string> duration, interval, top, min_age, max_blocks, max_stacks;
  std::map<const report::Format*, std::optional<std::string>> outputs;
  std::optional<std::string> doctor_json;
  std::optional<std::string> memory_json, store, store_limit;
  std::vector<std::string> caches;
  std::optional<std::string> stacks, hooks;
  bool slab = false, pages = false, vmalloc = false, percpu = false, movable = false;
  bool quiet = false, no_color = false, exact = false, verbose = false;
  bool probe_at_entry = false, fail_on_suspect = false;
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

// --- kernel_options.cpp: kernel

void add_kernel(CLI::App& root, Words& words);
[[nodiscard]] Result<Command> kernel_options(const Words& words, const Environment& environment);

// --- memory_options.cpp: report and diff

void add_report(CLI::App& root, Words& words);
void add_diff(CLI::App& root, Words& words);
[[nodiscard]] Result<Command> report_options(const Words& words, const Environment& environment);
// `paths` are the words behind the command.
[[nodiscard]] Result<Command> diff_options(const Words& words,
                                           const std::vector<std::string>& paths,
                                           const Environment& environment);

}  // namespace tidemark::cli
