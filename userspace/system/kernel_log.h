// SPDX-License-Identifier: Apache-2.0
//
// What the kernel log still holds that a memory report needs: out-of-memory kills, and the size of
// the first percpu chunk, which is only said at boot.
#pragma once

#include <string>
#include <string_view>

#include "model/memory.h"
#include "support/result.h"
#include "system/host_root.h"

namespace tidemark::system {

// `text`: records one a line, "6,339,5140900,-;message" as /dev/kmsg gives them, or
// "[    5.140900] message" as dmesg prints them, with or without a "<6>" in front.
[[nodiscard]] model::KernelLog parse_kernel_log(std::string_view text);

[[nodiscard]] Result<model::KernelLog> read_kernel_log(const HostRoot& root);

}  // namespace tidemark::system
