// SPDX-License-Identifier: Apache-2.0
//
// What an integration test talks to: the target programs (Target), the product (Trace,
// run_tidemark) and the answers of both. Paths come from the environment (TIDEMARK_BIN,
// TIDEMARK_TARGETS) or from the build. Nothing here knows a source file of the product: the tests
// see what docs/output-schema.md promises.
#pragma once

#include <csignal>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "process.h"

namespace tidemark::test {

using Json = nlohmann::json;
using Words = std::vector<std::string>;

// TIDEMARK_TEST_SCALE (1 = full size) times a count, and never less than the minimum.
long scaled(long count, long minimum = 1);

// True where the test has to be left out; the reason is printed. With TIDEMARK_REQUIRE_ALL=1 that
// is a failure.
bool skip_because(const std::string& reason);
// True, with the reason said, on a machine where nothing can be traced: no root, no BTF.
bool cannot_trace();

class TempDir {
 public:
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// A target program that has said `ready`.
class Target {
 public:
  explicit Target(const std::string& name, const Words& arguments = {});
  // A whole command line that ends up as one.
  explicit Target(const Words& command);
  [[nodiscard]] pid_t pid() const { return process_.pid(); }
  [[nodiscard]] std::string pid_text() const { return std::to_string(pid()); }
  void say(const std::string& word) { process_.write_line(word); }
  void expect(const std::string& word);
  // Says the word, waits for `done` and returns the ledger.
  Json run(const std::string& word = "go");
  // Says the word and returns the line of JSON that answers it.
  Json ask(const std::string& word);
  Process& process() { return process_; }

 private:
  Process process_;
};

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
  std::vector<Json> documents;  // of the --json file, one a line
  [[nodiscard]] const Json& report() const&;
  const Json& report() const&& = delete;  // it would not outlive the statement
};

// A running `tidemark trace`, its JSON going to a file of its own.
class Trace {
 public:
  explicit Trace(const Words& arguments);
  // The same for another command that says when it traces.
  Trace(const std::string& command, const Words& arguments);
  [[nodiscard]] pid_t pid() const { return process_.pid(); }
  void wait_until_tracing();
  // Until a report (--every) is as it should be. `what`: for the message where none ever is.
  void wait_for_report(const std::string& what, const std::function<bool(const Json&)>& is_it);
  // Until a report lists the process with an allocator: its probes are on.
  void wait_for_target(pid_t pid);
  [[nodiscard]] bool has_ended() { return process_.wait_exit(Milliseconds{0}).has_value(); }
  // Ends it by signal and collects. 0: waits for it to end by itself.
  Outcome finish(int signal_number = SIGINT);

 private:
  TempDir directory_;
  Process process_;
};

Outcome run_tidemark(const Words& arguments, SpawnOptions options = {});
std::string tidemark_path();
std::string target_path(const std::string& name);
// True, with the reason said, where the target was not built.
bool is_missing(const std::string& target, const std::string& package);
std::vector<std::string> lines_of(const std::string& text);

struct Sums {
  long live_bytes = 0;
  long live_count = 0;
  long total_bytes = 0;
  long total_count = 0;
  bool operator==(const Sums&) const = default;
};

std::string to_text(const Sums& sums);
Sums sums_of(const Json& row);
// A function's name without its parameters; "?" where it has none.
std::string frame_name(const Json& frame);
// Sums of the call sites by the name of frames[0].
std::map<std::string, Sums> by_caller(const Json& report);
// True if one of the call site's first `depth` frames is this function.
bool names(const Json& call_site, const std::string& function, std::size_t depth);
long count_of_losses(const Json& report);

// Doctest checks: what holds of every report, and that it says what the target's ledger says.
void check_sums_add_up(const Json& report);
void check_no_losses(const Json& report);
void check_ledger(const Json& report, const Json& ledger);

}  // namespace tidemark::test
