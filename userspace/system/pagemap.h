// SPDX-License-Identifier: Apache-2.0
//
// /proc/PID/pagemap: which pages of a process are in memory. Costs 8 bytes of reading a page of
// address space (1 GiB: 2 MiB, some milliseconds), and takes the target's mmap lock for each piece.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/ids.h"
#include "model/snapshot.h"

namespace tidemark::system {

// Sums up entries of the file, each for a page of `page_bytes`.
void add_pages(model::Resident& sum, std::span<const uint64_t> entries, uint64_t page_bytes);

// None where the process is gone or cannot be read.
[[nodiscard]] std::optional<model::Resident> read_resident(
    model::Pid pid, std::span<const model::AddressRange> ranges);

// Of each of these addresses: is its page in memory, or swapped out? None where the process is gone
// or cannot be read. A system call each, some microseconds.
[[nodiscard]] std::optional<std::vector<bool>> read_kept(model::Pid pid,
                                                         std::span<const model::Address> addresses);

}  // namespace tidemark::system
