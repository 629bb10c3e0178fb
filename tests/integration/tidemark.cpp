// SPDX-License-Identifier: Apache-2.0
#include "tidemark.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

namespace tidemark::test {
namespace {

std::string from_environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

Words target_words(const std::string& name, const Words& arguments) {
  Words words = {target_path(name)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

Words trace_words(const std::string& command, const Words& arguments,
                  const std::string& json_file) {
  Words words = {tidemark_path(), command};
  words.insert(words.end(), arguments.begin(), arguments.end());
  if (std::find(words.begin(), words.end(), "--json") == words.end()) {
    words.insert(words.begin() + 2, {"--json", json_file});  // not behind a "--"
  }
  // Most tests compare to the byte; those of a budget say so.
  const auto is_said = [&words](const char* option) {
    return std::find(words.begin(), words.end(), option) != words.end();
  };
  const bool chooses = is_said("--exact") || is_said("--sample") || is_said("--budget") ||
                       is_said("--growth") || is_said("--auto");
  if (command == "trace" && !chooses) words.insert(words.begin() + 2, "--exact");
  return words;
}

// Drops what no test looks at: of 100,000 stacks the frames alone would fill gigabytes.
bool keep(int, Json::parse_event_t event, Json& parsed) {
  static const std::set<std::string> kUnread = {"address", "build_id",        "file",
                                                "line",    "function_offset", "inlined"};
  return event != Json::parse_event_t::key || !kUnread.contains(parsed.get<std::string>());
}

Json parse_document(const std::string& text) {
  return Json::parse(text, keep, false);
}

std::string contents_of(const std::string& path) {
  std::ifstream file(path, std::ios::ate);
  if (!file) return {};
  std::string text(static_cast<std::size_t>(file.tellg()), '\0');
  file.seekg(0);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  return text;
}

// One document a line with --every; a single one may well be spread over many lines.
std::vector<Json> read_documents(const std::string& path) {
  const std::string text = contents_of(path);
  if (text.empty()) return {};
  std::vector<Json> documents(1, parse_document(text));
  if (!documents[0].is_discarded()) return documents;
  documents.clear();
  for (const std::string& line : lines_of(text)) {
    documents.push_back(parse_document(line));
    if (documents.back().is_discarded()) {
      throw std::runtime_error("the JSON file is neither one document nor one a line: " + line);
    }
  }
  return documents;
}

constexpr const char* kJsonFile = "trace.json";

}  // namespace

long scaled(long count, long minimum) {
  const double scale = std::atof(from_environment("TIDEMARK_TEST_SCALE", "1").c_str());
  return std::max(minimum, static_cast<long>(static_cast<double>(count) * scale));
}

bool skip_because(const std::string& reason) {
  if (from_environment("TIDEMARK_REQUIRE_ALL", "0") == "1") {
    FAIL_CHECK("not to be skipped here (TIDEMARK_REQUIRE_ALL=1): " << reason);
  } else {
    std::printf("SKIP: %s\n", reason.c_str());
  }
  return true;
}

bool cannot_trace() {
  if (::geteuid() != 0) return skip_because("tracing needs root");
  if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
    return skip_because("this kernel has no BTF (/sys/kernel/btf/vmlinux)");
  }
  return false;
}

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "tidemark-test.XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Target::Target(const std::string& name, const Words& arguments)
    : Target(target_words(name, arguments)) {}

Target::Target(const Words& command) : process_(Process::spawn(command)) {
  expect("ready");
}

void Target::expect(const std::string& word) {
  const std::optional<std::string> line = process_.read_line(Stream::kOut);
  if (line != word) {
    throw std::runtime_error("the target said '" + line.value_or("(nothing)") + "', not '" + word +
                             "'");
  }
}

Json Target::run(const std::string& word) {
  say(word);
  expect("done");
  return Json::parse(process_.read_line(Stream::kOut).value_or(""));
}

Json Target::ask(const std::string& word) {
  say(word);
  return Json::parse(process_.read_line(Stream::kOut).value_or(""));
}

const Json& Outcome::report() const& {
  if (documents.empty()) throw std::runtime_error("no JSON; stderr: " + err);
  return documents.back();
}

Trace::Trace(const Words& arguments) : Trace("trace", arguments) {}

Trace::Trace(const std::string& command, const Words& arguments)
    : process_(Process::spawn(trace_words(command, arguments, directory_.file(kJsonFile)))) {}

void Trace::wait_until_tracing() {
  for (;;) {
    const std::optional<std::string> line = process_.read_line(Stream::kErr);
    if (line == "tidemark: tracing") return;
    if (!line) {
      throw std::runtime_error("never said 'tidemark: tracing'; stderr: " +
                               process_.said(Stream::kErr));
    }
  }
}

void Trace::wait_for_report(const std::string& what,
                            const std::function<bool(const Json&)>& is_it) {
  for (Milliseconds waited{0}; waited < kPatience; waited += Milliseconds{100}) {
    const std::vector<Json> documents = read_documents(directory_.file(kJsonFile));
    if (!documents.empty() && is_it(documents.back())) return;
    if (has_ended()) break;
    ::usleep(100'000);
  }
  throw std::runtime_error("no report in which " + what +
                           "; stderr: " + process_.said(Stream::kErr));
}

void Trace::wait_for_target(pid_t pid) {
  wait_for_report("process " + std::to_string(pid) + " is traced", [pid](const Json& report) {
    return std::ranges::any_of(report.at("targets"), [pid](const Json& row) {
      return row.at("pid") == pid && !row.at("allocators").empty();
    });
  });
}

Outcome Trace::finish(int signal_number) {
  if (signal_number != 0) process_.signal(signal_number);
  const std::optional<ExitStatus> status = process_.wait_exit();
  if (!status) throw std::runtime_error("tidemark did not end");
  return {status->code, process_.said(Stream::kOut), process_.said(Stream::kErr),
          read_documents(directory_.file(kJsonFile))};
}

Outcome run_tidemark(const Words& arguments, SpawnOptions options) {
  Words words = {tidemark_path()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  Process process = Process::spawn(words, options);
  process.close_input();
  const std::optional<ExitStatus> status = process.wait_exit();
  if (!status) throw std::runtime_error("tidemark did not end");
  return {status->code, process.said(Stream::kOut), process.said(Stream::kErr), {}};
}

std::string tidemark_path() {
  return from_environment("TIDEMARK_BIN", TIDEMARK_DEFAULT_BIN);
}

std::string target_path(const std::string& name) {
  return from_environment("TIDEMARK_TARGETS", TIDEMARK_DEFAULT_TARGETS) + "/" + name;
}

bool is_missing(const std::string& target, const std::string& package) {
  if (::access(target_path(target).c_str(), X_OK) == 0) return false;
  return skip_because(target + " was not built: " + package + " is not installed");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string to_text(const Sums& sums) {
  return "live " + std::to_string(sums.live_bytes) + " B in " + std::to_string(sums.live_count) +
         ", total " + std::to_string(sums.total_bytes) + " B in " +
         std::to_string(sums.total_count);
}

Sums sums_of(const Json& row) {
  return {row.at("live_bytes"), row.at("live_count"), row.at("total_bytes"), row.at("total_count")};
}

std::string frame_name(const Json& frame) {
  if (frame.at("function").is_null()) return "?";
  const std::string function = frame.at("function");
  static const std::string kAnonymous = "(anonymous namespace)";
  std::size_t end = 0;
  while (end < function.size()) {
    if (function.compare(end, kAnonymous.size(), kAnonymous) == 0) {
      end += kAnonymous.size();
    } else if (function[end] == '(') {
      break;
    } else {
      ++end;
    }
  }
  return function.substr(0, end);
}

std::map<std::string, Sums> by_caller(const Json& report) {
  std::map<std::string, Sums> callers;
  for (const Json& site : report.at("call_sites")) {
    const Json& frames = site.at("frames");
    Sums& sums = callers[frames.empty() ? "?" : frame_name(frames[0])];
    const Sums more = sums_of(site);
    sums.live_bytes += more.live_bytes;
    sums.live_count += more.live_count;
    sums.total_bytes += more.total_bytes;
    sums.total_count += more.total_count;
  }
  return callers;
}

bool names(const Json& call_site, const std::string& function, std::size_t depth) {
  const Json& frames = call_site.at("frames");
  for (std::size_t i = 0; i < std::min(depth, frames.size()); ++i) {
    if (frame_name(frames[i]) == function) return true;
  }
  return false;
}

long count_of_losses(const Json& report) {
  long sum = 0;
  for (const Json& loss : report.at("losses")) sum += loss.at("count").get<long>();
  return sum;
}

void check_sums_add_up(const Json& report) {
  Sums sums;
  for (const auto& [caller, part] : by_caller(report)) {
    sums.live_bytes += part.live_bytes;
    sums.live_count += part.live_count;
    sums.total_bytes += part.total_bytes;
    sums.total_count += part.total_count;
  }
  const Json& totals = report.at("totals");
  CHECK_MESSAGE(sums_of(totals) == sums, "totals say " << to_text(sums_of(totals))
                                                       << "; their call sites " << to_text(sums));
  CHECK(totals.at("live_count").get<long>() ==
        totals.at("total_count").get<long>() - totals.at("freed_count").get<long>());
}

void check_no_losses(const Json& report) {
  CHECK(!report.at("losses").empty());
  for (const Json& loss : report.at("losses")) {
    INFO("loss counter " << loss.at("counter").get<std::string>());
    CHECK(loss.at("count").get<long>() == 0);
  }
}

void check_ledger(const Json& report, const Json& ledger) {
  std::map<std::string, Sums> seen = by_caller(report);
  for (const Json& site : ledger.at("sites")) {
    const std::string function = site.at("function");
    const Sums sums = seen[function];
    seen.erase(function);
    CHECK_MESSAGE(sums == sums_of(site), function << ": the trace says " << to_text(sums)
                                                  << "; the ledger " << to_text(sums_of(site)));
  }
  for (const auto& [function, sums] : seen) {
    FAIL_CHECK("not in the ledger: " << function << ", " << to_text(sums));
  }
  const Json& totals = report.at("totals");
  CHECK_MESSAGE(sums_of(totals) == sums_of(ledger.at("totals")),
                "the totals say " << to_text(sums_of(totals)) << "; the ledger "
                                  << to_text(sums_of(ledger.at("totals"))));
  CHECK(totals.at("freed_count") == ledger.at("totals").at("freed_count"));
}

}  // namespace tidemark::test
