// SPDX-License-Identifier: Apache-2.0
//
// The kernel's own books of who allocated what is live, where it was told to keep them:
//   /proc/allocinfo                        CONFIG_MEM_ALLOC_PROFILING, since Linux 6.10
//   debugfs page_owner_stacks/show_stacks  page_owner=on, since Linux 6.9
//   debugfs slab/CACHE/alloc_traces        slab_debug=U, since Linux 5.15
//   sysfs slab/CACHE/alloc_calls           slub_debug=U, before
// The parsers are pure: an error is one line for a text that is empty, cut off or of another kind.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/kernel_record.h"
#include "support/result.h"
#include "system/host_root.h"

namespace tidemark::system {

[[nodiscard]] Result<std::vector<model::KernelRecord>> parse_allocinfo(std::string_view text);
[[nodiscard]] Result<std::vector<model::KernelRecord>> parse_page_owner_stacks(
    std::string_view text, uint64_t page_bytes);
// Of one cache; alloc_calls is the same without stacks. No rows where nothing is live.
[[nodiscard]] Result<std::vector<model::KernelRecord>> parse_alloc_traces(
    std::string_view text, const std::string& cache, std::optional<uint64_t> object_bytes);

// One of the books, and whether it is kept.
struct KernelBook {
  std::string name;
  std::optional<std::string> absent;  // why, and what to do
};

struct KernelRecords {
  std::vector<model::KernelRecord> rows;  // largest first, within their source
  std::vector<KernelBook> books;
};

[[nodiscard]] KernelRecords read_kernel_records(const HostRoot& root);

}  // namespace tidemark::system
