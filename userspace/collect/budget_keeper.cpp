// SPDX-License-Identifier: Apache-2.0
#include "collect/budget_keeper.h"

#include <algorithm>
#include <utility>

namespace tidemark::collect {
namespace {

model::CpuSpan between(const model::CpuSpan& start, const model::CpuSpan& end) {
  return {.cpu_ns = end.cpu_ns - start.cpu_ns,
          .user_ns = end.user_ns - start.user_ns,
          .traps_ns = end.traps_ns - start.traps_ns,
          .programs_ns = end.programs_ns - start.programs_ns};
}

constexpr uint64_t kJudgeEveryNs = 75'000'000;
constexpr double kMostForExtras = 0.3;

bool is_paused(const model::Setting& setting) {
  return setting.gear == model::Gear::kPaused;
}

}  // namespace

void BudgetKeeper::Used::meet(const ReadCpu& reader, const std::vector<model::Pid>& pids) {
  for (const model::Pid pid : pids) {
    if (const auto now = reader(pid)) last.try_emplace(pid, *now);
  }
}

void BudgetKeeper::Used::read(const ReadCpu& reader, const std::vector<model::Pid>& pids) {
  std::map<model::Pid, uint64_t> used;
  for (const model::Pid pid : pids) {
    const auto now = reader(pid);
    if (!now) continue;
    const auto before = last.find(pid);
    if (before != last.end() && *now > before->second) all_ns += *now - before->second;
    used.emplace(pid, *now);
  }
  last = std::move(used);
}

Status BudgetKeeper::read(const std::vector<model::Pid>& pids) {
  const auto spending = throttle_.spending();
  if (!spending) return std::unexpected(spending.error());
  spending_ = *spending;
  if (auto charged = charge_extras(); !charged) return charged;
  used_.read(readers_.all, pids);
  now_.at = readers_.now();
  now_.sums.cpu_ns = used_.all_ns;
  now_.sums.traps_ns = spending_.traps_ns;
  now_.sums.programs_ns = spending_.programs_ns;
  return {};
}

model::CostReading BudgetKeeper::reading() const {
  return {.now = now_.at,
          .targets_cpu_ns = now_.sums.cpu_ns,
          .spending = spending_,
          .trap_factor = trim_.factor()};
}

Status BudgetKeeper::charge_extras() {
  uint64_t now_ns = 0;
  for (const sources::Extra* extra : extras_) {
    const auto spent = extra->spent_ns(throttle_.trap_ns());
    if (!spent) return std::unexpected(spent.error());
    now_ns += *spent;
  }
  extra_ns_ = std::max(extra_ns_, now_ns);
  spending_.programs_ns += extra_charged_ns_;
  return {};
}

void BudgetKeeper::leave_out_extras() {
  for (sources::Extra* const extra : std::exchange(extras_, {})) {
    extra->leave_out(
        "they cost every system call of the machine some of its time, more than the budget has for "
        "them: --exact has it");
  }
}

// They can't be sampled: they get a part of the budget, or nothing. Who on this machine made the
// calls is not known, so all are charged, up to that part: what is beyond it is others' for all
// that is known, and no debt of the targets.
void BudgetKeeper::judge_extras() {
  if (extras_.empty() || !is_counting_) return;
  const uint64_t passed = now_.at.ns - judged_.at.ns;
  if (judged_.at.ns != 0 && passed < kJudgeEveryNs) return;
  const double used = std::max(static_cast<double>(now_.sums.cpu_ns - judged_.cpu_ns),
                               model::kLeastUse * static_cast<double>(passed));
  const auto extra = static_cast<double>(extra_ns_ - judged_.extra_ns);
  const double part = kMostForExtras * budget_share_ * used;
  const bool is_first = judged_.at.ns == 0;  // what came before was our own getting ready
  judged_ = {now_.at, now_.sums.cpu_ns, extra_ns_};
  if (is_first) return;
  extra_charged_ns_ += static_cast<uint64_t>(std::min(extra, part));
  if (extra > part) leave_out_extras();
}

void BudgetKeeper::read_user(const std::vector<model::Pid>& pids) {
  user_.read(readers_.user, pids);
  now_.sums.user_ns = user_.all_ns;
}

void BudgetKeeper::end_span() {
  const model::CpuSpan span = between(span_start_, now_.sums);
  if (is_paused(setting_)) {
    trim_.add_paused(span);
  } else {
    trim_.add_open(span);
  }
}

// Pauses are long and nothing is seen in them: their last reading is enough.
void BudgetKeeper::note() {
  now_.open = !is_paused(setting_);
  const bool goes_on =
      noted_.size() >= 2 && !now_.open && !noted_.back().open && !noted_[noted_.size() - 2].open;
  if (goes_on) noted_.pop_back();
  noted_.push_back(now_);
}

// Probes are taken out and put in while the target runs: that time is in no span.
Status BudgetKeeper::shift(const model::Setting& next, const std::vector<model::Pid>& pids,
                           const std::function<void()>& before_pause) {
  if (next == setting_) return {};
  const bool turns = is_paused(next) != is_paused(setting_);
  if (turns && is_paused(next)) {
    leave_out_extras();
    before_pause();
    if (auto again = read(pids); !again) return again;
  }
  if (turns) {
    read_user(pids);
    end_span();
    note();
  }
  setting_ = next;
  if (!is_paused(next)) throttle_.set_sampling_interval(next.interval_bytes);
  if (!turns) return {};
  if (is_paused(next)) {
    throttle_.pause();
  } else {
    throttle_.resume();
    resumed_ = readers_.now();
  }
  if (auto begun = read(pids); !begun) return begun;
  governor_->shifted(reading());
  read_user(pids);
  span_start_ = now_.sums;
  note();
  return {};
}

// What attaching and learning take is in the account, and shows what probes cost here.
Status BudgetKeeper::begin(const std::vector<model::Pid>& pids) {
  used_.meet(readers_.all, pids);
  if (governor_) return {};
  if (auto done = read(pids); !done) return done;
  const model::CostReading at_start{now_.at, now_.sums.cpu_ns, {}, 1};
  governor_.emplace(budget_share_, throttle_.trap_ns(), now_.at.ns, at_start);
  return {};
}

void BudgetKeeper::counting_begins() {
  is_counting_ = true;
  if (governor_) governor_->counting_begins();
}

Status BudgetKeeper::tick(const std::vector<model::Pid>& pids,
                          const std::function<void()>& before_pause) {
  if (auto begun = begin(pids); !begun) return begun;
  if (auto done = read(pids); !done) return done;
  if (!std::exchange(is_in_span_, true)) {
    read_user(pids);
    span_start_ = now_.sums;
    governor_->shifted(reading());
    return {};
  }
  if (!noted_.empty()) note();
  judge_extras();
  return shift(governor_->decide(reading()), pids, before_pause);
}

// One that goes on for longer has become the way it is.
bool BudgetKeeper::is_in_window() const {
  constexpr uint64_t kLongestNs = 6'000'000'000;
  return resumed_.ns != 0 && !is_paused(setting_) && now_.at.ns - resumed_.ns < kLongestNs;
}

std::optional<model::GovernorAccount> BudgetKeeper::account() const {
  if (!governor_) return std::nullopt;
  return governor_->account();
}

model::OwnClock BudgetKeeper::clock() const {
  model::OwnClock clock;
  double own_ns = 0;
  for (std::size_t at = 0; at < noted_.size(); ++at) {
    if (at > 0) own_ns += trim_.own_ns(between(noted_[at - 1].sums, noted_[at].sums));
    clock.set(noted_[at].at.ns, static_cast<uint64_t>(own_ns));
  }
  return clock;
}

}  // namespace tidemark::collect
