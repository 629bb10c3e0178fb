// SPDX-License-Identifier: Apache-2.0
//
// Whose the live blocks of a call site of kernel memory are, in words. Pure.
#pragma once

#include <string>
#include <vector>

#include "report/report.h"

namespace tidemark::report {

// Nothing for other kinds of memory, and where nobody is known.
[[nodiscard]] std::vector<std::string> owner_lines(const CallSiteRow& row);

}  // namespace tidemark::report
