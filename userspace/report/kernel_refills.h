// SPDX-License-Identifier: Apache-2.0
//
// Some pages are handed out in parts by an allocator above the page allocator, and their stack is
// that of whoever came when it was empty. Such call sites are named for what they are. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/frame.h"

namespace tidemark::report {

// "page pool", "page fragments"; none for other stacks. `frames` begin with the caller of the page
// allocator.
[[nodiscard]] std::optional<std::string> refill_of(const std::vector<model::Frame>& frames);

}  // namespace tidemark::report
