// SPDX-License-Identifier: Apache-2.0
//
// Every BPF map of the system with its memory, whoever holds it. Needs CAP_SYS_ADMIN. Maps that
// come or go meanwhile may be missing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/memory_owners.h"
#include "sources/task_files.h"
#include "support/result.h"

namespace tidemark::sources {

// `arenas`: what is known of their pages; of other maps the size is what the kernel says in the
// map's fdinfo (memlock).
[[nodiscard]] Result<std::vector<model::BpfMap>> read_bpf_maps(std::span<const ArenaPages> arenas);

// "ringbuf", "hash" ...; a type that is not known stays a number.
[[nodiscard]] std::string bpf_map_type_name(uint32_t type);

// The bytes of a ring buffer that are pages of their own: `data_bytes` as created, and what stands
// before (its own record and the two positions, a page each).
[[nodiscard]] uint64_t ring_buffer_bytes(uint64_t data_bytes, uint64_t page_bytes);

// "memlock:" of a map's fdinfo; none where there is no such line.
[[nodiscard]] std::optional<uint64_t> parse_map_memlock(std::string_view fdinfo);

}  // namespace tidemark::sources
