// SPDX-License-Identifier: Apache-2.0
//
// Who is looked at and when, what a process's growth is counted from, and who has ended: with a
// kernel and a /proc that we make up.
#include "collect/growth_collector.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

using namespace tidemark;
using model::Pid;

namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kMib = 1 << 20;

struct FakeMachine {
  std::map<int, uint64_t> anonymous_bytes;  // of the processes that run
  std::map<int, sources::GrowthRow> rows;
  std::set<int> erased;
  std::map<int, int> looks;
  int code_read = 0;  // each costs 20 ms
  bool tells = true;
};

class FakeSource final : public sources::ResidentGrowth {
 public:
  explicit FakeSource(FakeMachine& machine) : machine_(machine) {}
  void open_gate() override {}
  void stop() override {}
  [[nodiscard]] std::vector<int> event_fds() const override { return {}; }
  [[nodiscard]] Status serve() override { return {}; }
  [[nodiscard]] Result<std::optional<std::vector<sources::GrowthRow>>> rows() const override {
    if (!machine_.tells) return std::nullopt;
    std::vector<sources::GrowthRow> rows;
    for (const auto& [pid, row] : machine_.rows) rows.push_back(row);
    return rows;
  }
  void erase(const sources::GrowthIdentity& identity) override {
    machine_.erased.insert(static_cast<int>(identity.tgid));
    machine_.rows.erase(static_cast<int>(identity.tgid));
  }
  void learn(model::Generation, const model::ProcessImage&) override {}
  [[nodiscard]] sources::GrowthBook& book() override { return book_; }
  [[nodiscard]] Result<std::vector<model::Counter>> counters() const override {
    return std::vector<model::Counter>{};
  }
  [[nodiscard]] std::vector<model::Coverage> coverage() const override { return {}; }

 private:
  FakeMachine& machine_;
  sources::GrowthBook book_{{}, 1};
};

class Machine {
 public:
  Machine() : Machine(std::make_unique<FakeSource>(fake)) {}

  FakeMachine fake;

  void start(int pid, uint64_t bytes) { fake.anonymous_bytes[pid] = bytes; }
  // The process touches so much more, and the kernel tells.
  void grow(int pid, uint64_t bytes, uint64_t mm = 1) {
    fake.anonymous_bytes[pid] += bytes;
    sources::GrowthRow& row = fake.rows[pid];
    if (row.identity.mm != mm) row = {};
    row.identity = {static_cast<uint32_t>(pid), 5, mm};
    row.comm = "p" + std::to_string(pid);
    row.touched_bytes += bytes;
    row.events += 1;
  }
  void end(int pid) { fake.anonymous_bytes.erase(pid); }
  // A stack of it that only its code could tell more of.
  void sample(int pid) {
    tm_growth_sample sample{};
    sample.tgid = static_cast<uint32_t>(pid);
    sample.mm = 1;
    sample.time_ns = now_ns_;
    source_->book().hear(std::as_bytes(std::span(&sample, 1)));
  }
  void open() { REQUIRE(collector_.open_gate({now_ns_}, {1})); }
  void pass(uint64_t ns) {
    now_ns_ += ns;
    REQUIRE(collector_.tick({now_ns_}));
  }
  model::GrowthSnapshot snapshot() {
    auto snapshot = collector_.snapshot({now_ns_});
    REQUIRE(snapshot);
    return *std::move(snapshot);
  }
  collect::GrowthCollector& collector() { return collector_; }

 private:
  explicit Machine(std::unique_ptr<FakeSource> source)
      : source_(source.get()),
        collector_(
            std::move(source), readers(), [](auto, const auto&) {}, 0) {}
  collect::GrowthReaders readers() {
    collect::GrowthReaders readers;
    readers.pids = [this] {
      std::vector<Pid> pids;
      for (const auto& [pid, bytes] : fake.anonymous_bytes) pids.push_back(Pid{pid});
      return pids;
    };
    readers.sizes = [this](Pid pid) -> std::optional<model::ResidentSizes> {
      fake.looks[pid.value] += 1;
      const auto found = fake.anonymous_bytes.find(pid.value);
      if (found == fake.anonymous_bytes.end()) return std::nullopt;
      return model::ResidentSizes{.anonymous_bytes = found->second};
    };
    readers.faults = [](Pid) { return model::PageFaults{}; };
    readers.comm = [](Pid pid) { return "p" + std::to_string(pid.value); };
    readers.process = [this](Pid) -> Result<model::ProcessImage> {
      fake.code_read += 1;
      const CpuTime begun = thread_cpu_now();
      while (thread_cpu_now().ns - begun.ns < 20'000'000) {
      }
      return fail("none");
    };
    readers.kept = [](Pid, std::span<const model::Address>) { return std::nullopt; };
    return readers;
  }

  uint64_t now_ns_ = 100 * kSecond;
  FakeSource* source_;
  collect::GrowthCollector collector_;  // owns it
};

const model::GrowthProcess* find(const model::GrowthSnapshot& snapshot, int pid) {
  const auto found = std::ranges::find(snapshot.processes, Pid{pid}, &model::GrowthProcess::pid);
  return found == snapshot.processes.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("growth collector: growth is counted from when the trace began") {
  Machine machine;
  machine.start(1, 10 * kMib);
  machine.start(2, 20 * kMib);
  machine.open();
  machine.grow(1, kMib);
  machine.pass(kSecond);
  const auto snapshot = machine.snapshot();
  CHECK(snapshot.processes_watched == 2);
  REQUIRE(snapshot.processes.size() == 1);
  CHECK(snapshot.processes[0].pid == Pid{1});
  CHECK(snapshot.processes[0].growth_bytes() == kMib);
  CHECK(snapshot.processes[0].touched_bytes == kMib);
  CHECK_FALSE(snapshot.processes[0].started_meanwhile);
  CHECK(snapshot.processes[0].watched_ns == kSecond);
}

TEST_CASE("growth collector: only who has changed is looked at") {
  Machine machine;
  for (int pid = 1; pid <= 100; ++pid) machine.start(pid, kMib);
  machine.open();
  for (int i = 0; i < 20; ++i) {
    machine.grow(7, kMib);
    machine.pass(2 * kSecond);
  }
  CHECK(machine.fake.looks[7] == 21);
  // Once at the beginning, and while nothing was known of it: the kernel had told nothing yet.
  CHECK(machine.fake.looks[8] == 1);
}

TEST_CASE("growth collector: where the kernel does not tell, all are looked at") {
  Machine machine;
  machine.fake.tells = false;
  machine.start(1, kMib);
  machine.open();
  machine.fake.anonymous_bytes[1] += kMib;
  machine.start(2, 3 * kMib);
  machine.pass(kSecond);
  const auto snapshot = machine.snapshot();
  REQUIRE(find(snapshot, 1) != nullptr);
  CHECK(find(snapshot, 1)->growth_bytes() == kMib);
  CHECK_FALSE(find(snapshot, 1)->touched_bytes);
  REQUIRE(find(snapshot, 2) != nullptr);
  CHECK(find(snapshot, 2)->started_meanwhile);
  CHECK(find(snapshot, 2)->growth_bytes() == 3 * kMib);
}

TEST_CASE("growth collector: who starts meanwhile began with nothing, who ends is summed by name") {
  Machine machine;
  machine.open();
  machine.grow(5, 2 * kMib);
  machine.pass(kSecond);
  REQUIRE(find(machine.snapshot(), 5) != nullptr);
  CHECK(find(machine.snapshot(), 5)->started_meanwhile);
  CHECK(find(machine.snapshot(), 5)->growth_bytes() == 2 * kMib);
  machine.end(5);
  machine.grow(6, kMib);  // came and went between two looks
  machine.end(6);
  machine.pass(kSecond);
  const auto snapshot = machine.snapshot();
  CHECK(snapshot.processes.empty());
  REQUIRE(snapshot.ended.size() == 2);
  CHECK(snapshot.ended[0].comm == "p5");
  CHECK(snapshot.ended[0].count == 1);
  CHECK(snapshot.ended[0].touched_bytes == 2 * kMib);
  CHECK(machine.fake.erased == std::set{5, 6});
  CHECK(machine.fake.rows.empty());
}

TEST_CASE("growth collector: an exec begins the trend anew") {
  Machine machine;
  machine.start(1, kMib);
  machine.open();
  for (int i = 0; i < 20; ++i) {
    machine.grow(1, kMib);
    machine.pass(2 * kSecond);
  }
  CHECK(machine.collector().growers().size() == 1);
  CHECK(machine.collector().still_grows(Pid{1}));
  machine.grow(1, 0, 2);
  machine.pass(2 * kSecond);
  CHECK(machine.collector().growers().empty());
  CHECK_FALSE(machine.collector().still_grows(Pid{1}));
  CHECK_FALSE(find(machine.snapshot(), 1)->trend);
}

TEST_CASE("growth collector: growers, the fastest first, until they stop or end") {
  Machine machine;
  for (int pid = 1; pid <= 4; ++pid) machine.start(pid, kMib);
  machine.open();
  for (int i = 0; i < 20; ++i) {
    machine.grow(1, kMib);
    machine.grow(2, 2 * kMib);
    if (i == 10) machine.grow(3, 64 * kMib);  // a jump
    machine.pass(2 * kSecond);
  }
  const auto growers = machine.collector().growers();
  REQUIRE(growers.size() == 2);
  CHECK(growers[0].pid == Pid{2});
  CHECK(growers[0].trend.bytes_per_s == doctest::Approx(kMib));
  CHECK(growers[1].pid == Pid{1});
  machine.end(2);
  for (int i = 0; i < 40; ++i) machine.pass(2 * kSecond);
  CHECK(machine.collector().growers().empty());
  CHECK_FALSE(machine.collector().still_grows(Pid{1}));
  CHECK_FALSE(machine.collector().still_grows(Pid{2}));
}

TEST_CASE("growth collector: reading the code of who grows does not hold up the looks") {
  Machine machine;
  machine.start(1, kMib);
  machine.open();
  machine.sample(1);
  machine.grow(1, kMib);
  machine.pass(2 * kSecond);
  REQUIRE(machine.fake.code_read == 1);
  const int looks = machine.fake.looks[1];
  for (int i = 0; i < 3; ++i) {
    machine.grow(1, kMib);
    machine.sample(2);
    machine.pass(kSecond / 2);
  }
  CHECK(machine.fake.looks[1] == looks + 3);
  CHECK(machine.fake.code_read == 1);
  machine.sample(2);
  machine.pass(8 * kSecond);
  CHECK(machine.fake.code_read == 2);
}
