// SPDX-License-Identifier: Apache-2.0
//
// Command lines become values, or one line that says what is wrong and what to do.
#include <doctest/doctest.h>

#include <initializer_list>

#include "command_lines.h"

using namespace tidemark;
using namespace tidemark::cli;
using namespace std::chrono_literals;

namespace {

TraceOptions trace(const Arguments& arguments, const Environment& environment = {}) {
  return parse<TraceOptions>(arguments, environment);
}

DoctorOptions doctor(const Arguments& arguments) {
  return parse<DoctorOptions>(arguments);
}

std::string help(const Arguments& arguments) {
  const auto parsed = parse_options(arguments, {});
  REQUIRE_FALSE(parsed.has_value());
  return std::get<HelpText>(parsed.error()).text;
}

}  // namespace

TEST_CASE("options: trace with nothing but a pid") {
  const TraceOptions options = trace({"trace", "-p", "4711"});
  CHECK(options.selection.pids == std::vector{model::Pid{4711}});
  CHECK_FALSE(options.duration.has_value());
  CHECK_FALSE(options.interval.has_value());
  CHECK(options.text.top == 10);
  CHECK(options.text.min_age_ns == 0);
  CHECK(options.text.explain);
  CHECK(options.outputs.empty());
  CHECK(options.max_blocks == 1u << 20);
  CHECK(options.max_stacks == 1u << 14);
  CHECK_FALSE(options.probe_at_entry);
  CHECK_FALSE(options.debuginfod);
  CHECK_FALSE(options.fail_on_suspect);
  CHECK(options.sampling_interval_bytes == 0);
  CHECK_FALSE(options.no_sessions);
}

TEST_CASE("options: sampling") {
  const TraceOptions options = trace({"trace", "-p", "1", "--sample", "512K"});
  CHECK(options.sampling_interval_bytes == 512 << 10);
  CHECK(options.max_blocks == 1u << 17);
  CHECK(trace({"trace", "-p", "1", "--sample=64K", "--max-blocks", "2M"}).max_blocks == 2u << 20);
  CHECK(trace({"trace", "-p", "1", "--sample", "64M", "--no-sessions"}).no_sessions);
  CHECK(trace({"trace", "-p", "1"}).audit);
  CHECK_FALSE(trace({"trace", "-p", "1", "--no-audit"}).audit);
  CHECK(has(error({"trace", "-p", "1", "--sample", "100"}), "too short an interval"));
  CHECK(has(error({"trace", "-p", "1", "--sample", "1G"}), "at most 64.0 MiB"));
  CHECK(has(error({"trace", "-p", "1", "--sample", "often"}), "is not a size"));
  CHECK(has(error({"trace", "-p", "1", "--sample", "1M", "--exact"}), "leave one of them out"));
  CHECK_FALSE(options.budget_percent.has_value());
}

TEST_CASE("options: a budget, the usual one where nothing else is said") {
  CHECK(trace({"trace", "-p", "1"}).budget_percent == 5);
  CHECK(trace({"trace", "-p", "1", "--budget", "1%"}).budget_percent == 1);
  CHECK(trace({"trace", "-p", "1", "--budget", "0.5"}).budget_percent == 0.5);
  CHECK_FALSE(trace({"trace", "-p", "1", "--exact"}).budget_percent.has_value());
  for (const char* nonsense : {"0", "-1", "101%", "abc", "", "5%%", "nan"}) {
    const std::string said = error({"trace", "-p", "1", "--budget", nonsense});
    INFO(std::string(nonsense), ": ", said);
    CHECK(has(said, "--budget"));
  }
  CHECK(has(error({"trace", "-p", "1", "--budget", "5%", "--exact"}), "leave one of them out"));
}

TEST_CASE("options: everything at once, in any form") {
  const TraceOptions options = trace({"trace",
                                      "--for=30s",
                                      "-p4711",
                                      "--pid",
                                      "12",
                                      "-p",
                                      "4711",
                                      "--every",
                                      "500ms",
                                      "--top",
                                      "3",
                                      "--min-age",
                                      "2s",
                                      "--json",
                                      "-",
                                      "--folded",
                                      "out.folded",
                                      "--exact",
                                      "--probe-at-entry",
                                      "--debuginfod",
                                      "--max-blocks",
                                      "4M",
                                      "--max-stacks",
                                      "50000",
                                      "--fail-on-suspect",
                                      "--quiet",
                                      "--no-color"});
  CHECK(options.selection.pids == std::vector{model::Pid{4711}, model::Pid{12}});
  CHECK(options.duration == 30s);
  CHECK(options.interval == 500ms);
  CHECK(options.text.top == 3);
  CHECK(options.text.min_age_ns == 2'000'000'000);
  REQUIRE(options.outputs.size() == 2);
  CHECK(options.outputs[0].format->name == "json");
  CHECK(options.outputs[0].path == "-");
  CHECK(options.outputs[1].format->name == "folded");
  CHECK(options.outputs[1].path == "out.folded");
  CHECK(options.max_blocks == 4u << 20);
  CHECK(options.max_stacks == 50'000);
  CHECK(options.probe_at_entry);
  CHECK(options.debuginfod);
  CHECK(options.fail_on_suspect);
  CHECK(options.quiet);
  CHECK_FALSE(options.text.explain);
}

TEST_CASE("options: every format beyond the text is an option") {
  for (const report::Format& format : report::formats().subspan(1)) {
    const TraceOptions options = trace({"trace", "-p", "1", "--" + std::string(format.name), "x"});
    REQUIRE(options.outputs.size() == 1);
    CHECK(options.outputs[0].format == &format);
    CHECK(has(help({"trace", "--help"}), "--" + std::string(format.name) + " FILE"));
  }
}

TEST_CASE("options: ways to name processes add up") {
  const model::Selection selection = trace({"trace", "--comm", "nginx", "--comm", "php", "--cgroup",
                                            "/web", "--children-of", "12"})
                                         .selection;
  CHECK(selection.comms == std::vector<std::string>{"nginx", "php"});
  CHECK(selection.cgroups == std::vector<std::string>{"/web"});
  CHECK(selection.children_of == std::vector{model::Pid{12}});
  CHECK(selection.is_group());
}

TEST_CASE("options: all processes, and nothing else beside them") {
  const TraceOptions options = trace({"trace", "--all"});
  CHECK(options.selection.all);
  CHECK(options.selection.is_group());
  CHECK(options.max_stacks == 1u << 16);
  CHECK(trace({"trace", "--all", "--max-stacks", "1K"}).max_stacks == 1024);
  const std::string refusal = "--all is every process already: leave the other targets out";
  CHECK(error({"trace", "--all", "-p", "1"}) == refusal);
  CHECK(error({"trace", "--comm", "x", "--all"}) == refusal);
  CHECK(error({"trace", "--all", "--", "ls"}) == refusal);
}

TEST_CASE("options: what is behind -- is the command's, whatever it looks like") {
  const TraceOptions options =
      trace({"trace", "--for", "1s", "--", "ls", "--for", "-p", "--", "x"});
  CHECK(options.selection.command == std::vector<std::string>{"ls", "--for", "-p", "--", "x"});
  CHECK(options.duration == 1s);
}

TEST_CASE("options: the last of an option given twice counts") {
  CHECK(trace({"trace", "-p", "1", "--for", "1s", "--for", "2s"}).duration == 2s);
}

TEST_CASE("options: colour needs a terminal, and nobody who forbids it") {
  CHECK(trace({"trace", "-p", "1"}, {.stdout_is_terminal = true}).text.color);
  CHECK_FALSE(trace({"trace", "-p", "1"}, {.stdout_is_terminal = false}).text.color);
  CHECK_FALSE(
      trace({"trace", "-p", "1"}, {.no_color = true, .stdout_is_terminal = true}).text.color);
  CHECK_FALSE(trace({"trace", "-p", "1", "--no-color"}, {.stdout_is_terminal = true}).text.color);
}

TEST_CASE("options: doctor") {
  CHECK_FALSE(doctor({"doctor"}).pid.has_value());
  const DoctorOptions options = doctor({"doctor", "-p", "12", "-v", "--json", "d.json"});
  CHECK(options.pid == model::Pid{12});
  CHECK(options.verbose);
  CHECK(options.json_path == "d.json");
  CHECK(error({"doctor", "-p", "1", "-p", "2"}) ==
        "doctor looks at one process at a time: give -p once");
  CHECK(has(error({"doctor", "--for", "3"}), "unknown option '--for' for 'doctor'"));
}

TEST_CASE("options: help and version, for each command") {
  CHECK(help({"--version"}) == "tidemark " TIDEMARK_VERSION "\n");
  CHECK(help({"trace", "--version"}) == help({"--version"}));
  CHECK(has(help({"--help"}), "doctor"));
  CHECK(has(help({"trace", "-p", "1", "--help"}), "--fail-on-suspect"));
  CHECK(has(help({"trace", "-h"}), "Examples:"));
  CHECK(has(help({"doctor", "--help"}), "--verbose"));
}

TEST_CASE("options: a pid that is none") {
  CHECK(error({"trace"}) ==
        "trace needs a target: -p PID (look it up with 'pgrep NAME'), --comm NAME, --cgroup PATH, "
        "--children-of PID, --all, or -- COMMAND. See 'tidemark trace --help'");
  for (const char* word : {"0", "-5", "abc", "", " 5", "+5", "5x", "1,2", "0x10"}) {
    CHECK(has(error({"trace", "-p", word}), "'" + std::string(word) + "' is not a pid"));
  }
  for (const char* word : {"4194305", "99999999999", "99999999999999999999999"}) {
    CHECK(has(error({"trace", "-p", word}), "no process can have the pid " + std::string(word)));
  }
  CHECK(error({"trace", "-p"}) == "option '--pid' needs a value. See 'tidemark trace --help'");
}

TEST_CASE("options: values that make no sense") {
  const auto with = [](const std::string& option, const std::string& value) {
    return error({"trace", "-p", "1", option, value});
  };
  CHECK(with("--top", "0") == "--top: 0 would show nothing: give it at least 1");
  CHECK(has(with("--top", "-3"), "is not a number"));
  CHECK(has(with("--top", "x"), "is not a number"));
  CHECK(has(with("--for", "0s"), "--for: '0s' is too short"));
  CHECK(has(with("--for", "soon"), "--for: 'soon' is not understood"));
  CHECK(has(with("--every", "1ms"), "at least 100 ms"));
  CHECK(has(with("--min-age", "-5"), "--min-age: '-5'"));
  CHECK(has(with("--max-blocks", "0"), "at least 1"));
  CHECK(has(with("--max-blocks", "4X"), "is not a number"));
  CHECK(has(with("--max-blocks", "1G"), "is too many"));
  CHECK(has(with("--json", ""), "needs a file name"));
  CHECK(has(error({"trace", "-p", "1", "--for", "10s", "--every", "1m"}),
            "--every 1m is longer than --for 10s"));
  CHECK(has(error({"trace", "-p", "1", "--json", "-", "--folded", "-"}), "both write to stdout"));
  CHECK(has(error({"trace", "-p", "1", "--json", "x", "--folded", "x"}), "both write to 'x'"));
}

TEST_CASE("options: words that nobody knows") {
  CHECK(error({"trace", "--fro", "1s", "-p", "5"}) ==
        "unknown option '--fro' for 'trace': did you mean '--for'? See 'tidemark trace --help'");
  CHECK(error({"trace", "-p", "5", "-x"}) ==
        "unknown option '-x' for 'trace'. See 'tidemark trace --help'");
  CHECK(has(error({"trace", "-p", "5", "--fro=1s"}), "'--fro' for 'trace': did you mean '--for'?"));
  CHECK(error({"trac"}) == "unknown command 'trac': did you mean 'trace'? See 'tidemark --help'");
  CHECK(has(error({}), "no command"));
  CHECK(has(error({""}), "unknown command ''"));
  CHECK(has(error({"--quiet", "trace", "-p", "1"}), "must stand behind the command"));
  CHECK(has(error({"trace", "doctor"}), "one command at a time"));
  CHECK(has(error({"trace", "-p", "5", "6"}), "'trace' takes no argument '6'"));
  CHECK(
      has(error({"trace", "-p", "5", "--", "ls", "-l"}), "either a command behind -- or running"));
  CHECK(has(error({"trace", "--"}), "-- needs a command"));
  CHECK(has(error({"doctor", "--", "ls"}), "'doctor' runs no command"));
  CHECK(has(error({"trace", "--comm", ""}), "--comm needs a name"));
  CHECK(has(error({"trace", "--comm", "--cgroup", "x"}), "option '--comm' needs a value"));
  CHECK(has(error({"trace", "--children-of", "x"}), "--children-of: 'x' is not a pid"));
  CHECK(
      has(error({"trace", "-p", "5", "--json", "--folded", "x"}), "option '--json' needs a value"));
  CHECK(has(error({"trace", "-p", "5", "--json"}), "option '--json' needs a value"));
  CHECK(has(error({"trace", "-p", "5", "--quiet=maybe"}), "--quiet"));
  // One line, whatever was typed.
  CHECK(has(error({"trace", "-p", "5", "--a\nb\033[2J"}), "unknown option '--a?b?[2J'"));
  CHECK(has(error({"trace", std::string(100'000, 'x')}), "takes no argument"));
}

TEST_CASE("options: auto chooses its targets, within a budget") {
  CHECK(trace({"trace", "--auto"}).mode == TraceMode::kAuto);
  CHECK(trace({"trace", "--auto"}).budget_percent == 5);
  CHECK(trace({"trace", "--auto", "--budget", "2%"}).budget_percent == 2);
  CHECK_FALSE(trace({"trace", "--auto", "--exact"}).budget_percent);
  CHECK_FALSE(trace({"trace", "--auto", "--sample", "1M"}).budget_percent);
  CHECK(has(error({"trace", "--auto", "-p", "1"}), "--auto watches every process"));
  CHECK(has(error({"trace", "--auto", "--growth"}), "leave --growth out"));
}

TEST_CASE("options: growth watches everybody and sets no probes") {
  const TraceOptions options =
      trace({"trace", "--growth", "--for", "1m", "--every", "5s", "--top", "3"});
  CHECK(options.mode == TraceMode::kGrowth);
  CHECK(options.duration == 1min);
  CHECK(options.text.top == 3);
  CHECK(trace({"trace", "-p", "1"}).mode == TraceMode::kCalls);
  for (const Arguments& target : {Arguments{"-p", "1"},
                                  {"--all"},
                                  {"--comm", "x"},
                                  {"--cgroup", "/x"},
                                  {"--children-of", "1"},
                                  {"--", "ls"}}) {
    Arguments arguments{"trace", "--growth"};
    arguments.insert(arguments.end(), target.begin(), target.end());
    CHECK(has(error(arguments), "leave the targets out"));
  }
  CHECK(has(error({"trace", "--growth", "--exact"}), "--exact is about the probes"));
  CHECK(has(error({"trace", "--growth", "--sample", "1M"}), "--sample is about the probes"));
  CHECK(has(error({"trace", "--growth", "--budget", "3%"}), "--budget is about the probes"));
  CHECK(has(error({"trace", "--growth", "--folded", "-"}), "--json has its stacks"));
}
