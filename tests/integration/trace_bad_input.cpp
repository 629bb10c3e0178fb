// SPDX-License-Identifier: Apache-2.0
//
// A person's mistakes: each gets one line on stderr that says what, why, and what to do now, and an
// exit code that tells "could not" (1) from "wrong usage" (2).
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>

#include "tidemark.h"

namespace tidemark::test {
namespace {

constexpr uid_t kNobody = 65534;
constexpr unsigned long kFlagKernelThread = 0x00200000;  // PF_KTHREAD

// One of the words with which a sentence tells a person what to do.
bool advises(const std::string& line) {
  static constexpr std::array kWords = {
      "try",     "use",     "run",    "see",   "check", "give",  "pass", "name", "pick", "choose",
      "as root", "instead", "--help", "start", "takes", "write", "list", "look", "Look", "wait"};
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](const char* word) { return line.find(word) != std::string::npos; });
}

void check_complaint(const Outcome& outcome, int exit_code, const std::string& subject) {
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == exit_code);
  const std::vector<std::string> lines = lines_of(outcome.err);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].starts_with("tidemark: "));
  CHECK(lines[0].find(subject) != std::string::npos);
  CHECK(advises(lines[0]));
  CHECK(outcome.out.empty());
}

Outcome trace_pid(pid_t pid) {
  return run_tidemark({"trace", "-p", std::to_string(pid)});
}

pid_t a_free_pid() {
  for (pid_t pid = 4'000'000; pid > 3'999'000; --pid) {
    if (!std::filesystem::exists("/proc/" + std::to_string(pid))) return pid;
  }
  return 4'194'303;
}

bool is_kernel_thread(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(text.substr(name_end + 1));
  std::string state, skipped;
  unsigned long flags = 0;
  fields >> state >> skipped >> skipped >> skipped >> skipped >> skipped >> flags;
  return (flags & kFlagKernelThread) != 0;
}

std::optional<pid_t> a_kernel_thread() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (!std::isdigit(static_cast<unsigned char>(name[0]))) continue;
    const pid_t pid = std::atoi(name.c_str());
    if (is_kernel_thread(pid)) return pid;
  }
  return std::nullopt;
}

// A child that has ended and that nobody has asked about yet.
class Zombie {
 public:
  Zombie() : pid_(::fork()) {
    if (pid_ == 0) ::_exit(0);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  Zombie(const Zombie&) = delete;
  Zombie& operator=(const Zombie&) = delete;
  ~Zombie() { ::waitpid(pid_, nullptr, 0); }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

}  // namespace

TEST_CASE("trace_bad_input_no_such_pid") {
  if (cannot_trace()) return;
  const pid_t pid = a_free_pid();
  check_complaint(trace_pid(pid), 1, std::to_string(pid));
}

TEST_CASE("trace_bad_input_kernel_thread") {
  if (cannot_trace()) return;
  const std::optional<pid_t> pid = a_kernel_thread();
  if (!pid) {
    skip_because("no kernel thread is to be seen in this pid namespace");
    return;
  }
  check_complaint(trace_pid(*pid), 1, "kernel thread");
}

TEST_CASE("trace_bad_input_zombie") {
  if (cannot_trace()) return;
  const Zombie zombie;
  check_complaint(trace_pid(zombie.pid()), 1, std::to_string(zombie.pid()));
}

TEST_CASE("trace_bad_input_ourselves") {
  if (cannot_trace()) return;
  Process process =
      Process::spawn({"sh", "-c", "exec \"$0\" trace -p $$ --for 1s", tidemark_path()});
  const std::string pid = std::to_string(process.pid());
  const std::optional<ExitStatus> status = process.wait_exit();
  REQUIRE(status);
  check_complaint({status->code, process.said(Stream::kOut), process.said(Stream::kErr), {}}, 1,
                  pid);
}

TEST_CASE("trace_bad_input_no_allocator") {
  if (cannot_trace()) return;
  const Target target("no_allocator");
  check_complaint(trace_pid(target.pid()), 1, "allocator");
}

TEST_CASE("trace_bad_input_32_bit_program") {
  if (cannot_trace()) return;
  const Target target("idle_32bit");
  check_complaint(trace_pid(target.pid()), 1, "is a 32-bit program");
  const Outcome doctor = run_tidemark({"doctor", "-p", target.pid_text()});
  CHECK(doctor.exit_code == 1);
  CHECK(doctor.out.find("is a 32-bit program") != std::string::npos);
}

TEST_CASE("trace_bad_input_output_directory_missing") {
  if (cannot_trace()) return;
  const Target target("idle");
  for (const char* option : {"--json", "--folded"}) {
    const Outcome outcome =
        run_tidemark({"trace", "-p", target.pid_text(), "--for", "1s", option, "/no/such/dir/x"});
    check_complaint(outcome, 1, "/no/such/dir");
  }
}

TEST_CASE("trace_bad_input_output_is_a_directory") {
  if (cannot_trace()) return;
  const Target target("idle");
  const TempDir directory;
  const std::string place = directory.file("");
  check_complaint(run_tidemark({"trace", "-p", target.pid_text(), "--for", "1s", "--json", place}),
                  1, place);
}

TEST_CASE("trace_bad_input_no_permission") {
  if (cannot_trace()) return;
  const Target target("idle");
  const Outcome outcome =
      run_tidemark({"trace", "-p", target.pid_text(), "--for", "1s"}, {.uid = kNobody});
  check_complaint(outcome, 1, "root");
}

TEST_CASE("trace_bad_input_usage") {
  struct Mistake {
    Words words;
    std::string subject;
  };
  const std::vector<Mistake> mistakes = {
      {{"trace", "-p", "1", "--no-such-option"}, "--no-such-option"},
      {{"no-such-command"}, "no-such-command"},
      {{"trace", "-p", "1", "--for", "soon"}, "soon"},
      {{"trace", "-p", "1", "--for", "10 parsecs"}, "10 parsecs"},
      {{"trace", "-p", "1", "--every", "-1s"}, "-1s"},
      {{"trace", "-p", "one"}, "one"},
      {{"trace", "-p", "0"}, "0"},
      {{"trace", "-p", "1", "--max-blocks", "0"}, "--max-blocks"},
      {{"trace"}, "-p"},
  };
  for (const Mistake& mistake : mistakes) {
    CAPTURE(mistake.words.back());
    check_complaint(run_tidemark(mistake.words), 2, mistake.subject);
  }
}

TEST_CASE("trace_bad_input_help_and_version_are_no_mistakes") {
  for (const Words& words : std::vector<Words>{{"--help"}, {"trace", "--help"}, {"--version"}}) {
    const Outcome outcome = run_tidemark(words);
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.err.empty());
    CHECK(!outcome.out.empty());
  }
}

}  // namespace tidemark::test
