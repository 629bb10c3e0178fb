// SPDX-License-Identifier: Apache-2.0
//
// One run of a BPF iterator program: everything that it writes. The kernel walks its own tables
// while we read; nothing stays attached afterwards. Not thread-safe.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "support/result.h"

struct bpf_program;

namespace tidemark::bpfrt {

[[nodiscard]] Result<std::string> read_iterator(const bpf_program* program);

// The same as records of a fixed size. An error where the kernel wrote half a record.
template <typename Record>
[[nodiscard]] Result<std::vector<Record>> read_records(const bpf_program* program) {
  const auto bytes = read_iterator(program);
  if (!bytes) return std::unexpected(bytes.error());
  if (bytes->size() % sizeof(Record) != 0) {
    return fail("a BPF iterator gave {} bytes, no whole number of records", bytes->size());
  }
  std::vector<Record> records(bytes->size() / sizeof(Record));
  if (!records.empty()) std::memcpy(records.data(), bytes->data(), bytes->size());
  return records;
}

}  // namespace tidemark::bpfrt
