// SPDX-License-Identifier: Apache-2.0
//
// Real servers, attached to while they work: Debian's nginx, python3 and node. Their code has no
// frame pointers and no .symtab: the call sites are still named, and frees are matched with what
// they free.
#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <set>
#include <thread>

#include "loopback.h"
#include "servers.h"

namespace tidemark::test {
namespace {

constexpr int kHeldConnections = 20;

// Requests that never end: each holds its connection's pool.
std::vector<UniqueFd> hold_connections(uint16_t port, int count) {
  std::vector<UniqueFd> held;
  for (int i = 0; i < count; ++i) {
    held.push_back(connect_to(port));
    CHECK(send_text(held.back(), "GET / HTTP/1.1\r\nHost: te"));
  }
  return held;
}

// Requests one after another, all the time.
class Requests {
 public:
  explicit Requests(uint16_t port)
      : thread_([this, port] {
          while (!stop_) answered_ += get(port) ? 1 : 0;
        }) {}
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;
  ~Requests() {
    stop_ = true;
    thread_.join();
  }
  [[nodiscard]] long answered() const { return answered_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<long> answered_{0};
  std::thread thread_;
};

std::string places(const Json& site) {
  std::string text;
  for (const Json& frame : site.at("frames")) {
    text += frame.at("module").dump() + frame.at("offset").dump() + " ";
  }
  return text;
}

// The live bytes below these two names, of stacks that are whole.
long whole_bytes(const Json& report, const std::string& inner, const std::string& outer) {
  long bytes = 0;
  for (const Json& site : report.at("call_sites")) {
    if (site.at("stack") == "whole" && names_prefix(site, inner) && names_prefix(site, outer))
      bytes += site.at("live_bytes").get<long>();
  }
  return bytes;
}

}  // namespace

TEST_CASE("trace_servers_nginx_worker") {
  if (cannot_trace()) return;
  if (!installed("nginx")) {
    skip_because("nginx is not installed (nginx-light)");
    return;
  }
  const Nginx nginx;
  Trace trace({"-p", std::to_string(nginx.worker()), "--exact", "--for", "5s", "--no-color"});
  trace.wait_until_tracing();
  const std::vector<UniqueFd> held = hold_connections(nginx.port(), kHeldConnections);
  long answered = 0;
  while (!trace.has_ended()) answered += get(nginx.port()) ? 1 : 0;
  const Outcome outcome = trace.finish(0);
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(answered > 100);
  CHECK(get(nginx.port()));  // it serves as before
  const Json& report = outcome.report();
  check_sums_add_up(report);
  check_no_losses(report);
  check_frees_are_matched(report);
  CHECK(live_bytes_named(report, "ngx_") > 0);
  CHECK(outcome.out.find("ngx_") != std::string::npos);
}

// The worker is killed under load, with requests in hand, and started again by its master: what
// both generations hold is one row a call site. The master starts its first worker in another
// function than those that follow, and every stack ends in it: so the first one is none of the two.
TEST_CASE("trace_servers_nginx_worker_killed_and_respawned") {
  if (cannot_trace()) return;
  if (!installed("nginx")) {
    skip_because("nginx is not installed (nginx-light)");
    return;
  }
  Nginx nginx;
  nginx.kill_worker();
  Requests load(nginx.port());
  Trace trace({"--children-of", std::to_string(nginx.master()), "--exact", "--quiet", "--every",
               "200ms", "--no-color"});
  trace.wait_until_tracing();
  const pid_t first = nginx.worker();
  trace.wait_for_target(first);
  const std::vector<UniqueFd> lost = hold_connections(nginx.port(), kHeldConnections);
  CHECK(get(nginx.port()));  // behind them, so they have been accepted
  nginx.kill_worker();
  const pid_t second = nginx.worker();
  trace.wait_for_target(second);
  const std::vector<UniqueFd> held = hold_connections(nginx.port(), kHeldConnections);
  CHECK(get(nginx.port()));
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(load.answered() > 100);
  const Json& report = outcome.report();
  check_sums_add_up(report);
  check_only_late_probes(report, 1);  // the second worker's
  std::set<pid_t> traced;
  for (const Json& row : report.at("targets")) traced.insert(row.at("pid").get<pid_t>());
  CHECK(traced == std::set<pid_t>{first, second});
  std::map<std::string, const Json*> rows;
  bool of_both = false;
  std::string pools;
  for (const Json& site : report.at("call_sites")) {
    const auto [other, is_new] = rows.emplace(places(site), &site);
    CHECK_MESSAGE(is_new,
                  "two rows of one stack: " << other->second->dump() << "\nand " << site.dump());
    if (!names_prefix(site, "ngx_create_pool") || !names_prefix(site, "ngx_event_accept")) continue;
    CHECK(site.at("stack") == "whole");
    of_both |=
        site.at("pid").is_null() && site.at("live_count").get<long>() >= 2 * kHeldConnections;
    pools += site.at("pid").dump() + ": " + to_text(sums_of(site)) + "\n";
  }
  CHECK_MESSAGE(of_both, "pools of connections:\n" << pools);
}

TEST_CASE("trace_servers_python") {
  if (cannot_trace()) return;
  if (!installed("python3")) {
    skip_because("python3 is not installed");
    return;
  }
  // Keeps one buffer of eleven.
  const std::string script =
      "import time\nkept = []\nprint('ready', flush=True)\nwhile True:\n"
      "  kept.append(bytearray(2000))\n  passing = [bytearray(3000) for i in range(10)]\n"
      "  del passing\n  time.sleep(0.005)\n";
  Process python = Process::spawn({"/usr/bin/python3", "-c", script});
  REQUIRE(python.read_line(Stream::kOut) == "ready");
  Trace trace({"-p", std::to_string(python.pid()), "--exact", "--for", "5s", "--no-color"});
  trace.wait_until_tracing();
  const Outcome outcome = trace.finish(0);
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(!python.wait_exit(Milliseconds{0}));  // it runs as before
  const Json& report = outcome.report();
  check_sums_add_up(report);
  check_no_losses(report);
  check_frees_are_matched(report);
  // Debian strips it and builds it without frame pointers: only exported functions have names, but
  // every stack reaches them, down to the start of the program.
  CHECK(whole_bytes(report, "_PyEval_", "_start") >= 100 * 2000);
}

// A server in JavaScript that keeps one buffer of two. Below the engine its code is compiled while
// it runs, and a stack ends there; what the engine and the bindings hold has names.
TEST_CASE("trace_servers_node") {
  if (cannot_trace()) return;
  if (!installed("node")) {
    skip_because("node is not installed (nodejs)");
    return;
  }
  constexpr long kKeptBytes = 20'000;
  constexpr long kKept = 100;
  const std::string script =
      "const kept = [];\nconst server = require('http').createServer((request, answer) => {\n"
      "  if (request.url === '/keep') kept.push(Buffer.allocUnsafeSlow(" +
      std::to_string(kKeptBytes) +
      "));\n  Buffer.allocUnsafeSlow(30000).fill(1);\n  answer.end('tide');\n});\n"
      "server.listen(0, '127.0.0.1', () => console.log(server.address().port));\n";
  Process node = Process::spawn({"node", "-e", script});
  const auto line = node.read_line(Stream::kOut);
  REQUIRE_MESSAGE(line, "node said nothing; stderr: " << node.said(Stream::kErr));
  const auto port = static_cast<uint16_t>(std::atoi(line->c_str()));
  Requests load(port);
  Trace trace({"-p", std::to_string(node.pid()), "--exact", "--no-color"});
  trace.wait_until_tracing();
  for (long i = 0; i < kKept; ++i) CHECK(get(port, "/keep"));
  const long enough = load.answered() + 1000;
  for (int i = 0; i < 100 && load.answered() < enough; ++i) ::usleep(50'000);
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(load.answered() > 100);
  CHECK(get(port));
  const Json& report = outcome.report();
  check_sums_add_up(report);
  check_no_losses(report);
  check_frees_are_matched(report, 50);  // garbage of before the trace is collected now
  CHECK(live_bytes_named(report, "node::") >= kKept * kKeptBytes);
  CHECK(outcome.out.find("node::Buffer::") != std::string::npos);
  const auto is_whole = [](const Json& site) { return site.at("stack") == "whole"; };
  CHECK(std::ranges::any_of(report.at("call_sites"), is_whole));  // of the engine's own threads
}

}  // namespace tidemark::test
