// SPDX-License-Identifier: Apache-2.0
//
// Debian's redis-server, which is on jemalloc, attached to under load: what the trace says that its
// blocks take is what redis itself says.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "loopback.h"
#include "tidemark.h"

namespace tidemark::test {
namespace {

constexpr long kKeys = 100'000;
constexpr std::size_t kValueBytes = 256;
constexpr long kPipelined = 500;

// One connection; commands go out in the form of arrays of strings.
class Client {
 public:
  explicit Client(uint16_t port) : fd_(connect_to(port)) {}
  [[nodiscard]] bool connected() const { return fd_.valid(); }

  // A line of status, or the text that was asked for.
  std::string ask(const Words& command) {
    send_text(fd_, encode(command));
    return answer();
  }

  // SET for all keys from `first` up to `end`; true if all were taken.
  bool set_keys(long first, long end) {
    const std::string value(kValueBytes, 'v');
    bool all = true;
    for (long done = first; done < end;) {
      const long count = std::min(kPipelined, end - done);
      std::string batch;
      for (long i = 0; i < count; ++i)
        batch += encode({"SET", "key:" + std::to_string(done + i), value});
      all &= send_text(fd_, batch);
      for (long i = 0; i < count; ++i) all &= answer() == "OK";
      done += count;
    }
    return all;
  }

 private:
  static std::string encode(const Words& command) {
    std::string text = "*" + std::to_string(command.size()) + "\r\n";
    for (const std::string& word : command)
      text += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    return text;
  }

  std::string line() {
    for (;;) {
      const std::size_t end = read_.find("\r\n");
      if (end != std::string::npos) {
        const std::string found = read_.substr(0, end);
        read_.erase(0, end + 2);
        return found;
      }
      if (!read_more()) return "";
    }
  }

  std::string answer() {
    const std::string head = line();
    if (head.empty() || head[0] != '$') return head.empty() ? "" : head.substr(1);
    const auto size = static_cast<std::size_t>(std::atol(head.c_str() + 1));
    while (read_.size() < size + 2) {
      if (!read_more()) return "";
    }
    const std::string text = read_.substr(0, size);
    read_.erase(0, size + 2);
    return text;
  }

  bool read_more() {
    std::array<char, 16384> buffer;
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got > 0) read_.append(buffer.data(), static_cast<std::size_t>(got));
    return got > 0;
  }

  UniqueFd fd_;
  std::string read_;
};

// A redis of our own: no configuration file, nothing on disk but in our directory.
class Redis {
 public:
  Redis()
      : port_(free_port()),
        process_(
            Process::spawn({"redis-server", "--port", std::to_string(port_), "--bind", "127.0.0.1",
                            "--save", "", "--appendonly", "no", "--dir", directory_.file("")})) {
    for (int i = 0; i < 200; ++i) {
      Client client(port_);
      if (client.connected() && client.ask({"PING"}) == "PONG") return;
      ::usleep(50'000);
    }
    throw std::runtime_error("redis-server does not answer: " + process_.said(Stream::kOut));
  }
  [[nodiscard]] uint16_t port() const { return port_; }
  [[nodiscard]] pid_t pid() const { return process_.pid(); }

 private:
  TempDir directory_;
  uint16_t port_;
  Process process_;
};

long used_memory(Client& client) {
  const std::string info = client.ask({"INFO", "memory"});
  const std::size_t at = info.find("used_memory:");
  return at == std::string::npos ? -1 : std::atol(info.c_str() + at + 12);
}

// Somebody reads and writes all the time, while the probes are put in.
class Load {
 public:
  explicit Load(uint16_t port)
      : thread_([this, port] {
          Client client(port);
          while (!stop_) served_ += client.set_keys(0, 100) ? 100 : 0;
        }) {}
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] long served() const { return served_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<long> served_{0};
  std::thread thread_;
};

Outcome checked(Trace& trace) {
  const Outcome outcome = trace.finish();
  INFO("stderr: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  check_sums_add_up(outcome.report());
  check_no_losses(outcome.report());
  return outcome;
}

void check_usable_bytes(const Json& report, long grown) {
  const Json& usable = report.at("totals").at("live_usable_bytes");
  REQUIRE_FALSE(usable.is_null());
  INFO("used_memory grew by " << grown << ", live_usable_bytes by " << usable.dump());
  CHECK(std::abs(usable.get<long>() - grown) * 50 <= grown);
}

}  // namespace

TEST_CASE("trace_redis_says_what_redis_says") {
  if (cannot_trace()) return;
  if (!installed("redis-server")) {
    skip_because("redis-server is not installed (redis-server)");
    return;
  }
  const long keys = scaled(kKeys, 10'000);
  Redis redis;
  Client client(redis.port());
  const Words options = {"-p", std::to_string(redis.pid()), "--exact", "--quiet"};
  {
    Load load(redis.port());
    Trace trace(options);
    trace.wait_until_tracing();
    load.stop();
    CHECK(load.served() > 0);
    const long before = used_memory(client);
    REQUIRE(client.set_keys(1000, 1000 + keys));
    const long grown = used_memory(client) - before;
    CHECK(grown > keys * static_cast<long>(kValueBytes));
    const Outcome outcome = checked(trace);
    check_usable_bytes(outcome.report(), grown);
  }
  Trace trace(options);
  trace.wait_until_tracing();
  REQUIRE(client.set_keys(1000 + keys, 1000 + 2 * keys));
  REQUIRE(client.ask({"FLUSHALL", "SYNC"}) == "OK");
  CHECK(client.ask({"PING"}) == "PONG");
  const Outcome outcome = checked(trace);
  const Json& totals = outcome.report().at("totals");
  INFO("after FLUSHALL: " << totals.dump());
  // Each key has at the least a value, a key and an entry of the table; the keys of before the
  // trace are freed as well.
  CHECK(totals.at("total_count").get<long>() >= 3 * keys);
  CHECK(totals.at("live_count").get<long>() * 100 <= 3 * keys);
  CHECK(totals.at("unmatched_frees").get<long>() >= 3 * keys);
}

}  // namespace tidemark::test
