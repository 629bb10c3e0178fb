// SPDX-License-Identifier: Apache-2.0
//
// Debian's postgres under pgbench: a postmaster of our own, as an ordinary user, on a unix socket
// in a directory of the test. Each session is a process that the postmaster forks.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "servers.h"

namespace tidemark::test {
namespace {

constexpr uid_t kNobody = 65534;  // initdb and postgres refuse root
constexpr long kSettings = 200;
constexpr long kSettingBytes = 2000;

// Debian keeps each major version's programs in a directory of its own: the newest one's.
std::string postgres_program(const std::string& name) {
  std::string found;
  std::error_code error;
  for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", error)) {
    const std::string path = version.path() / "bin" / name;
    if (::access(path.c_str(), X_OK) == 0 && path > found) found = path;
  }
  return found;
}

Process run_as_nobody(Words words) {
  words.front() = postgres_program(words.front());
  return Process::spawn(words, {.uid = kNobody});
}

void must_succeed(const Words& words) {
  Process process = run_as_nobody(words);
  const auto status = process.wait_exit();
  if (!status || status->code != 0)
    throw std::runtime_error(words.front() + " failed: " + process.said(Stream::kErr));
}

class Postgres {
 public:
  Postgres() {
    if (::chown(root().c_str(), kNobody, kNobody) != 0)
      throw std::runtime_error("cannot give " + root() + " away");
    must_succeed({"initdb", "-D", data(), "-U", "tide", "-A", "trust", "-N", "--locale=C"});
    server_.emplace(
        run_as_nobody({"postgres", "-D", data(), "-k", root(), "-c", "listen_addresses=", "-c",
                       "fsync=off", "-c", "autovacuum=off", "-c", "shared_buffers=16MB"}));
    for (int i = 0; i < 200; ++i) {
      Process ready = run_as_nobody({"pg_isready", "-h", root(), "-q"});
      if (const auto status = ready.wait_exit(); status && status->code == 0) return;
      ::usleep(50'000);
    }
    throw std::runtime_error("postgres does not answer: " + server_->said(Stream::kErr));
  }
  Postgres(const Postgres&) = delete;
  Postgres& operator=(const Postgres&) = delete;
  ~Postgres() {  // the fast way down: sessions are ended
    server_->signal(SIGINT);
    server_->wait_exit(Milliseconds{10'000});
  }
  [[nodiscard]] pid_t pid() const { return server_->pid(); }
  // -h, -U and what follows.
  [[nodiscard]] Words client(const std::string& program, const Words& rest) const {
    Words words = {program, "-h", root(), "-U", "tide"};
    words.insert(words.end(), rest.begin(), rest.end());
    return words;
  }

 private:
  [[nodiscard]] std::string root() const { return directory_.file("."); }
  [[nodiscard]] std::string data() const { return directory_.file("data"); }

  TempDir directory_;
  std::optional<Process> server_;
};

// A session that does what it is told.
class Session {
 public:
  explicit Session(const Postgres& postgres)
      : psql_(run_as_nobody(postgres.client("psql", {"-qtA", "-X", "postgres"}))) {}
  long ask(const std::string& query) {
    psql_.write_line(query);
    const auto line = psql_.read_line(Stream::kOut);
    if (!line) throw std::runtime_error("psql said nothing: " + psql_.said(Stream::kErr));
    return std::atol(line->c_str());
  }

 private:
  Process psql_;
};

}  // namespace

// What a session sets by a name of its own is kept until the session ends.
TEST_CASE("trace_servers_postgres_under_pgbench") {
  if (cannot_trace()) return;
  if (postgres_program("pgbench").empty()) {
    skip_because("postgres and pgbench are not installed (postgresql-15)");
    return;
  }
  const Postgres postgres;
  must_succeed(postgres.client("pgbench", {"-i", "-q", "postgres"}));
  const std::vector<pid_t> helpers = children_of(postgres.pid());
  Process load =
      run_as_nobody(postgres.client("pgbench", {"-n", "-c", "4", "-T", "600", "postgres"}));
  std::vector<pid_t> before;
  for (int i = 0; i < 100 && before.size() < helpers.size() + 4; ++i) {
    ::usleep(50'000);
    before = children_of(postgres.pid());
  }
  Trace trace(
      {"--children-of", std::to_string(postgres.pid()), "--exact", "--every", "200ms", "--quiet"});
  trace.wait_until_tracing();
  Session session(postgres);
  const auto backend = static_cast<pid_t>(session.ask("SELECT pg_backend_pid();"));
  trace.wait_for_target(backend);
  // As on a busy machine: nobody answers while call sites that were never met allocate.
  ::kill(trace.pid(), SIGSTOP);
  CHECK(session.ask("SELECT count(set_config('tide.kept' || n, repeat('x', " +
                    std::to_string(kSettingBytes) + "), false)) FROM generate_series(1, " +
                    std::to_string(kSettings) + ") n;") == kSettings);
  ::kill(trace.pid(), SIGCONT);
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(!load.wait_exit(Milliseconds{0}));
  CHECK(session.ask("SELECT 4711;") == 4711);
  const Json& report = outcome.report();
  check_sums_add_up(report);
  check_only_late_probes(report, 1);  // the new session's
  check_frees_are_matched(report);
  std::set<pid_t> traced;
  for (const Json& row : report.at("targets")) traced.insert(row.at("pid").get<pid_t>());
  CHECK(traced.contains(backend));
  for (const pid_t child : before) CHECK(traced.contains(child));
  long kept = 0;
  for (const Json& site : report.at("call_sites")) {
    if (!names_prefix(site, "set_config_option")) continue;
    CHECK(site.at("stack") == "whole");
    CHECK(names_prefix(site, "main"));
    CHECK(names_prefix(site, "PostgresMain"));
    kept += site.at("live_bytes").get<long>();
  }
  CHECK(kept >= kSettings * kSettingBytes);
}

}  // namespace tidemark::test
