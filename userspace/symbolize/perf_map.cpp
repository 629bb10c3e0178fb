// SPDX-License-Identifier: Apache-2.0
#include "symbolize/perf_map.h"

#include <algorithm>
#include <iterator>

#include "support/strings.h"

namespace tidemark::symbolize {
namespace {

constexpr std::size_t kMaxFunctions = 1'000'000;
constexpr std::size_t kMaxNameBytes = 4096;

std::optional<uint64_t> hex_number(std::string_view word) {
  if (word.starts_with("0x")) word.remove_prefix(2);
  return parse_number<uint64_t>(word, 16);
}

}  // namespace

PerfMap PerfMap::parse(std::string_view text) {
  PerfMap map;
  for_each_line(text, [&](std::string_view line) {
    if (map.code_.size() >= kMaxFunctions) return;
    const auto start = hex_number(next_word(line));
    const auto size = hex_number(next_word(line));
    const std::string_view name = trim(line).substr(0, kMaxNameBytes);
    if (!start || !size || *size == 0 || *size > UINT64_MAX - *start || name.empty()) return;
    map.add(*start, *start + *size, name);
  });
  return map;
}

void PerfMap::add(uint64_t start, uint64_t end, std::string_view name) {
  cut_out(start, end);
  code_[start] = {end, start, names_.size(), name.size()};
  names_ += name;
}

void PerfMap::cut_out(uint64_t start, uint64_t end) {
  auto next = code_.lower_bound(start);
  if (next != code_.begin()) {
    const auto before = std::prev(next);
    const Code old = before->second;
    if (old.end > start) before->second.end = start;
    if (old.end > end) code_[end] = old;
  }
  while (next != code_.end() && next->first < end) {
    const Code old = next->second;
    next = code_.erase(next);
    if (old.end > end) next = code_.emplace(end, old).first;
  }
}

bool PerfMap::has_any(model::Address start, model::Address end) const {
  const auto behind = code_.lower_bound(end.value);
  return behind != code_.begin() && std::prev(behind)->second.end > start.value;
}

std::optional<CompiledFunction> PerfMap::find(model::Address address) const {
  const auto behind = code_.upper_bound(address.value);
  if (behind == code_.begin()) return std::nullopt;
  const Code& code = std::prev(behind)->second;
  if (address.value >= code.end) return std::nullopt;
  return CompiledFunction{std::string_view(names_).substr(code.name_at, code.name_size),
                          address.value - code.function_start};
}

}  // namespace tidemark::symbolize
