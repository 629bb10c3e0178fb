// SPDX-License-Identifier: Apache-2.0
//
// Groups of processes: workers come and go, are found again by the way in which they were named,
// and their call sites are one.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tidemark.h"

namespace tidemark::test {
namespace {

// A memory cgroup of the test's own, version 1 or 2, whichever the machine has.
class MemoryCgroup {
 public:
  explicit MemoryCgroup(long limit_bytes) {
    const std::string v1 = "/sys/fs/cgroup/memory";
    const bool is_v1 = std::filesystem::exists(v1 + "/memory.limit_in_bytes") ||
                       std::filesystem::exists(v1 + "/memory.usage_in_bytes");
    const std::string root = is_v1 ? v1 : "/sys/fs/cgroup";
    if (!is_v1) write(root + "/cgroup.subtree_control", "+memory");
    path_ = root + "/tidemark-test-" + std::to_string(::getpid());
    std::filesystem::create_directory(path_);
    write(path_ + (is_v1 ? "/memory.limit_in_bytes" : "/memory.max"), std::to_string(limit_bytes));
  }
  MemoryCgroup(const MemoryCgroup&) = delete;
  MemoryCgroup& operator=(const MemoryCgroup&) = delete;
  ~MemoryCgroup() {  // empty by then, or the kernel keeps it
    for (int i = 0; i < 100 && ::rmdir(path_.c_str()) != 0; ++i) ::usleep(50'000);
  }
  void add(pid_t pid) const { write(path_ + "/cgroup.procs", std::to_string(pid)); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  static void write(const std::string& file, const std::string& text) {
    std::ofstream stream(file);
    stream << text << std::flush;
    if (!stream) throw std::runtime_error("cannot write '" + text + "' to " + file);
  }
  std::string path_;
};

// A supervisor with a worker that waits for orders.
class Respawner {
 public:
  Respawner() : target_("respawner") {}
  [[nodiscard]] pid_t pid() const { return target_.pid(); }
  [[nodiscard]] std::string pid_text() const { return target_.pid_text(); }
  pid_t start() {
    target_.say("go");
    return next_worker();
  }
  void leak(long blocks) {
    target_.say("leak " + std::to_string(blocks));
    target_.expect("leaked");
  }
  pid_t kill_worker() {
    target_.say("kill");
    target_.expect("died 9");
    return next_worker();
  }
  // Until the kernel has killed it for want of memory.
  pid_t burst() {
    target_.say("burst");
    target_.expect("died 9");
    return next_worker();
  }
  Json ledger() { return target_.run("done"); }

 private:
  pid_t next_worker() {
    const auto line = target_.process().read_line(Stream::kOut);
    if (!line || !line->starts_with("worker ")) {
      throw std::runtime_error("the supervisor said '" + line.value_or("(nothing)") + "'");
    }
    return std::atoi(line->c_str() + 7);
  }
  Target target_;
};

std::vector<Json> sites_of(const Json& report, const std::string& function) {
  std::vector<Json> sites;
  for (const Json& site : report.at("call_sites")) {
    if (names(site, function, 1)) sites.push_back(site);
  }
  return sites;
}

std::string comm_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string comm;
  std::getline(file, comm);
  return comm;
}

// Three workers, two of which are killed meanwhile: all that they leaked is one row.
void check_three_workers(const Words& selection, Respawner& server, pid_t first) {
  Words words = selection;
  words.insert(words.end(), {"--every", "200ms", "--quiet"});
  Trace trace(words);
  trace.wait_until_tracing();
  trace.wait_for_target(first);
  server.leak(30);
  const pid_t second = server.kill_worker();
  trace.wait_for_target(second);
  server.leak(20);
  const pid_t third = server.kill_worker();
  trace.wait_for_target(third);
  server.leak(10);
  const Json ledger = server.ledger();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  const std::vector<Json> rows = sites_of(outcome.report(), "leak_block");
  REQUIRE(rows.size() == 1);
  CHECK(sums_of(rows[0]) == sums_of(ledger.at("sites")[0]));
  CHECK(rows[0].at("pid").is_null());
  CHECK(rows[0].at("comm") == comm_of(third));
  check_sums_add_up(outcome.report());
  long dead = 0;
  for (const Json& row : outcome.report().at("targets")) {
    if (row.at("pid") != first && row.at("pid") != second) continue;
    CHECK(row.at("alive") == false);
    CHECK(row.at("exit_code") == 128 + SIGKILL);
    ++dead;
  }
  CHECK(dead == 2);
}

}  // namespace

TEST_CASE("trace_group_children_of_a_supervisor_are_one_row") {
  if (cannot_trace()) return;
  Respawner server;
  const pid_t first = server.start();
  check_three_workers({"--children-of", server.pid_text()}, server, first);
}

TEST_CASE("trace_group_processes_of_a_name_are_one_row") {
  if (cannot_trace()) return;
  Respawner server;
  const pid_t first = server.start();
  check_three_workers({"--comm", comm_of(first)}, server, first);
}

// The field case: it leaks, is killed for want of memory, is started again and leaks again.
TEST_CASE("trace_group_worker_killed_for_want_of_memory_in_its_cgroup") {
  if (cannot_trace()) return;
  const MemoryCgroup cgroup(64 << 20);
  Respawner server;
  cgroup.add(server.pid());
  Trace trace({"--cgroup", cgroup.path(), "--every", "200ms", "--quiet"});
  trace.wait_until_tracing();
  const pid_t first = server.start();
  trace.wait_for_target(first);
  const pid_t second = server.burst();
  trace.wait_for_target(second);
  const pid_t third = server.burst();
  trace.wait_for_target(third);
  const Json ledger = server.ledger();
  const Outcome outcome = trace.finish();
  const std::vector<Json> rows = sites_of(outcome.report(), "leak_block");
  INFO("call sites: " << outcome.report().at("call_sites").dump());
  REQUIRE(rows.size() == 1);
  const long noted = ledger.at("totals").at("total_count");
  const long seen = rows[0].at("total_count");
  CHECK(seen >= noted);
  CHECK(seen <= noted + 2);  // each worker may have died before it noted its last block
  CHECK(noted > 2 * 8'000);
  CHECK(rows[0].at("live_count") == seen);
  CHECK(rows[0].at("pid").is_null());
}

// It is not there yet when the trace begins.
TEST_CASE("trace_group_waits_for_a_process_of_the_name") {
  if (cannot_trace()) return;
  std::string comm;
  {
    Target model("many_blocks", {"1"});
    comm = comm_of(model.pid());
  }
  Trace trace({"--comm", comm, "--every", "200ms", "--quiet"});
  trace.wait_until_tracing();
  Target target("many_blocks", {"100"});
  trace.wait_for_target(target.pid());
  const Json ledger = target.run();
  const Outcome outcome = trace.finish();
  CHECK(outcome.exit_code == 0);
  CHECK(sums_of(outcome.report().at("totals")) == sums_of(ledger.at("totals")));
}

TEST_CASE("trace_group_ends_with_the_supervisor_and_its_children") {
  if (cannot_trace()) return;
  Respawner server;
  server.start();
  Trace trace({"--children-of", server.pid_text(), "--for", "1h", "--quiet"});
  trace.wait_until_tracing();
  ::kill(server.pid(), SIGKILL);  // its worker dies with it
  CHECK(trace.finish(0).exit_code == 0);
}

TEST_CASE("trace_group_mistakes") {
  if (cannot_trace()) return;
  const auto error_of = [](const Words& words) {
    const Outcome outcome = run_tidemark(words);
    CHECK(outcome.exit_code == 1);
    CHECK(lines_of(outcome.err).size() == 1);
    return outcome.err;
  };
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  CHECK(has(error_of({"trace", "--children-of", "4194303"}), "there is no process 4194303"));
  CHECK(has(error_of({"trace", "--cgroup", "/no/such"}), "there is no cgroup /no/such"));
}

}  // namespace tidemark::test
