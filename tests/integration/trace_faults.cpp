// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong while we trace: tidemark is killed, the target dies or is filtered, debugged,
// replaced on disk, in a container, traced by two of us; the disk is full.
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

#include "bpf_programs.h"
#include "tidemark.h"

namespace tidemark::test {
namespace {

struct CodeMapping {
  uint64_t start = 0, end = 0, offset = 0;
  std::string path;
};

std::vector<CodeMapping> code_of(pid_t pid) {
  std::vector<CodeMapping> mappings;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, permissions, offset, device, inode, path;
    words >> range >> permissions >> offset >> device >> inode >> path;
    if (permissions.find('x') == std::string::npos || !path.starts_with('/')) continue;
    const std::size_t dash = range.find('-');
    mappings.push_back({std::stoull(range.substr(0, dash), nullptr, 16),
                        std::stoull(range.substr(dash + 1), nullptr, 16),
                        std::stoull(offset, nullptr, 16), path});
  }
  return mappings;
}

// Is the target's code what its files say? A probe left behind is a byte that is not.
long bytes_that_differ(pid_t pid) {
  const std::string memory_path = "/proc/" + std::to_string(pid) + "/mem";
  const UniqueFd memory(::open(memory_path.c_str(), O_RDONLY | O_CLOEXEC));
  long differ = 0;
  for (const CodeMapping& mapping : code_of(pid)) {
    const UniqueFd file(::open(mapping.path.c_str(), O_RDONLY | O_CLOEXEC));
    const std::size_t size = mapping.end - mapping.start;
    std::vector<char> in_memory(size), in_file(size);
    REQUIRE(::pread(memory.get(), in_memory.data(), size, static_cast<off_t>(mapping.start)) ==
            static_cast<ssize_t>(size));
    const ssize_t got =
        ::pread(file.get(), in_file.data(), size, static_cast<off_t>(mapping.offset));
    REQUIRE(got > 0);
    for (ssize_t i = 0; i < got; ++i) {
      differ += in_memory[static_cast<std::size_t>(i)] != in_file[static_cast<std::size_t>(i)];
    }
  }
  return differ;
}

// Nanoseconds of CPU time that a pair of malloc and free takes the target.
double price_of_a_pair(Target& target) {
  double least = 1e18;
  for (int window = 0; window < 3; ++window) {
    target.say("window 200000");
    const auto line = target.process().read_line(Stream::kOut);
    least = std::min(least, std::atof(line.value_or("1e18").c_str()));
  }
  return least;
}

std::string copy_of(const TempDir& directory, const std::string& name) {
  const std::string copy = directory.file(name);
  std::filesystem::copy_file(target_path(name), copy);
  return copy;
}

void await_ready(Process& process) {
  if (process.read_line(Stream::kOut) != "ready") throw std::runtime_error("never ready");
}

Json ledger_of(Process& process) {
  process.write_line("go");
  if (process.read_line(Stream::kOut) != "done") throw std::runtime_error("never done");
  return Json::parse(process.read_line(Stream::kOut).value_or(""));
}

}  // namespace

TEST_CASE("trace_faults_killed_100_times_under_load_leaves_nothing") {
  if (cannot_trace()) return;
  const std::size_t programs_before = programs_of_ours();
  Target target("alloc_bench", {"5", "2"});
  const double before = price_of_a_pair(target);
  std::mt19937 random(11);
  std::uniform_int_distribution<useconds_t> wait_us(0, 600'000);
  const long kills = scaled(100, 5);
  for (long i = 0; i < kills; ++i) {
    Process tidemark =
        Process::spawn({tidemark_path(), "trace", "-p", target.pid_text(), "--quiet"});
    target.say("window 20000");
    ::usleep(wait_us(random));
    tidemark.signal(SIGKILL);
    REQUIRE(tidemark.wait_exit());
    REQUIRE(target.process().read_line(Stream::kOut).has_value());
  }
  CHECK(programs_are_gone(programs_before));
  CHECK(bytes_that_differ(target.pid()) == 0);
  const double after = price_of_a_pair(target);
  CHECK_MESSAGE(after < before * 3, "a pair took " << before << " ns before, " << after
                                                   << " ns afterwards");  // probed: 100 times
}

TEST_CASE("trace_faults_target_dies_while_we_attach") {
  if (cannot_trace()) return;
  std::mt19937 random(12);
  std::uniform_int_distribution<useconds_t> wait_us(0, 300'000);
  const long deaths = scaled(20, 5);
  for (long i = 0; i < deaths; ++i) {
    Target target("many_blocks", {"10"});
    Process tidemark =
        Process::spawn({tidemark_path(), "trace", "-p", target.pid_text(), "--for", "30s"});
    ::usleep(wait_us(random));
    target.process().signal(SIGKILL);
    const auto status = tidemark.wait_exit();
    REQUIRE(status);
    CAPTURE(tidemark.said(Stream::kErr));
    CHECK(status->signal == 0);
    if (status->code != 0) {
      CHECK(status->code == 1);
      CHECK(lines_of(tidemark.said(Stream::kErr)).back().starts_with("tidemark: "));
    }
  }
}

TEST_CASE("trace_faults_target_under_a_strict_seccomp_filter_lives") {
  if (cannot_trace()) return;
  Target target("seccomp_strict");
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  trace.wait_until_tracing();
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  check_ledger(outcome.report(), ledger);
  target.say("quit");
  const auto status = target.process().wait_exit();
  REQUIRE(status);
  CHECK(status->signal == 0);
  CHECK(status->code == 0);
}

TEST_CASE("trace_faults_two_tidemarks_on_one_target") {
  if (cannot_trace()) return;
  Target target("many_blocks", {"5000"});
  Trace first({"-p", target.pid_text(), "--exact", "--quiet"});
  Trace second({"-p", target.pid_text(), "--exact", "--quiet"});
  first.wait_until_tracing();
  second.wait_until_tracing();
  const Json ledger = target.run();
  for (Trace* trace : {&first, &second}) {
    const Outcome outcome = trace->finish();
    CHECK(outcome.exit_code == 0);
    check_ledger(outcome.report(), ledger);
    check_no_losses(outcome.report());
  }
}

TEST_CASE("trace_faults_target_is_being_debugged") {
  if (cannot_trace()) return;
  Target target("many_blocks", {"1000"});
  REQUIRE(::ptrace(PTRACE_SEIZE, target.pid(), nullptr, nullptr) == 0);
  Trace trace({"-p", target.pid_text(), "--exact", "--quiet"});
  trace.wait_until_tracing();
  // Stopped and gone on, as at a debugger's breakpoint.
  REQUIRE(::ptrace(PTRACE_INTERRUPT, target.pid(), nullptr, nullptr) == 0);
  int status = 0;
  REQUIRE(::waitpid(target.pid(), &status, __WALL) == target.pid());
  REQUIRE(::ptrace(PTRACE_CONT, target.pid(), nullptr, nullptr) == 0);
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  check_ledger(outcome.report(), ledger);
  check_no_losses(outcome.report());
}

TEST_CASE("trace_faults_binary_deleted_and_replaced_keeps_its_names") {
  if (cannot_trace()) return;
  const TempDir directory;
  const std::string binary = copy_of(directory, "many_blocks");
  Process target = Process::spawn({binary, "100"});
  await_ready(target);
  std::filesystem::remove(binary);
  std::ofstream(binary) << "another file of the same name\n";
  Trace trace({"-p", std::to_string(target.pid()), "--exact", "--quiet"});
  trace.wait_until_tracing();
  const Json ledger = ledger_of(target);
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  check_ledger(outcome.report(), ledger);
}

// Its own root, mount, pid and user namespaces; traced from outside, with names.
TEST_CASE("trace_faults_container_is_traced_from_outside") {
  if (cannot_trace()) return;
  const TempDir root;
  const std::string inside = root.file("many_blocks");
  std::filesystem::copy_file(target_path("many_blocks"), inside);
  {
    Target model("many_blocks", {"1"});
    for (const CodeMapping& mapping : code_of(model.pid())) {
      if (mapping.path.find("/lib") == std::string::npos) continue;
      const std::string copy = root.file(mapping.path.substr(1));
      std::filesystem::create_directories(std::filesystem::path(copy).parent_path());
      std::filesystem::copy_file(mapping.path, copy,
                                 std::filesystem::copy_options::overwrite_existing);
    }
    // The loader by the name that the program asks for.
    const std::string loader = "/lib64/ld-linux-x86-64.so.2";
    std::filesystem::create_directories(root.file("lib64"));
    if (!std::filesystem::exists(root.file(loader.substr(1)))) {
      std::filesystem::copy_file(loader, root.file(loader.substr(1)));
    }
  }
  Process target = Process::spawn({"unshare", "--user", "--map-root-user", "--mount", "--pid",
                                   "--fork", "chroot", root.file(""), "/many_blocks", "100"});
  await_ready(target);
  // unshare forks; the target is its child.
  Trace trace({"--children-of", std::to_string(target.pid()), "--quiet"});
  trace.wait_until_tracing();
  const Json ledger = ledger_of(target);
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  const auto callers = by_caller(outcome.report());
  for (const Json& site : ledger.at("sites")) {
    const std::string function = site.at("function");
    REQUIRE(callers.contains(function));
    CHECK(callers.at(function) == sums_of(site));
  }
}

TEST_CASE("trace_faults_full_disk_keeps_what_was_there") {
  if (cannot_trace()) return;
  const TempDir directory;
  const std::string disk = directory.file("disk");
  std::filesystem::create_directory(disk);
  REQUIRE(::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=8k") == 0);
  const std::string report = disk + "/trace.json";
  std::ofstream(report) << "what was there before\n";
  std::ofstream(disk + "/filler") << std::string(4096, 'x') << std::flush;
  Target target("many_blocks", {"100"});
  Process tidemark = Process::spawn({tidemark_path(), "trace", "-p", target.pid_text(), "--for",
                                     "100ms", "--quiet", "--json", report});
  const auto status = tidemark.wait_exit();
  std::ifstream kept(report);
  std::string line;
  std::getline(kept, line);
  kept.close();
  ::umount2(disk.c_str(), MNT_DETACH);
  REQUIRE(status);
  CHECK(status->code == 1);
  CHECK(line == "what was there before");
  const std::vector<std::string> errors = lines_of(tidemark.said(Stream::kErr));
  CHECK(errors.back().find("No space left") != std::string::npos);
}

}  // namespace tidemark::test
