// SPDX-License-Identifier: Apache-2.0
//
// KernelRecord: what the kernel's own books, where they are kept, say that one place of its code
// has allocated and not freed, since the machine was started. Pure values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tidemark::model {

enum class RecordSource { kAllocinfo, kPageOwner, kAllocTraces };

struct KernelRecord {
  RecordSource source = RecordSource::kAllocinfo;
  std::string cache;              // of kAllocTraces: its own name; else empty
  std::optional<uint64_t> bytes;  // none: the source counts objects only, of a size not known
  uint64_t count = 0;             // objects; of kPageOwner pages
  std::string function;           // "leak_by_kmalloc", with "+0x1f/0x30" where the kernel adds it
  std::string module;             // empty: the kernel itself, or not told
  std::optional<std::string> file;
  std::optional<uint32_t> line;
  std::vector<std::string> stack;  // innermost first, as the kernel prints it; empty: not kept
};

}  // namespace tidemark::model
