// SPDX-License-Identifier: Apache-2.0
//
// Memory that is made up, for the tests of the audit.
#pragma once

#include <cstring>
#include <map>
#include <vector>

#include "audit/memory_reader.h"

namespace tidemark::test {

class FakeMemory final : public audit::MemoryReader {
 public:
  Status read(std::span<audit::Read> reads) override {
    if (gone) return fail("process 1 has ended");
    for (audit::Read& read : reads) {
      read.done = false;
      auto part = parts_.upper_bound(read.address);
      if (part == parts_.begin()) continue;
      --part;
      const uint64_t offset = read.address - part->first;
      if (offset + read.into.size() > part->second.size()) continue;
      std::memcpy(read.into.data(), part->second.data() + offset, read.into.size());
      read.done = true;
      bytes_read_ += read.into.size();
    }
    return {};
  }
  void map(uint64_t start, std::size_t size) { parts_[start].resize(size); }
  void unmap(uint64_t start) { parts_.erase(start); }
  template <typename T>
  void put(uint64_t address, T value) {
    auto part = parts_.upper_bound(address);
    --part;
    std::memcpy(part->second.data() + (address - part->first), &value, sizeof(value));
  }

  bool gone = false;

 private:
  std::map<uint64_t, std::vector<std::byte>> parts_;
};

}  // namespace tidemark::test
