// SPDX-License-Identifier: Apache-2.0
//
// What allocators' own books said of a call site's blocks, in JSON and in words. Pure.
#pragma once

#include <optional>
#include <string>

#include "model/audit.h"
#include "report/json_document.h"

namespace tidemark::report {

[[nodiscard]] Json audit_json(const std::optional<model::AuditShares>& shares);
[[nodiscard]] Json audit_cost_json(const std::optional<model::AuditCost>& cost);

// "256: dead 0.0 %, changed 0.0 %, look live: same 97.3 % (8.0 s), written 2.7 %"
[[nodiscard]] std::string describe_audit(const model::AuditShares& shares);
[[nodiscard]] std::string describe_audit_cost(const model::AuditCost& cost);

}  // namespace tidemark::report
