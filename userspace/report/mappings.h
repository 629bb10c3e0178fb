// SPDX-License-Identifier: Apache-2.0
//
// What a report says of mappings beyond what it says of all call sites: their purpose, how much of
// their address space is in memory, and what an allocator mapped for blocks that are counted.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "report/report.h"

namespace tidemark::report {

// As in JSON: "thread_stack"; none where there is none to name.
[[nodiscard]] std::optional<std::string_view> purpose_name(model::Purpose purpose);

// One row for each purpose.
[[nodiscard]] std::vector<ApartRow> sum_up_apart(const std::vector<model::CallSite>& sites);

// Bytes of address space and in memory, of the rows that are mappings.
[[nodiscard]] MappingSums sum_up_mappings(const std::vector<CallSiteRow>& rows);

// "mapping by mmap, thread stack, 392.0 KiB of it in memory"
[[nodiscard]] std::string describe_mapping(const CallSiteRow& row);
[[nodiscard]] std::string describe_sums(const MappingSums& sums);
[[nodiscard]] std::string describe_apart(const ApartRow& row);

}  // namespace tidemark::report
