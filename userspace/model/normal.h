// SPDX-License-Identifier: Apache-2.0
//
// How far the bounds of an interval are from its middle, in standard errors, where these are of a
// normal distribution. Reports give 95 % throughout.
#pragma once

namespace tidemark::model {

inline constexpr double kStandardErrors95 = 1.959964;
inline constexpr double kStandardErrors99 = 2.575829;

}  // namespace tidemark::model
