// SPDX-License-Identifier: Apache-2.0
#include "model/governor.h"

#include <algorithm>

#include "model/sampling.h"

namespace tidemark::model {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kLongestLookBack = 10 * kSecond;
// The budget is kept over any ten seconds: the share is kept a tenth below it, and so much can be
// saved. Before there is anything to judge by, the first of these may be taken, or less of a small
// budget.
constexpr double kAimedAt = 0.9;
constexpr double kFirstReserve = 20e6, kLeastReserve = 1e6;
// The first interval is a common one (tcmalloc's and jemalloc's own profilers take it).
constexpr uint32_t kFirstInterval = 512 << 10;
constexpr uint32_t kFirstWindowInterval = 8 << 10;
// Of the budget, what samples may cost beside the traps before the interval is made longer, and
// what the better gear would have to cost at most for it to be taken again.
constexpr double kSamplesShare = 0.2;
constexpr double kUpShare = 0.5;
constexpr uint64_t kUpAfter = 3 * kSecond;
// Attaching and detaching take time themselves; shorter windows would be made of these.
constexpr double kShortestWindow = 0.05e9;
// What the end of a window costs, as time of a window: until somebody looks, until what is new was
// looked up, until the probes are out. What was more counts at once, what was less by and by.
constexpr double kLeastClosing = 0.03e9, kMostClosing = 1e9;
constexpr double kClosingWeight = 0.3;
// What is saved for the next window, in shortest ones: at random up to so many.
constexpr double kMostOfShortest = 3;
// In a window traps are paid for anyway, so samples may cost as much: then a trap tells most.
constexpr double kSamplesLow = 0.6, kSamplesHigh = 1.2;
constexpr double kLongestWindow = 5e9;
// What a call takes in kExact before it was seen: a pair of them has three traps and a record.
constexpr double kTrapsOfCall = 1.5, kRecordOfCall = 750;
// A gear shows what it costs after this long.
constexpr uint64_t kSettling = kSecond / 4;
constexpr uint64_t kPresent = kSecond;

uint64_t grown(uint64_t now, uint64_t before) {
  return now > before ? now - before : 0;
}

}  // namespace

double GovernorAccount::share() const {
  return own_ns == 0 ? 0 : static_cast<double>(extra_ns) / static_cast<double>(own_ns);
}

double GovernorAccount::duty_ratio() const {
  const auto open = static_cast<double>(exact_ns + sampled_ns);
  const double all = open + static_cast<double>(paused_ns);
  return all == 0 ? 1 : open / all;
}

Governor::Governor(double budget_share, double trap_ns, uint64_t seed, const CostReading& at_start)
    : budget_(budget_share * kAimedAt),
      trap_ns_(trap_ns),
      exact_price_ns_(kTrapsOfCall * trap_ns + kRecordOfCall),
      random_(seed),
      last_(at_start),
      began_(at_start.now),
      closing_ns_(kLeastClosing),
      reserve_ns_(std::min(kFirstReserve, (1 - kAimedAt) * budget_ * kLongestLookBack)),
      balance_ns_(reserve_ns_),
      quiet_since_(at_start.now),
      changed_(at_start.now) {}

// The clock of a process and the programs' own sums are not read in one moment: what was taken is
// never more than what was used.
Governor::Period Governor::take(const CostReading& reading) {
  Period period{.end = reading.now, .own_ns = 0, .pays_ns = 0, .spent = {}, .gear = setting_.gear};
  const Spending& spent = reading.spending;
  period.spent.traps_ns = static_cast<uint64_t>(
      reading.trap_factor * static_cast<double>(grown(spent.traps_ns, last_.spending.traps_ns)));
  period.spent.programs_ns = grown(spent.programs_ns, last_.spending.programs_ns);
  period.spent.calls = grown(spent.calls, last_.spending.calls);
  period.own_ns =
      grown(grown(reading.targets_cpu_ns, last_.targets_cpu_ns), period.spent.total_ns());
  const uint64_t passed = grown(reading.now.ns, last_.now.ns);
  period.pays_ns =
      std::max(static_cast<double>(period.own_ns), kLeastUse * static_cast<double>(passed));
  switch (setting_.gear) {
    case Gear::kExact:
      account_.exact_ns += passed;
      break;
    case Gear::kSampled:
      account_.sampled_ns += passed;
      break;
    case Gear::kPaused:
      account_.paused_ns += passed;
      break;
  }
  window_spent_.traps_ns += period.spent.traps_ns;
  window_spent_.programs_ns += period.spent.programs_ns;
  account_.own_ns += period.own_ns;
  account_.extra_ns += period.spent.total_ns();
  last_ = reading;
  return period;
}

Governor::Rates Governor::recent(uint64_t span_ns) const {
  Rates rates;
  uint64_t begin = last_.now.ns > span_ns ? last_.now.ns - span_ns : 0;
  begin = std::max(begin, changed_.ns);
  rates.seconds = static_cast<double>(last_.now.ns - begin) / 1e9;
  for (const Period& period : periods_) {
    if (period.end.ns <= begin) continue;
    rates.own_ns += static_cast<double>(period.own_ns);
    rates.pays_ns += period.pays_ns;
    rates.spent_ns += static_cast<double>(period.spent.total_ns());
    rates.traps_ns += static_cast<double>(period.spent.traps_ns);
    rates.programs_ns += static_cast<double>(period.spent.programs_ns);
    rates.calls += static_cast<double>(period.spent.calls);
  }
  return rates;
}

// Of all the periods that are kept, whatever the gear.
Governor::Rates Governor::kept() const {
  Rates rates;
  for (const Period& period : periods_) {
    rates.pays_ns += period.pays_ns;
    rates.spent_ns += static_cast<double>(period.spent.total_ns());
  }
  return rates;
}

// A target that has grown quiet since cannot cost what it did: tracing is a part of its time. By
// what it did for a while, so that windows do not seek its quiet moments.
double Governor::expected_cost() const {
  constexpr double kLeastSeen = 0.2;
  constexpr uint64_t kWhile = 3 * kSecond;
  const Rates rates = recent(kWhile);
  if (setting_.gear != Gear::kPaused || open_own_ <= 0 || rates.seconds < kLeastSeen)
    return open_cost_;
  return open_cost_ * std::min(1.0, rates.own_ns / rates.seconds / open_own_);
}

// What ten seconds like the last ones have left to be taken.
double Governor::room_ns() const {
  const Rates rates = kept();
  const double passed = static_cast<double>(grown(last_.now.ns, began_.ns));
  const double whole = passed > 0 && passed < kLongestLookBack ? kLongestLookBack / passed : 1;
  return budget_ * rates.pays_ns * whole - rates.spent_ns - expected_cost() * closing_ns_ / 1e9;
}

bool Governor::has_room() const {
  return room_ns() >= expected_cost() * kShortestWindow / 1e9;
}

void Governor::note_worst() {
  const uint64_t span = grown(last_.now.ns, periods_.front().end.ns);
  if (span < kLongestLookBack - kSecond / 2) return;
  uint64_t own = 0, extra = 0;
  for (const Period& period : periods_) {
    own += period.own_ns;
    extra += period.spent.total_ns();
  }
  if (own == 0) return;
  const double share = static_cast<double>(extra) / static_cast<double>(own);
  account_.worst_share = std::max(account_.worst_share.value_or(0), share);
}

void Governor::note_price(const Period& period) {
  if (period.gear != Gear::kExact || period.spent.calls < 1000) return;
  exact_price_ns_ =
      static_cast<double>(period.spent.total_ns()) / static_cast<double>(period.spent.calls);
}

// Until there is enough for the shortest window at what they cost, and by chance up to several
// times as much: then the window is longer.
Setting Governor::pause() {
  std::exponential_distribution<double> draw(1.0);
  const double shortest = open_cost_ * kShortestWindow / 1e9;
  wanted_balance_ns_ = shortest * std::min(1 + draw(random_), kMostOfShortest);
  window_end_.reset();
  quiet_since_ = last_.now;
  window_interval_bytes_ = window_interval();
  return {Gear::kPaused, window_interval_bytes_};
}

// By what the last stay cost: samples are to cost about what traps do.
uint32_t Governor::window_interval() const {
  if (window_interval_bytes_ == 0 || window_spent_.traps_ns == 0) return kFirstWindowInterval;
  const double ratio =
      static_cast<double>(window_spent_.programs_ns) / static_cast<double>(window_spent_.traps_ns);
  uint64_t interval = window_interval_bytes_;
  if (ratio < kSamplesLow) interval /= 4;
  if (ratio > kSamplesHigh) interval *= 2;
  return static_cast<uint32_t>(std::clamp(interval, kLeastSamplingInterval, kMostSamplingInterval));
}

Setting Governor::open_window(MonotonicTime now) {
  const double cost = expected_cost();
  const double length = cost <= 0 ? kShortestWindow
                                  : std::clamp(std::min(balance_ns_, room_ns()) / cost * 1e9,
                                               kShortestWindow, kLongestWindow);
  window_end_ = MonotonicTime{now.ns + static_cast<uint64_t>(length)};
  // What was not seen was not quiet.
  if (setting_.gear == Gear::kPaused) quiet_since_ = now;
  return {Gear::kSampled, window_interval_bytes_};
}

// The account is empty. Traps are paid for each call, samples for each so many bytes.
Setting Governor::go_down(const Rates& rates) {
  const double left_for_traps = budget_ * rates.pays_ns * (1 - kSamplesShare);
  // What they cost in this very target shows where nothing is recorded but samples.
  const double traps_ns = setting_.gear == Gear::kSampled ? rates.traps_ns : rates.calls * trap_ns_;
  if (traps_ns > left_for_traps) return pause();
  if (setting_.gear == Gear::kExact) return {Gear::kSampled, kFirstInterval};
  // A debt of before is paid back by waiting; a longer interval makes samples cheaper, and no more.
  if (rates.programs_ns <= budget_ * kSamplesShare * rates.pays_ns) return setting_;
  if (setting_.interval_bytes >= kMostSamplingInterval) return pause();
  return {Gear::kSampled, static_cast<uint32_t>(std::min<uint64_t>(
                              uint64_t{setting_.interval_bytes} * 2, kMostSamplingInterval))};
}

// Exact again where the calls that there are would cost well under the budget for some seconds.
Setting Governor::go_up(const Rates& rates, MonotonicTime now) {
  const double exact_ns = rates.calls * exact_price_ns_;
  const bool cheap =
      setting_.gear == Gear::kSampled && exact_ns <= budget_ * kUpShare * rates.pays_ns;
  if (!cheap) {
    quiet_since_ = now;
    return setting_;
  }
  if (now.ns - quiet_since_.ns < kUpAfter) return setting_;
  return {Gear::kExact, 0};
}

Setting Governor::next_setting(MonotonicTime now) {
  if (setting_.gear == Gear::kPaused) {
    const double by_now = open_cost_ > 0 ? expected_cost() / open_cost_ : 1;
    const bool is_saved = balance_ns_ >= wanted_balance_ns_ * by_now;
    return is_saved && has_room() ? open_window(now) : setting_;
  }
  // An end that was planned is kept to, unless much more is drawn than was expected.
  if (window_end_) {
    if (now.ns < window_end_->ns && balance_ns_ > -reserve_ns_) return setting_;
    if (balance_ns_ < 0 || !has_room()) return pause();
    // What is left allows to go on: a window like those before it, without a gap.
    const Setting up = go_up(recent(kPresent), now);
    if (up.gear != Gear::kExact) return open_window(now);
    window_end_.reset();
    return up;
  }
  // A large debt does not wait for long.
  const uint64_t since = now.ns - changed_.ns;
  const bool settled = since >= kSettling || (balance_ns_ < -reserve_ns_ &&
                                              static_cast<double>(since) >= kShortestWindow);
  if (balance_ns_ < 0 && (settled || setting_.gear == Gear::kExact)) {
    quiet_since_ = now;
    return go_down(recent(kPresent));
  }
  return settled && balance_ns_ >= 0 ? go_up(recent(kPresent), now) : setting_;
}

const Governor::Period& Governor::book(const CostReading& reading) {
  periods_.push_back(take(reading));
  while (reading.now.ns - periods_.front().end.ns > kLongestLookBack) periods_.pop_front();
  note_worst();
  const Period& period = periods_.back();
  balance_ns_ += budget_ * period.pays_ns - static_cast<double>(period.spent.total_ns());
  return period;
}

void Governor::note_setting(MonotonicTime now) {
  constexpr std::size_t kMostNoted = 4096;
  if (account_.log.size() == kMostNoted) return;
  account_.log.push_back({grown(now.ns, counted_from_.ns), setting_});
}

void Governor::counting_begins() {
  counted_from_ = last_.now;
  account_.log.clear();
  note_setting(counted_from_);
  account_.exact_ns = account_.sampled_ns = account_.paused_ns = 0;
}

void Governor::note_closing(const Period& period) {
  if (setting_.gear != Gear::kPaused || open_cost_ <= 0) return;
  const double seen =
      std::clamp(static_cast<double>(period.spent.total_ns()) / open_cost_ * 1e9 + kLeastClosing,
                 kLeastClosing, kMostClosing);
  closing_ns_ += (seen > closing_ns_ ? 1 : kClosingWeight) * (seen - closing_ns_);
}

void Governor::shifted(const CostReading& reading) {
  note_closing(book(reading));
  changed_ = reading.now;
}

Setting Governor::decide(const CostReading& reading) {
  const uint64_t before = last_.now.ns;
  const Period& period = book(reading);
  note_price(period);
  if (setting_.gear != Gear::kPaused && reading.now.ns > before) {
    const double cost = static_cast<double>(period.spent.total_ns()) * 1e9 /
                        static_cast<double>(reading.now.ns - before);
    const double own =
        static_cast<double>(period.own_ns) * 1e9 / static_cast<double>(reading.now.ns - before);
    const double weight = open_cost_ == 0 ? 1 : 0.3;
    open_cost_ += weight * (cost - open_cost_);
    open_own_ += weight * (own - open_own_);
  }
  const double tenth = (1 - kAimedAt) * budget_ * kept().pays_ns;
  reserve_ns_ = std::max({tenth, kLeastReserve, open_cost_ * kShortestWindow / 1e9});
  balance_ns_ = std::min(balance_ns_, std::max(reserve_ns_, wanted_balance_ns_));
  const Setting next = next_setting(reading.now);
  if (next != setting_) {
    ++account_.changes;
    changed_ = reading.now;
    window_spent_ = {};
    if (next.gear == Gear::kSampled)
      account_.longest_interval_bytes =
          std::max(account_.longest_interval_bytes, next.interval_bytes);
    setting_ = next;
    note_setting(reading.now);
  }
  return setting_;
}

}  // namespace tidemark::model
