// SPDX-License-Identifier: Apache-2.0
//
// The keeper with a target and a throttle that we make up: what is read when, what is put into
// gear, and what the clock says afterwards.
#include "collect/budget_keeper.h"

#include <doctest/doctest.h>

#include <string>

using namespace tidemark;

namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr model::Pid kTarget{4242};

// One processor: with probes, nine tenths of it are theirs.
class Machine final : public sources::Throttle {
 public:
  [[nodiscard]] Result<model::Spending> spending() override { return spent_; }
  [[nodiscard]] double trap_ns() const override { return 1000; }
  void set_sampling_interval(uint32_t bytes) override { interval = bytes; }
  void pause() override {
    probed = false;
    ++pauses;
  }
  void resume() override {
    probed = true;
    pass(10);  // attaching takes its time, and nothing is hit meanwhile
  }

  void pass(uint64_t ms) {
    now.ns += ms * kMs;
    cpu_ns += ms * kMs;
    const uint64_t taken = probed && busy ? ms * kMs * 9 / 10 : 0;
    spent_.traps_ns += taken;
    spent_.calls += taken / 1000;
    own_ns += ms * kMs - taken;
  }
  [[nodiscard]] collect::CpuReaders readers() {
    return {.all = [this](model::Pid) { return std::optional(cpu_ns); },
            .user = [this](model::Pid) { return std::optional(own_ns); },
            .now = [this] { return now; }};
  }

  MonotonicTime now{1'000 * kMs};
  uint64_t cpu_ns = 0;
  uint64_t own_ns = 0;
  uint32_t interval = 0;
  bool probed = true;
  bool busy = true;
  int pauses = 0;

 private:
  model::Spending spent_;
};

class Dear final : public sources::Extra {
 public:
  [[nodiscard]] Result<uint64_t> spent_ns(double) const override { return spent; }
  void leave_out(std::string why) override { reason = std::move(why); }
  uint64_t spent = 0;
  std::string reason;
};

void run(
    collect::BudgetKeeper& keeper, Machine& machine, uint64_t ms,
    const std::function<void()>& each = [] {}) {
  keeper.counting_begins();
  for (uint64_t at = 0; at < ms; at += 25) {
    machine.pass(25);
    each();
    REQUIRE(keeper.tick({kTarget}, [] {}));
  }
}

}  // namespace

TEST_CASE("budget keeper: a busy target is paused, looked at again, and not beyond the budget") {
  Machine machine;
  collect::BudgetKeeper keeper(0.05, machine, {}, machine.readers());
  CHECK_FALSE(keeper.account());
  run(keeper, machine, 60'000);
  CHECK(machine.pauses > 5);
  const auto account = keeper.account();
  REQUIRE(account);
  CHECK(account->share() <= 0.055);
  CHECK(account->share() >= 0.03);
  CHECK(account->paused_ns > account->sampled_ns);
}

TEST_CASE("budget keeper: what attaching takes is in the account, and a glance is enough") {
  Machine machine;
  collect::BudgetKeeper keeper(0.05, machine, {}, machine.readers());
  REQUIRE(keeper.begin({kTarget}));
  machine.pass(40);
  REQUIRE(keeper.tick({kTarget}, [] {}));
  CHECK(machine.pauses == 0);
  // Traps are taken for dearer than on the helper until it is known.
  const auto attaching = static_cast<double>(keeper.account()->extra_ns);
  CHECK(attaching >= 36.0 * kMs);
  machine.pass(10);
  REQUIRE(keeper.tick({kTarget}, [] {}));
  CHECK(machine.pauses == 1);
  CHECK(static_cast<double>(keeper.account()->extra_ns) == doctest::Approx(attaching * 45 / 36));
}

TEST_CASE("budget keeper: each target pays from when it is attached to") {
  Machine machine;
  collect::BudgetKeeper keeper(0.05, machine, {}, machine.readers());
  constexpr model::Pid kOther{4343};
  REQUIRE(keeper.begin({kTarget}));
  machine.pass(20);
  REQUIRE(keeper.begin({kOther}));
  machine.pass(20);
  REQUIRE(keeper.tick({kTarget, kOther}, [] {}));
  // The reader says the same of both: 40 ms of the one, 20 of the other.
  CHECK(keeper.account()->own_ns + keeper.account()->extra_ns == 60 * kMs);
}

TEST_CASE("budget keeper: the clock leaves out what tracing took") {
  Machine machine;
  collect::BudgetKeeper keeper(0.05, machine, {}, machine.readers());
  run(keeper, machine, 1'000);
  REQUIRE(machine.pauses > 0);
  const MonotonicTime began = machine.now;
  const uint64_t own_before = machine.own_ns;
  run(keeper, machine, 60'000);
  const model::OwnClock clock = keeper.clock();
  const auto own = static_cast<double>(machine.own_ns - own_before);
  CHECK(static_cast<double>(clock.at(machine.now.ns) - clock.at(began.ns)) ==
        doctest::Approx(own).epsilon(0.05));
}

TEST_CASE("budget keeper: the last look comes before the probes go") {
  Machine machine;
  collect::BudgetKeeper keeper(0.05, machine, {}, machine.readers());
  int looks = 0;
  for (int at = 0; at < 400; ++at) {
    machine.pass(25);
    REQUIRE(keeper.tick({kTarget}, [&] {
      CHECK(machine.probed);
      ++looks;
    }));
  }
  CHECK(looks == machine.pauses);
  CHECK(looks > 0);
}

TEST_CASE("budget keeper: a quiet target is left as it is") {
  Machine machine;
  machine.busy = false;
  Dear cheap;
  collect::BudgetKeeper keeper(0.05, machine, {&cheap}, machine.readers());
  run(keeper, machine, 5'000);
  CHECK(machine.pauses == 0);
  CHECK(machine.interval == 0);
  CHECK(keeper.clock().is_empty());
  CHECK(cheap.reason.empty());
}

TEST_CASE("budget keeper: what others of the machine cost is no debt of the targets") {
  Machine machine;
  machine.busy = false;
  Dear dear;
  collect::BudgetKeeper keeper(0.05, machine, {&dear}, machine.readers());
  run(keeper, machine, 5'000, [&dear] { dear.spent += 40 * kMs; });  // more than a processor
  CHECK_FALSE(dear.reason.empty());
  const auto account = keeper.account();
  REQUIRE(account);
  CHECK(account->changes == 0);
  CHECK(account->sampled_ns == 0);
}

TEST_CASE("budget keeper: what costs everybody too much is left out, with the reason") {
  Machine machine;
  machine.busy = false;
  Dear dear;
  collect::BudgetKeeper keeper(0.05, machine, {&dear}, machine.readers());
  run(keeper, machine, 2'000, [&dear] { dear.spent += kMs; });  // 4 % of the processor
  CHECK(dear.reason.find("--exact") != std::string::npos);
  CHECK(machine.pauses == 0);
}
