// SPDX-License-Identifier: Apache-2.0
//
// The part of the kernel's interface to uprobes that the headers of Debian 12 (Linux 6.1) lack:
// include/uapi/linux/bpf.h since 89ae89f53d20 "bpf: Add multi uprobe link", Linux 6.6, and
// d920179b3d48 "bpf: Add support for uprobe multi session attach", Linux 6.13.
#pragma once

#include <cstdint>

namespace tidemark {

// How user-space probes are attached. Multi: one link for many offsets of a file, Linux 6.6. Perf:
// one perf event each.
enum class UprobeMethod { kMulti, kPerf };

inline constexpr uint32_t kAttachUprobeMulti = 48;    // BPF_TRACE_UPROBE_MULTI
inline constexpr uint32_t kAttachUprobeSession = 57;  // BPF_TRACE_UPROBE_SESSION
inline constexpr uint32_t kUprobeMultiReturn = 1;     // BPF_F_UPROBE_MULTI_RETURN

// union bpf_attr, the link_create part with uprobe_multi.
struct UprobeMultiAttr {
  uint32_t prog_fd;
  uint32_t target_fd;
  uint32_t attach_type;
  uint32_t flags;
  uint64_t path;
  uint64_t offsets;
  uint64_t ref_ctr_offsets;
  uint64_t cookies;
  uint32_t count;
  uint32_t multi_flags;
  uint32_t pid;
  uint32_t unused;
};
static_assert(sizeof(UprobeMultiAttr) == 64);

}  // namespace tidemark
