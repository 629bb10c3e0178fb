// SPDX-License-Identifier: Apache-2.0
//
// Units as people type and read them. Sizes are bytes, K/M/G are powers of 1024; durations are
// nanoseconds, the suffixes ms, s, m, h; a bare number is seconds for a duration and bytes for a
// size.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "support/result.h"

namespace tidemark {

using Nanoseconds = std::chrono::nanoseconds;

[[nodiscard]] Result<Nanoseconds> parse_duration(std::string_view text);
[[nodiscard]] Result<uint64_t> parse_size(std::string_view text);

// "512 B", "1.5 KiB", "98.2 MiB": one digit behind the point.
[[nodiscard]] std::string format_bytes(uint64_t bytes);
// "98.2 MiB/s"; none is below 0.
[[nodiscard]] std::string format_rate(double bytes_per_s);
// The same as format_bytes() with a sign, "+0 B" for no change.
[[nodiscard]] std::string format_bytes_change(int64_t bytes);
// "820 ms", "4.2 s", "3m12s", "5h02m", "2d07h": short, for a column.
[[nodiscard]] std::string format_duration(Nanoseconds duration);
// The nearest whole number, 0 for what is below it.
[[nodiscard]] uint64_t to_whole(double value);
// "1,234,567"
[[nodiscard]] std::string format_count(uint64_t count);

}  // namespace tidemark
