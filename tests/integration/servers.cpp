// SPDX-License-Identifier: Apache-2.0
#include "servers.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>

#include "loopback.h"

namespace tidemark::test {

bool get(uint16_t port, const std::string& path) {
  const UniqueFd fd = connect_to(port);
  if (!fd.valid() || !send_text(fd, "GET " + path + " HTTP/1.0\r\nHost: test\r\n\r\n"))
    return false;
  std::array<char, 4096> buffer;
  std::string answer;
  for (ssize_t got = 0; (got = ::recv(fd.get(), buffer.data(), buffer.size(), 0)) > 0;) {
    answer.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return answer.starts_with("HTTP/1.1 200");
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "stat");
    std::string text;
    std::getline(file, text);
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos || name_end + 4 > text.size()) continue;
    if (std::atoi(text.c_str() + name_end + 4) == parent)
      children.push_back(std::atoi(name.c_str()));
  }
  return children;
}

Nginx::Nginx() : port_(free_port()), process_(Process::spawn(words())) {
  await_worker(0);
}

Nginx::~Nginx() {
  process_.signal(SIGTERM);
  process_.wait_exit(Milliseconds{10'000});
}

void Nginx::kill_worker() {
  const pid_t old = worker_;
  ::kill(old, SIGKILL);
  await_worker(old);
}

void Nginx::await_worker(pid_t not_this_one) {
  for (int i = 0; i < 200; ++i) {
    const std::vector<pid_t> workers = children_of(master());
    if (workers.size() == 1 && workers.front() != not_this_one && get(port_)) {
      worker_ = workers.front();
      return;
    }
    ::usleep(50'000);
  }
  throw std::runtime_error("nginx has no worker; stderr: " + process_.said(Stream::kErr));
}

Words Nginx::words() {
  const std::string root = directory_.file("");
  std::ofstream config(directory_.file("nginx.conf"));
  config << "user root;\ndaemon off;\nworker_processes 1;\npid " << root << "nginx.pid;\n"
         << "error_log " << root << "error.log;\nevents { worker_connections 128; }\n"
         << "http {\n  access_log off;\n";
  for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
    config << "  " << kind << "_temp_path " << root << kind << ";\n";
  }
  config << "  server { listen 127.0.0.1:" << port_ << "; location / { return 200 'tide'; } }\n}\n";
  return {
      "nginx", "-p", root, "-c", directory_.file("nginx.conf"), "-e", directory_.file("error.log")};
}

bool names_prefix(const Json& call_site, const std::string& prefix) {
  return std::ranges::any_of(call_site.at("frames"), [&](const Json& frame) {
    return frame_name(frame).starts_with(prefix);
  });
}

long live_bytes_named(const Json& report, const std::string& prefix) {
  long sum = 0;
  for (const Json& site : report.at("call_sites")) {
    if (names_prefix(site, prefix)) sum += site.at("live_bytes").get<long>();
  }
  return sum;
}

void check_frees_are_matched(const Json& report, long unmatched_percent) {
  const Json& totals = report.at("totals");
  INFO("totals: " << totals.dump());
  CHECK(totals.at("total_count").get<long>() > 100);
  CHECK(totals.at("freed_count").get<long>() * 2 > totals.at("total_count").get<long>());
  CHECK(totals.at("unmatched_frees").get<long>() * 100 <
        totals.at("freed_count").get<long>() * unmatched_percent);
}

void check_only_late_probes(const Json& report, long times) {
  CHECK(!report.at("losses").empty());
  for (const Json& loss : report.at("losses")) {
    const bool late = loss.at("counter") == "late_probes";
    INFO("loss counter " << loss.at("counter").get<std::string>());
    CHECK(loss.at("count").get<long>() == (late ? times : 0));
  }
}

}  // namespace tidemark::test
