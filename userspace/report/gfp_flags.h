// SPDX-License-Identifier: Apache-2.0
//
// The flags of a page allocation in the kernel's own words.
#pragma once

#include <cstdint>
#include <string>

namespace tidemark::report {

// "GFP_KERNEL|__GFP_COMP". Bits that have had more than one meaning are left as a number.
[[nodiscard]] std::string gfp_words(uint32_t flags);

}  // namespace tidemark::report
