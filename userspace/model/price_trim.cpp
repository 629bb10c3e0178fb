// SPDX-License-Identifier: Apache-2.0
#include "model/price_trim.h"

#include <algorithm>
#include <cmath>

#include "model/normal.h"

namespace tidemark::model {
namespace {

// Debian's kernels; more ticks a second only make the error smaller than is said.
constexpr double kTickNs = 4e6;
// /proc tells CPU time in hundredths of a second.
constexpr double kReadingNs = 1e7;
// b, measured here on loops of 30 ns to 1.5 us between traps: 0.10 to 0.11.
constexpr double kUserPart = 0.10;
constexpr double kUserPartError = 0.04;
constexpr double kLeastTicks = 25;
constexpr double kLeastDivisor = 0.3;
constexpr double kLeastFactor = 0.8, kMostFactor = 2.5;
// However dear tracing is, the target gets on.
constexpr double kLeastOwn = 0.01;

}  // namespace

void PriceTrim::Sums::add(const CpuSpan& span) {
  cpu += static_cast<double>(span.cpu_ns);
  user += static_cast<double>(std::min(span.user_ns, span.cpu_ns));
  traps += static_cast<double>(span.traps_ns);
  programs += static_cast<double>(span.programs_ns);
  spans += 1;
}

void PriceTrim::add_open(const CpuSpan& span) {
  open_.add(span);
  known_ = learn();
}

void PriceTrim::add_paused(const CpuSpan& span) {
  paused_.add(span);
  known_ = learn();
}

PriceTrim::Known PriceTrim::learn() const {
  const Known before;
  const double open_ticks = open_.cpu / kTickNs;
  const double paused_ticks = paused_.cpu / kTickNs;
  if (open_ticks < kLeastTicks || paused_ticks < kLeastTicks || open_.traps <= 0) return before;
  const double system = (paused_.cpu - paused_.user) / paused_.cpu;
  const double divisor = 1 - kUserPart - system;
  if (divisor < kLeastDivisor) return before;
  const double taken = (open_.cpu - open_.user - system * open_.cpu) / divisor;
  const double user = open_.user / open_.cpu;
  // A share of none or all of the ticks is not known without error.
  const auto spread = [](double share, double ticks) {
    const double kept = std::clamp(share, 1 / (ticks + 2), 1 - 1 / (ticks + 2));
    return kept * (1 - kept) / ticks;
  };
  const double of_user =
      open_.cpu * open_.cpu * spread(user, open_ticks) + open_.spans * kReadingNs * kReadingNs / 6;
  const double of_system = open_.cpu * open_.cpu * spread(system, paused_ticks);
  const double of_part = std::pow(taken * kUserPartError, 2);
  const double error = std::sqrt(of_user + of_system + of_part) / divisor / open_.traps;
  const double seen = (taken - open_.programs) / open_.traps;
  const double weight = 1 / (error * error);
  const double weight_before = 1 / (before.standard_error * before.standard_error);
  const double factor = (seen * weight + before.factor * weight_before) / (weight + weight_before);
  return {.factor = std::clamp(factor, kLeastFactor, kMostFactor),
          .standard_error = 1 / std::sqrt(weight + weight_before)};
}

double PriceTrim::own_ns(const CpuSpan& span) const {
  const auto cpu = static_cast<double>(span.cpu_ns);
  const double taken =
      factor() * static_cast<double>(span.traps_ns) + static_cast<double>(span.programs_ns);
  return std::max(cpu - taken, kLeastOwn * cpu);
}

PriceTrim::Reach PriceTrim::reach() const {
  if (open_.cpu <= 0) return {};
  const double least = kLeastOwn * open_.cpu;
  const double own = std::max(open_.cpu - factor() * open_.traps - open_.programs, least);
  const double error = kStandardErrors95 * standard_error() * open_.traps;
  return {.low = own / (own + error), .high = own / std::max(own - error, least)};
}

}  // namespace tidemark::model
