// SPDX-License-Identifier: Apache-2.0
//
// Where the variables of the file that has the allocator lie.
#pragma once

#include <vector>

#include "audit/books.h"
#include "model/snapshot.h"

namespace tidemark::audit {

// Its writable mappings, with the memory without a file behind them; a bounded part of each.
[[nodiscard]] std::vector<model::AddressRange> data_of(const Target& target);

}  // namespace tidemark::audit
