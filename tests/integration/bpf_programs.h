// SPDX-License-Identifier: Apache-2.0
//
// Which BPF programs of the product the kernel holds.
#pragma once

#include <cstddef>

namespace tidemark::test {

// By their names.
std::size_t programs_of_ours();
// Waits until there are no more than before: the kernel takes them out when it is done with what
// still runs.
bool programs_are_gone(std::size_t before);

}  // namespace tidemark::test
