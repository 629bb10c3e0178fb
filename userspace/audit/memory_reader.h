// SPDX-License-Identifier: Apache-2.0
//
// MemoryReader: another process's memory, read while it runs. Nothing that is read is of one
// moment: what was read twice the same was so in between only where the reader of it says why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "support/result.h"

namespace tidemark::audit {

struct Read {
  uint64_t address = 0;
  std::span<std::byte> into;
  bool done = false;  // false: not all of it is mapped
  // Memory of no file: what was never touched reads as zeros, and gets no page for it.
  bool anonymous = false;
};

class MemoryReader {
 public:
  virtual ~MemoryReader() = default;
  // In this order, each after the one before. An error: the process is gone, or may not be read.
  [[nodiscard]] virtual Status read(std::span<Read> reads) = 0;
  [[nodiscard]] uint64_t bytes_read() const { return bytes_read_; }

 protected:
  uint64_t bytes_read_ = 0;
};

// For `anonymous` of Read and of what is below: also for addresses that are a guess.
inline constexpr bool kAnonymous = true;

// None where it is not mapped.
template <typename T>
[[nodiscard]] Result<std::optional<T>> read_value(MemoryReader& memory, uint64_t address) {
  T value{};
  Read read{.address = address, .into = std::as_writable_bytes(std::span(&value, 1))};
  if (auto done = memory.read(std::span(&read, 1)); !done) return std::unexpected(done.error());
  return read.done ? std::optional(value) : std::nullopt;
}

// One value of each address, in order; none of those that are not mapped.
template <typename T>
[[nodiscard]] Result<std::vector<std::optional<T>>> read_values(MemoryReader& memory,
                                                                std::span<const uint64_t> addresses,
                                                                bool anonymous = false) {
  std::vector<T> values(addresses.size());
  std::vector<Read> reads;
  reads.reserve(addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i)
    reads.push_back({.address = addresses[i],
                     .into = std::as_writable_bytes(std::span(&values[i], 1)),
                     .anonymous = anonymous});
  if (auto done = memory.read(reads); !done) return std::unexpected(done.error());
  std::vector<std::optional<T>> found(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (reads[i].done) found[i] = values[i];
  }
  return found;
}

template <typename T>
[[nodiscard]] T value_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

}  // namespace tidemark::audit
