// SPDX-License-Identifier: Apache-2.0
#include "support/units.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>

namespace tidemark {
namespace {

struct Suffix {
  std::string_view text;
  double factor;
};

constexpr std::array kDurations = {Suffix{"ms", 1e6}, Suffix{"s", 1e9}, Suffix{"", 1e9},
                                   Suffix{"m", 60e9}, Suffix{"h", 3600e9}};
constexpr std::array kSizes = {Suffix{"", 1.0}, Suffix{"K", 1024.0}, Suffix{"M", 1048576.0},
                               Suffix{"G", 1073741824.0}};

Result<double> parse_scaled(std::string_view text, std::span<const Suffix> suffixes,
                            std::string_view example) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  const std::string_view suffix(rest, static_cast<std::size_t>(end - rest));
  if (error == std::errc{} && number >= 0) {
    for (const Suffix& known : suffixes) {
      if (known.text == suffix) return number * known.factor;
    }
  }
  return fail("'{}' is not understood here: write it like {}", text, example);
}

}  // namespace

Result<Nanoseconds> parse_duration(std::string_view text) {
  const auto value = parse_scaled(text, kDurations, "500ms, 30s, 5m or 2h");
  if (!value) return std::unexpected(value.error());
  constexpr double kLongest = 9e18;  // 285 years still fit the 64 bits of nanoseconds
  if (*value > kLongest) return fail("'{}' is too long", text);
  return Nanoseconds(std::llround(*value));
}

Result<uint64_t> parse_size(std::string_view text) {
  const auto value = parse_scaled(text, kSizes, "4096, 512K, 64M or 2G");
  if (!value) return std::unexpected(value.error());
  if (*value > 9e18) return fail("'{}' is too large", text);
  return static_cast<uint64_t>(std::llround(*value));
}

std::string format_bytes(uint64_t bytes) {
  static constexpr std::array<std::string_view, 6> kUnits = {"KiB", "MiB", "GiB",
                                                             "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024.0;
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

uint64_t to_whole(double value) {
  return static_cast<uint64_t>(std::llround(std::max(value, 0.0)));
}

std::string format_rate(double bytes_per_s) {
  return format_bytes(static_cast<uint64_t>(std::max(0.0, bytes_per_s))) + "/s";
}

std::string format_bytes_change(int64_t bytes) {
  const auto magnitude =
      bytes < 0 ? ~static_cast<uint64_t>(bytes) + 1 : static_cast<uint64_t>(bytes);
  return fmt::format("{}{}", bytes < 0 ? '-' : '+', format_bytes(magnitude));
}

std::string format_duration(Nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole % 86400 / 3600);
}

std::string format_count(uint64_t count) {
  std::string digits = fmt::format("{}", count);
  for (std::size_t place = 3; place < digits.size(); place += 4) {
    digits.insert(digits.size() - place, ",");
  }
  return digits;
}

}  // namespace tidemark
