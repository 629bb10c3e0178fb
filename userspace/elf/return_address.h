// SPDX-License-Identifier: Apache-2.0
//
// Return addresses that no call has left: the way out of a signal handler, which the kernel puts
// there, and the first function of a stack that a program made itself. All read the file; x86-64,
// of other machines nothing is told.
#pragma once

#include <string_view>

#include "elf/address.h"
#include "elf/image.h"

namespace tidemark::elf {

// What glibc and musl call the code that a signal handler returns to, and profilers after them.
inline constexpr std::string_view kSignalReturnName = "__restore_rt";

// Is this that code? Known by its bytes: it is a system call that each C library has written by
// hand, under a name that few of them export, and musl without unwind data.
[[nodiscard]] bool is_signal_return(const Image& image, Vaddr address);

// May the bytes that end here be a call? Where they are none, no call has left this address.
[[nodiscard]] bool may_follow_call(const Image& image, Vaddr address);

}  // namespace tidemark::elf
