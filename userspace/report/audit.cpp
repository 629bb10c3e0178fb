// SPDX-License-Identifier: Apache-2.0
#include "report/audit.h"

#include <fmt/format.h>

#include "report/trace_parts.h"
#include "support/units.h"

namespace tidemark::report {

Json audit_json(const std::optional<model::AuditShares>& shares) {
  if (!shares) return nullptr;
  return {{"looked_up", shares->looked_up()},
          {"dead", shares->dead},
          {"changed", shares->changed},
          {"looks_live_unchanged", shares->looks_live_same},
          {"looks_live_changed", shares->looks_live_other},
          {"looks_live_once", shares->looks_live_once},
          {"unknown", shares->unknown},
          {"unchanged_for_ns", or_null(shares->same_for_ns)}};
}

Json audit_cost_json(const std::optional<model::AuditCost>& cost) {
  if (!cost) return nullptr;
  return {{"looks", cost->looks},
          {"blocks", cost->blocks},
          {"bytes_read", cost->bytes_read},
          {"cpu_ns", cost->cpu_ns}};
}

std::string describe_audit(const model::AuditShares& shares) {
  const uint64_t all = shares.looked_up();
  const auto percent = [all](uint64_t part) {
    return fmt::format(
        "{:.1f} %", all == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(all));
  };
  std::string text = fmt::format(
      "{}: dead {}, changed {}, look live: same {}{}, written {}", count_text(all),
      percent(shares.dead), percent(shares.changed), percent(shares.looks_live_same),
      shares.same_for_ns ? fmt::format(" ({})", duration_text(*shares.same_for_ns)) : "",
      percent(shares.looks_live_other));
  if (shares.looks_live_once > 0) text += fmt::format(", once {}", percent(shares.looks_live_once));
  if (shares.unknown > 0) text += fmt::format("; unknown {}", percent(shares.unknown));
  return text;
}

std::string describe_audit_cost(const model::AuditCost& cost) {
  return fmt::format(
      "{} block{} looked up in the allocator's own books in {} look{}: {} read, {} of CPU",
      count_text(cost.blocks), plural(cost.blocks), count_text(cost.looks), plural(cost.looks),
      format_bytes(cost.bytes_read), duration_text(cost.cpu_ns));
}

}  // namespace tidemark::report
