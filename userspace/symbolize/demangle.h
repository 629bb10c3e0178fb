// SPDX-License-Identifier: Apache-2.0
//
// Names of functions as people write them. Thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace tidemark::symbolize {

// "_ZN3foo3barEi.cold" -> "foo::bar(int) [clone .cold]", and Rust's names of both of its schemes,
// without the hash of the old one. Names that are not mangled, or longer than a name can be, come
// back as they are. A symbol version ("@GLIBC_2.2.5", "@@...") is cut off.
[[nodiscard]] std::string demangle(std::string_view symbol);

}  // namespace tidemark::symbolize
