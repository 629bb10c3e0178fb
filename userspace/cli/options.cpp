// SPDX-License-Identifier: Apache-2.0
//
// CLI11 sorts the words, knows the options and writes the help; values are read and refused here,
// so that each refusal is one line that says what to do.
#include "cli/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "cli/option_words.h"
#include "report/names.h"
#include "support/result.h"
#include "support/strings.h"

namespace tidemark::cli {
namespace {

constexpr int64_t kHighestPid = 4'194'304;  // PID_MAX_LIMIT of a 64-bit kernel
constexpr uint64_t kMostBlocks = 1u << 28;  // some 20 GB of locked memory
constexpr uint64_t kMostStacks = 1u << 24;

void add_doctor(CLI::App& root, Words& words) {
  CLI::App& app = *root.add_subcommand(
      "doctor", "what works on this machine, what does not, and what to do about it");
  add_words(app, "-p,--pid", words.pids, "PID", "check this process as a target as well");
  app.add_flag("-v,--verbose", words.verbose,
               "list every probe site, its instruction and our verdict");
  add_word(app, "--json", words.doctor_json, "FILE",
           "everything, as one JSON document; - is stdout");
  add_common(app, words);
  app.footer("Examples:\n  tidemark doctor\n  tidemark doctor -p 4711 -v");
}

void add_all(CLI::App& root, Words& words) {
  root.name("tidemark");
  root.set_help_flag("-h,--help", "this text");
  root.set_version_flag("--version", "tidemark " TIDEMARK_VERSION, "the version");
  root.allow_extras();
  root.footer(
      "Examples:\n  tidemark doctor                      does it work here?\n"
      "  tidemark report                      where is the memory of this machine?\n"
      "  tidemark trace -p 4711 --for 30s     who holds the memory of process 4711?\n"
      "  tidemark kernel --for 1m             who in the kernel keeps what it allocates?\n"
      "\n'tidemark COMMAND --help' says more.");
  add_report(root, words);
  add_trace(root, words);
  add_kernel(root, words);
  add_diff(root, words);
  add_doctor(root, words);
}

// --- what to say of words that nobody knows

// Edits (insert, drop, replace, swap neighbours) from one word to another.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::vector<std::size_t>> cost(from.size() + 1,
                                             std::vector<std::size_t>(to.size() + 1));
  for (std::size_t i = 0; i <= from.size(); ++i) {
    for (std::size_t j = 0; j <= to.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const std::size_t replace = cost[i - 1][j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1);
      cost[i][j] = std::min({replace, cost[i - 1][j] + 1, cost[i][j - 1] + 1});
      if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[from.size()][to.size()];
}

// ": did you mean '...'?", or ".", where nothing is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::string* nearest = nullptr;
  std::size_t least = word.size() > 4 ? 3 : 2;
  for (const std::string& candidate : known) {
    if (word.size() < 3 || word.size() > 64) break;
    if (word.starts_with("--") != candidate.starts_with("--")) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < least) {
      least = distance;
      nearest = &candidate;
    }
  }
  return nearest == nullptr ? "." : fmt::format(": did you mean '{}'?", *nearest);
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

std::string option_of(std::string_view word) {
  return std::string(word.substr(0, word.find('=')));
}

std::vector<std::string> command_names(const CLI::App& root) {
  std::vector<std::string> names;
  for (const CLI::App* command : root.get_subcommands(nullptr))
    names.push_back(command->get_name());
  return names;
}

std::unexpected<Error> no_argument(const CLI::App& app, std::string_view word) {
  if (app.get_name() == "report" || app.get_name() == "kernel") {
    return fail("'{}' takes no argument '{}': it looks at the whole machine. {}", app.get_name(),
                word, help_of(app));
  }
  return fail("'{}' takes no argument '{}': name a process by -p PID{}. {}", app.get_name(), word,
              app.get_name() == "trace" ? ", a command behind --" : "", help_of(app));
}

// `words` are those behind the command that it does not know.
Status refuse_extras(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty()) return {};
  const auto option = std::ranges::find_if(words, looks_like_option);
  if (option == words.end()) return no_argument(app, words.front());
  const std::string name = option_of(*option);
  return fail("unknown option '{}' for '{}'{} {}", name, app.get_name(),
              did_you_mean(name, option_names(app)), help_of(app));
}

// `words` stand where a command is expected.
std::unexpected<Error> refuse_root_words(const CLI::App& root,
                                         const std::vector<std::string>& words) {
  if (words.empty()) {
    return fail(
        "no command: 'tidemark report' says where the memory is, 'tidemark trace -p PID' traces a "
        "process. {}",
        help_of(root));
  }
  const std::string& word = words.front();
  if (!looks_like_option(word)) {
    return fail("unknown command '{}'{} {}", word, did_you_mean(word, command_names(root)),
                help_of(root));
  }
  const std::string name = option_of(word);
  for (const CLI::App* command : root.get_subcommands(nullptr)) {
    const std::vector<std::string> names = option_names(*command);
    if (std::ranges::find(names, name) == names.end()) continue;
    return fail("option '{}' must stand behind the command, as in 'tidemark {} {}'. {}", name,
                command->get_name(), name, help_of(root));
  }
  return fail("unknown option '{}'{} {}", name, did_you_mean(name, option_names(root)),
              help_of(root));
}

// "--json --folded x": the second option was taken for the value of the first.
Status refuse_swallowed(const Words& words) {
  std::vector<std::pair<std::string, std::optional<std::string>>> values = {
      {"for", words.duration},
      {"every", words.interval},
      {"top", words.top},
      {"min-age", words.min_age},
      {"max-blocks", words.max_blocks},
      {"max-stacks", words.max_stacks},
      {"json", words.doctor_json},
      {"json", words.memory_json},
      {"store", words.store},
      {"store-limit", words.store_limit},
      {"stacks", words.stacks},
      {"hooks", words.hooks}};
  for (const auto& [format, path] : words.outputs) values.emplace_back(format->name, path);
  for (const auto& [name, given] : {std::pair{"pid", &words.pids},
                                    {"children-of", &words.children_of},
                                    {"comm", &words.comms},
                                    {"cgroup", &words.cgroups},
                                    {"cache", &words.caches}}) {
    for (const std::string& word : *given) values.emplace_back(name, word);
  }
  for (const auto& [name, value] : values) {
    if (!value || !value->starts_with("--")) continue;
    return fail("option '--{}' needs a value, and '{}' behind it is an option", name, *value);
  }
  return {};
}

// --- values

Result<model::Pid> read_pid(const std::string& word) {
  const auto number = parse_number<int64_t>(word);
  const bool digits = !word.empty() && word.find_first_not_of("0123456789") == std::string::npos;
  if ((number && *number > kHighestPid) || (!number && digits)) {
    return fail("no process can have the pid {}: pids end at {}. Look it up with 'pgrep NAME'",
                word, kHighestPid);
  }
  if (!number || *number <= 0) {
    return fail(
        "'{}' is not a pid: -p takes a number above 0, such as 4711. Look it up with 'pgrep NAME'",
        word);
  }
  return model::Pid{static_cast<int32_t>(*number)};
}

auto number_up_to(uint64_t most) {
  return [most](const std::string& word) -> Result<uint32_t> {
    const auto value = parse_size(word);
    if (!value) return fail("'{}' is not a number: write it like 50000, 512K or 4M", word);
    if (*value == 0) return fail("0 leaves no room to count in: give it at least 1");
    if (*value > most) return fail("'{}' is too many: at most {} fit", word, format_count(most));
    return static_cast<uint32_t>(*value);
  };
}

Result<Command> doctor_options(const Words& words, const Environment& environment) {
  DoctorOptions options;
  const auto pids = read_pids(words.pids);
  if (!pids) return std::unexpected(pids.error());
  if (pids->size() > 1) return fail("doctor looks at one process at a time: give -p once");
  if (!pids->empty()) options.pid = pids->front();
  auto json_path = read_json_path(words.doctor_json);
  if (!json_path) return std::unexpected(json_path.error());
  options.json_path = std::move(*json_path);
  options.verbose = words.verbose;
  options.quiet = words.quiet;
  options.color = wants_color(words, environment);
  return options;
}

Result<Command> read_command(const CLI::App& root, const Words& words,
                             const Environment& environment) {
  const auto chosen = root.get_subcommands();
  const std::vector<std::string> root_extras = root.remaining(false);
  if (chosen.empty()) return refuse_root_words(root, root_extras);
  if (chosen.size() > 1)
    return fail("one command at a time: '{}' or '{}'", chosen[0]->get_name(),
                chosen[1]->get_name());
  const CLI::App& app = *chosen.front();
  if (auto ok = refuse_swallowed(words); !ok) return std::unexpected(ok.error());
  const bool takes_paths = app.get_name() == "diff";
  std::vector<std::string> extras = app.remaining(false);
  std::vector<std::string> paths;
  if (takes_paths) {
    std::ranges::copy_if(extras, std::back_inserter(paths),
                         [](const std::string& word) { return !looks_like_option(word); });
    std::erase_if(extras, [](const std::string& word) { return !looks_like_option(word); });
  }
  if (auto ok = refuse_extras(app, extras); !ok) return std::unexpected(ok.error());
  if (!root_extras.empty()) {
    // Those in front of the command.
    if (looks_like_option(root_extras.front())) return refuse_root_words(root, root_extras);
    return no_argument(app, root_extras.front());
  }
  if (words.command && app.get_name() != "trace")
    return fail("'{}' runs no command: leave out the '--'. {}", app.get_name(), help_of(app));
  if (app.get_name() == "report") return report_options(words, environment);
  if (app.get_name() == "kernel") return kernel_options(words, environment);
  if (takes_paths) return diff_options(words, paths, environment);
  return app.get_name() == "trace" ? trace_options(words, environment)
                                   : doctor_options(words, environment);
}

// "--for: 1 required TIME missing" is how CLI11 says that a value is missing.
UsageError usage_error(const CLI::App& root, const CLI::ParseError& error) {
  const std::string what = report::printable(error.what());
  const auto chosen = root.get_subcommands();
  const std::string help = help_of(chosen.empty() ? root : *chosen.front());
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    return {fmt::format("option '{}' needs a value. {}", what.substr(0, what.find(':')), help)};
  }
  return {fmt::format("{}. {}", what, help)};
}

}  // namespace

void add_word(CLI::App& app, const std::string& names, std::optional<std::string>& word,
              const std::string& type, const std::string& help) {
  app.add_option_function<std::string>(
         names, [&word](const std::string& value) { word = value; }, help)
      ->type_name(type)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void add_words(CLI::App& app, const std::string& names, std::vector<std::string>& words,
               const std::string& type, const std::string& help) {
  app.add_option(names, words, help)
      ->type_name(type)
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void add_common(CLI::App& app, Words& words) {
  app.set_help_flag("-h,--help", "this text");
  app.set_version_flag("--version", "tidemark " TIDEMARK_VERSION, "the version");
  app.add_flag("--quiet", words.quiet, "nothing on stderr but errors, no advice in the report");
  app.add_flag("--no-color", words.no_color, "no colours (as a non-empty NO_COLOR does)");
  app.allow_extras();  // unknown words are refused by us, in one line
}

std::string help_of(const CLI::App& app) {
  const std::string name = app.get_name() == "tidemark" ? "" : app.get_name() + " ";
  return fmt::format("See 'tidemark {}--help'", name);
}

bool looks_like_option(std::string_view word) {
  return word.size() > 1 && word.starts_with('-');
}

bool wants_color(const Words& words, const Environment& environment) {
  return environment.stdout_is_terminal && !environment.no_color && !words.no_color;
}

Result<std::vector<model::Pid>> read_pids(const std::vector<std::string>& words) {
  std::vector<model::Pid> pids;
  for (const std::string& word : words) {
    const auto pid = read_pid(word);
    if (!pid) return std::unexpected(pid.error());
    if (std::ranges::find(pids, *pid) == pids.end()) pids.push_back(*pid);
  }
  return pids;
}

Result<std::size_t> read_top(const std::string& word, std::string_view what) {
  const auto value = parse_number<uint32_t>(word);
  if (!value) return fail("'{}' is not a number of {}: write it like 20", word, what);
  if (*value == 0) return fail("0 would show nothing: give it at least 1");
  return std::size_t{*value};
}

Result<uint64_t> read_age(const std::string& word) {
  const auto value = parse_duration(word);
  if (!value) return std::unexpected(value.error());
  return static_cast<uint64_t>(value->count());
}

Result<uint32_t> read_max_blocks(const std::string& word) {
  return number_up_to(kMostBlocks)(word);
}

Result<uint32_t> read_max_stacks(const std::string& word) {
  return number_up_to(kMostStacks)(word);
}

Status refuse_no_reports(const Words& words, std::optional<Nanoseconds> duration,
                         std::optional<Nanoseconds> interval) {
  if (!duration || !interval || *interval <= *duration) return {};
  return fail(
      "--every {} is longer than --for {}: no report would come in between; make --every shorter "
      "or leave it out",
      *words.interval, *words.duration);
}

Result<std::optional<std::string>> read_json_path(const std::optional<std::string>& word) {
  if (word && word->empty()) return fail("--json needs a file name, or - for stdout");
  return word;
}

std::expected<Command, NoCommand> parse_options(std::span<const std::string> arguments,
                                                const Environment& environment) {
  CLI::App root("tidemark: who holds the memory, without a restart");
  Words words;
  // What is behind "--" is another program's.
  const auto separator = std::ranges::find(arguments, "--");
  const auto ours = arguments.first(static_cast<std::size_t>(separator - arguments.begin()));
  if (separator != arguments.end()) words.command.emplace(separator + 1, arguments.end());
  try {
    add_all(root, words);
    // CLI11 takes the words last first.
    root.parse(std::vector<std::string>(ours.rbegin(), ours.rend()));
  } catch (const CLI::CallForHelp&) {
    return std::unexpected(HelpText{root.help()});
  } catch (const CLI::CallForVersion&) {
    return std::unexpected(HelpText{"tidemark " TIDEMARK_VERSION "\n"});
  } catch (const CLI::ParseError& error) {
    return std::unexpected(usage_error(root, error));
  }
  auto command = read_command(root, words, environment);
  if (!command) return std::unexpected(UsageError{report::printable(command.error().text)});
  return std::move(*command);
}

}  // namespace tidemark::cli
