// SPDX-License-Identifier: Apache-2.0
//
// Outstanding heap memory of user-space processes, exactly, by uprobes on their allocator's
// functions.
#pragma once

#include <memory>

#include "sources/source.h"

namespace tidemark::sources {

// Loads the BPF programs and starts to follow exec and exit. Errors: no permission, no BTF, a
// kernel without what heap tracing needs, a program that the verifier refuses.
[[nodiscard]] Result<std::unique_ptr<Source>> open_user_heap(const kernel::Facts& facts,
                                                             const Settings& settings,
                                                             Shared& shared);

}  // namespace tidemark::sources
