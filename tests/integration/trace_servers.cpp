// SPDX-License-Identifier: Apache-2.0
//
// Real servers, attached to while they work: Debian's nginx (a worker) and python3. Their code has
// no frame pointers and no .symtab: the call sites are still named, and frees are matched with what
// they free.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "loopback.h"
#include "tidemark.h"

namespace tidemark::test {
namespace {

constexpr int kHeldConnections = 20;

// One request on a connection of its own; true if the answer is 200.
bool get(uint16_t port) {
  const UniqueFd fd = connect_to(port);
  if (!fd.valid() || !send_text(fd, "GET / HTTP/1.0\r\nHost: test\r\n\r\n")) return false;
  std::array<char, 4096> buffer;
  std::string answer;
  for (ssize_t got = 0; (got = ::recv(fd.get(), buffer.data(), buffer.size(), 0)) > 0;) {
    answer.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return answer.starts_with("HTTP/1.1 200");
}

std::optional<pid_t> child_of(pid_t parent) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "stat");
    std::string text;
    std::getline(file, text);
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos || name_end + 4 > text.size()) continue;
    if (std::atoi(text.c_str() + name_end + 4) == parent) return std::atoi(name.c_str());
  }
  return std::nullopt;
}

// An nginx of our own: own prefix, configuration, port and pid file; one worker.
class Nginx {
 public:
  Nginx() : port_(free_port()), process_(Process::spawn(words())) {
    for (int i = 0; i < 200 && !get(port_); ++i) ::usleep(50'000);
    worker_ = child_of(process_.pid());
    if (!worker_) {
      throw std::runtime_error("nginx has no worker; stderr: " + process_.said(Stream::kErr));
    }
  }
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;
  ~Nginx() {  // the master ends its worker
    process_.signal(SIGTERM);
    process_.wait_exit(Milliseconds{10'000});
  }
  [[nodiscard]] uint16_t port() const { return port_; }
  [[nodiscard]] pid_t worker() const { return *worker_; }

 private:
  Words words() {
    const std::string root = directory_.file("");
    std::ofstream config(directory_.file("nginx.conf"));
    config << "user root;\ndaemon off;\nworker_processes 1;\npid " << root << "nginx.pid;\n"
           << "error_log " << root << "error.log;\nevents { worker_connections 128; }\n"
           << "http {\n  access_log off;\n";
    for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
      config << "  " << kind << "_temp_path " << root << kind << ";\n";
    }
    config << "  server { listen 127.0.0.1:" << port_
           << "; location / { return 200 'tide'; } }\n}\n";
    return {"nginx",
            "-p",
            root,
            "-c",
            directory_.file("nginx.conf"),
            "-e",
            directory_.file("error.log")};
  }

  TempDir directory_;
  uint16_t port_;
  Process process_;
  std::optional<pid_t> worker_;
};

bool names_prefix(const Json& call_site, const std::string& prefix) {
  for (const Json& frame : call_site.at("frames")) {
    if (frame_name(frame).starts_with(prefix)) return true;
  }
  return false;
}

// The live bytes of the call sites in which some frame's function begins with the prefix.
long live_bytes_named(const Json& report, const std::string& prefix) {
  long sum = 0;
  for (const Json& site : report.at("call_sites")) {
    if (names_prefix(site, prefix)) sum += site.at("live_bytes").get<long>();
  }
  return sum;
}

void check_frees_are_matched(const Json& report) {
  const Json& totals = report.at("totals");
  INFO("totals: " << totals.dump());
  CHECK(totals.at("total_count").get<long>() > 100);
  CHECK(totals.at("freed_count").get<long>() * 2 > totals.at("total_count").get<long>());
  CHECK(totals.at("unmatched_frees").get<long>() < totals.at("freed_count").get<long>() / 10);
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
  // Requests that never end hold their connection's pool; the others come and go.
  std::vector<UniqueFd> held;
  for (int i = 0; i < kHeldConnections; ++i) {
    held.push_back(connect_to(nginx.port()));
    CHECK(send_text(held.back(), "GET / HTTP/1.1\r\nHost: te"));
  }
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
  long kept_bytes = 0;
  for (const Json& site : report.at("call_sites")) {
    if (site.at("stack") == "whole" && names_prefix(site, "_PyEval_") &&
        names_prefix(site, "_start")) {
      kept_bytes += site.at("live_bytes").get<long>();
    }
  }
  CHECK(kept_bytes >= 100 * 2000);
}

}  // namespace tidemark::test
