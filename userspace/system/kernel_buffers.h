// SPDX-License-Identifier: Apache-2.0
//
// Pages that the kernel itself took: trace buffers, struct pages made after boot, and the page
// pools that network cards receive into. Parsers are pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "model/memory_owners.h"
#include "system/namespaces.h"

namespace tidemark::system {

// buffer_total_size_kb of tracefs: "1408", or "7 (expanded: 1408)" before the first use.
[[nodiscard]] std::optional<uint64_t> parse_trace_buffer_bytes(std::string_view text);

// nr_memmap_pages of /proc/vmstat (Linux 6.11): those of boot are outside of MemTotal.
[[nodiscard]] std::optional<uint64_t> parse_memory_map_pages(std::string_view vmstat);

struct PagePool {
  uint64_t id = 0;
  uint32_t interface = 0;         // 0: its interface is gone, the pool waits for its pages
  std::optional<uint64_t> bytes;  // pages out of the pool: in rings, queues and caches
  bool detached = false;
};
// The body of an answer to page-pool-get, with its generic header.
[[nodiscard]] std::optional<PagePool> parse_page_pool(std::span<const std::byte> message);

// Each adds what it finds, and a line of coverage for each area. Page pools of all network
// namespaces that can be entered.
void read_trace_buffers(std::vector<model::GhostHolder>& holders,
                        std::vector<model::Coverage>& coverage);
void read_memory_map(std::vector<model::GhostHolder>& holders,
                     std::vector<model::Coverage>& coverage);
void read_page_pools(const std::vector<Namespace>& networks,
                     std::vector<model::GhostHolder>& holders,
                     std::vector<model::Coverage>& coverage);

}  // namespace tidemark::system
