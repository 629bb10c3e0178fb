// SPDX-License-Identifier: Apache-2.0
//
// What the rules of memory_verdicts ask of the facts, in one place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/memory_verdicts.h"

namespace tidemark::model {

// A line of the meminfo that the figures are from, in bytes.
[[nodiscard]] std::optional<uint64_t> meminfo_bytes(const MemoryFacts& facts,
                                                    std::string_view name);

// Is it at least this share of MemTotal, and not small in itself?
[[nodiscard]] bool is_share(const MemoryFacts& facts, const MemoryPolicy& policy, uint64_t bytes,
                            double share);

// "12.3 % of MemTotal", or "" where MemTotal is not known.
[[nodiscard]] std::string share_text(const MemoryFacts& facts, uint64_t bytes);

// "pid 4711 (pppd)", with the descriptor where there is one.
[[nodiscard]] std::string holder_text(const std::optional<Holder>& holder);

// All names of a cache: "Acpi-Operand|Acpi-ParseExt|..."; its own where it is not merged.
[[nodiscard]] std::string cache_names(const SlabCache& cache);

[[nodiscard]] std::string_view plural(uint64_t count);

}  // namespace tidemark::model
