// SPDX-License-Identifier: Apache-2.0
//
// The small files about the machine: processors, swap, zram, modules, protocol memory, free blocks,
// and what this kernel was built to count. Pure parsers, each of one file.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "model/memory.h"
#include "support/result.h"

namespace tidemark::system {

// "0-3,8-11": how many.
[[nodiscard]] Result<uint64_t> parse_cpu_list(std::string_view text);

[[nodiscard]] Result<std::vector<model::SwapDevice>> parse_swaps(std::string_view text);

// /sys/block/zram0/mm_stat: stored, compressed, used, ...
[[nodiscard]] Result<model::ZramDevice> parse_zram_mm_stat(std::string_view text,
                                                           std::string_view name);

// Those with a "mem" in pages ("TCP: inuse 1 ... mem 17") or a "memory" in bytes (FRAG).
[[nodiscard]] Result<std::vector<model::ProtocolMemory>> parse_sockstat(std::string_view text,
                                                                        uint64_t page_bytes);

[[nodiscard]] Result<std::vector<model::FreeBlocks>> parse_buddyinfo(std::string_view text);

[[nodiscard]] std::vector<std::string> parse_modules(std::string_view text);

// debugfs percpu_stats: static, reserved and dynamic part of the first chunk of one CPU, in pages.
[[nodiscard]] Result<uint64_t> parse_percpu_first_chunk_pages(std::string_view text,
                                                              uint64_t page_bytes);

// Whether `option` is built in, from a kernel's config file; none if the text is none.
[[nodiscard]] std::optional<bool> parse_kernel_config(std::string_view text,
                                                      std::string_view option);

}  // namespace tidemark::system
