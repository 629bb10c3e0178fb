// SPDX-License-Identifier: Apache-2.0
//
// The rows' functions of allocators.cpp, each in the file of its allocator.
#pragma once

#include "audit/books.h"

namespace tidemark::audit {

[[nodiscard]] Result<std::unique_ptr<Books>> open_glibc(const Target& target);
[[nodiscard]] Result<std::unique_ptr<Books>> open_jemalloc(const Target& target);
[[nodiscard]] Result<std::unique_ptr<Books>> open_musl(const Target& target);

}  // namespace tidemark::audit
