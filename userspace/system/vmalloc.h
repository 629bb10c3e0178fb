// SPDX-License-Identifier: Apache-2.0
//
// /proc/vmallocinfo: areas of the kernel's virtual memory by caller. Only areas whose pages vmalloc
// itself allocated are memory; vmap and ioremap map what is counted elsewhere or is no memory.
#pragma once

#include <string_view>

#include "model/memory.h"
#include "support/result.h"

namespace tidemark::system {

[[nodiscard]] Result<model::VmallocInfo> parse_vmallocinfo(std::string_view text,
                                                           uint64_t page_bytes);

}  // namespace tidemark::system
