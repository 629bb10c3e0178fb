// SPDX-License-Identifier: Apache-2.0
//
// Mappings that user-space processes make and keep: mmap, mremap, brk and shmat, by the tracepoints
// of system calls. Uses what user_heap has made: who is traced, which thread is inside an
// allocator.
#pragma once

#include <memory>

#include "sources/source.h"

namespace tidemark::sources {

// Where the kernel has not what this needs, the source counts nothing and its coverage says why.
// Errors: the maps cannot be shared.
[[nodiscard]] Result<std::unique_ptr<Source>> open_user_mapping(const kernel::Facts& facts,
                                                                const Settings& settings,
                                                                Shared& shared);

}  // namespace tidemark::sources
