// SPDX-License-Identifier: Apache-2.0
//
// What formats.cpp names; everyone else goes through formats(). One function a format, defined in
// its own file.
#pragma once

#include "report/reporter.h"

namespace tidemark::report {

[[nodiscard]] const Reporter& text_reporter();
[[nodiscard]] const Reporter& json_reporter();       // a line each for fields and rows
[[nodiscard]] const Reporter& json_line_reporter();  // the whole document on one line
[[nodiscard]] const Reporter& folded_reporter();

}  // namespace tidemark::report
