// SPDX-License-Identifier: Apache-2.0
//
// How much of a stack a row shows.
#pragma once

namespace tidemark::report {

enum class StackState { kWhole, kCut, kLost };

}  // namespace tidemark::report
