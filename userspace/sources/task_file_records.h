// SPDX-License-Identifier: Apache-2.0
//
// What the iterator wrote, as values of the model. Pure.
#pragma once

#include <cstdint>

#include "bpf/abi/task_files.h"
#include "model/owner_table.h"

namespace tidemark::sources {

// Adds the object and the descriptor that leads to it. A kind that is not known is passed over.
void add_record(const tm_open_file& record, uint64_t page_bytes, model::OwnerTable& table);

[[nodiscard]] model::Opening opening_of(const tm_open_file& record);

// Bytes of a ring whose kernel says only how many entries it has.
[[nodiscard]] uint64_t io_uring_bytes(const tm_io_uring& ring, uint64_t page_bytes);

}  // namespace tidemark::sources
