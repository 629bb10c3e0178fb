// SPDX-License-Identifier: Apache-2.0
#include "model/block_history.h"

#include <algorithm>

namespace tidemark::model {

void BlockHistory::see_free(uint64_t at_ns, const Window& window) {
  if (dead_by_ns_) return;
  dead_by_ns_ = at_ns;
  free_seen_ns_ = at_ns;
  // It was there when the window began, and this is the first free of the address since.
  if (alive_until_ns_ >= window.start_ns) alive_until_ns_ = at_ns;
}

void BlockHistory::see_allocation(uint64_t at_ns) {
  if (!dead_by_ns_) dead_by_ns_ = at_ns;
}

void BlockHistory::see_audit(AuditVerdict verdict, uint64_t at_ns) {
  if (dead_by_ns_) return;
  switch (verdict) {
    case AuditVerdict::kDead:
      dead_by_ns_ = at_ns;
      break;
    case AuditVerdict::kOtherSize:
      break;
    case AuditVerdict::kChanged:
      changed_ = true;
      break;
    case AuditVerdict::kUnchanged:
      if (!changed_) alive_until_ns_ = std::max(alive_until_ns_, at_ns);
      break;
  }
}

void BlockHistory::see_window_end(const Window& window) {
  if (!dead_by_ns_ && alive_until_ns_ >= window.start_ns) alive_until_ns_ = window.end_ns;
}

BlockHistory BlockHistory::on(const OwnClock& clock) const {
  BlockHistory same = *this;
  same.birth_ns_ = clock.at(birth_ns_);
  same.alive_until_ns_ = clock.at(alive_until_ns_);
  if (dead_by_ns_) same.dead_by_ns_ = clock.at(*dead_by_ns_);
  if (free_seen_ns_) same.free_seen_ns_ = clock.at(*free_seen_ns_);
  return same;
}

}  // namespace tidemark::model
