// SPDX-License-Identifier: Apache-2.0
//
// Names of functions as people write them. Thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace tidemark::symbolize {

// "_ZN3foo3barEi.cold" -> "foo::bar(int) [clone .cold]". Names that are not mangled come back as
// they are, those of Rust's old scheme with their hash. A symbol version ("@GLIBC_2.2.5", "@@...")
// is cut off.
[[nodiscard]] std::string demangle(std::string_view symbol);

}  // namespace tidemark::symbolize
