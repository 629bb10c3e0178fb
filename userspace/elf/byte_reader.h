// SPDX-License-Identifier: Apache-2.0
//
// ByteReader: little-endian numbers out of bytes that nobody vouches for. What reaches behind the
// end gives none, and so does everything after it.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace tidemark::elf {

class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : left_(bytes) {}

  [[nodiscard]] std::span<const uint8_t> left() const { return left_; }
  [[nodiscard]] bool empty() const { return left_.empty(); }

  template <std::integral T>
  [[nodiscard]] std::optional<T> number() {
    if (left_.size() < sizeof(T)) return cut<T>();
    T value;
    std::memcpy(&value, left_.data(), sizeof(T));
    left_ = left_.subspan(sizeof(T));
    return value;
  }

  [[nodiscard]] std::optional<std::span<const uint8_t>> bytes(uint64_t count) {
    if (count > left_.size()) return cut<std::span<const uint8_t>>();
    const auto taken = left_.first(static_cast<std::size_t>(count));
    left_ = left_.subspan(static_cast<std::size_t>(count));
    return taken;
  }

  // LEB128. Bits beyond the 64th are lost.
  [[nodiscard]] std::optional<uint64_t> unsigned_leb() {
    const auto leb = read_leb();
    if (!leb) return std::nullopt;
    return leb->value;
  }
  [[nodiscard]] std::optional<int64_t> signed_leb() {
    const auto leb = read_leb();
    if (!leb) return std::nullopt;
    const bool negative = leb->sign && leb->bits < 64;
    return static_cast<int64_t>(negative ? leb->value | (~uint64_t{0} << leb->bits) : leb->value);
  }

 private:
  struct Leb {
    uint64_t value = 0;
    unsigned bits = 0;
    bool sign = false;
  };
  [[nodiscard]] std::optional<Leb> read_leb() {
    Leb leb;
    while (const auto byte = number<uint8_t>()) {
      if (leb.bits < 64) leb.value |= static_cast<uint64_t>(*byte & 0x7f) << leb.bits;
      leb.bits += leb.bits < 64 ? 7 : 0;
      leb.sign = (*byte & 0x40) != 0;
      if ((*byte & 0x80) == 0) return leb;
    }
    return std::nullopt;
  }
  template <typename T>
  [[nodiscard]] std::optional<T> cut() {
    left_ = {};
    return std::nullopt;
  }

  std::span<const uint8_t> left_;
};

}  // namespace tidemark::elf
