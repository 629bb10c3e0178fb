// SPDX-License-Identifier: Apache-2.0
#include "elf/symbol_table.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>

namespace tidemark::elf {
namespace {

constexpr uint32_t kNoSymbol = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kLastAddress = std::numeric_limits<uint64_t>::max();

// Cuts "@VERSION" off the name; one @ marks a version that new links do not get.
void split_version(RawSymbol& symbol) {
  const auto at = symbol.name.find('@');
  if (at == std::string_view::npos || at == 0) return;
  if (!symbol.name.substr(at).starts_with("@@")) symbol.hidden_version = true;
  symbol.name = symbol.name.substr(0, at);
}

std::vector<RawSymbol> merge_same(std::span<const RawSymbol> raw) {
  std::vector<RawSymbol> merged(raw.begin(), raw.end());
  for (RawSymbol& symbol : merged) split_version(symbol);
  std::ranges::sort(merged, {}, [](const RawSymbol& s) { return std::tuple(s.value, s.name); });

  std::size_t kept = 0;
  for (const RawSymbol& symbol : merged) {
    if (kept > 0 && merged[kept - 1].value == symbol.value &&
        merged[kept - 1].name == symbol.name) {
      RawSymbol& same = merged[kept - 1];
      same.size_bytes = std::max(same.size_bytes, symbol.size_bytes);
      same.global |= symbol.global;
      same.ifunc |= symbol.ifunc;
      same.hidden_version &= symbol.hidden_version;
      if (!same.section_end) same.section_end = symbol.section_end;
    } else {
      merged[kept++] = symbol;
    }
  }
  merged.resize(kept);
  return merged;
}

std::size_t leading_underscores(std::string_view name) {
  return std::min(name.find_first_not_of('_'), name.size());
}

// True if `left` names an address that both cover better than `right` does.
bool better(const Symbol& left, const Symbol& right) {
  const auto rank = [](const Symbol& s) {
    return std::tuple(s.size_bytes == 0, kLastAddress - s.value.value, !s.global,
                      leading_underscores(s.name), s.name.size(), s.name);
  };
  return rank(left) < rank(right);
}

}  // namespace

SymbolTable::SymbolTable(std::span<const RawSymbol> raw) {
  const std::vector<RawSymbol> merged = merge_same(raw);
  names_.reserve(std::accumulate(
      merged.begin(), merged.end(), std::size_t{0},
      [](std::size_t sum, const RawSymbol& symbol) { return sum + symbol.name.size(); }));
  symbols_.reserve(merged.size());
  section_ends_.reserve(merged.size());
  for (const RawSymbol& symbol : merged) {
    // Stays within the reserved block, so the views hold.
    const std::size_t at = names_.size();
    names_.insert(names_.end(), symbol.name.begin(), symbol.name.end());
    symbols_.push_back({.name = std::string_view(names_.data() + at, symbol.name.size()),
                        .value = symbol.value,
                        .size_bytes = symbol.size_bytes,
                        .global = symbol.global,
                        .ifunc = symbol.ifunc,
                        .hidden_version = symbol.hidden_version});
    section_ends_.push_back(symbol.section_end);
  }
}

std::vector<Symbol> SymbolTable::find(std::string_view name) const {
  std::vector<Symbol> found;
  std::ranges::copy_if(symbols_, std::back_inserter(found),
                       [name](const Symbol& symbol) { return symbol.name == name; });
  std::ranges::stable_sort(found, {}, [](const Symbol& symbol) {
    return std::tuple(symbol.hidden_version, !symbol.global);
  });
  return found;
}

const Symbol* SymbolTable::covering(Vaddr address) {
  if (!indexed_) index_ranges();
  const auto behind = std::ranges::upper_bound(ranges_, address.value, {}, &Range::start);
  if (behind == ranges_.begin()) return nullptr;
  const uint32_t symbol = std::prev(behind)->symbol;
  return symbol == kNoSymbol ? nullptr : &symbols_[symbol];
}

// First address behind each symbol; for those without a size it is guessed (see covering()).
std::vector<uint64_t> SymbolTable::ends() const {
  std::vector<uint64_t> ends(symbols_.size());
  uint64_t next_start = kLastAddress;  // the next symbol at a higher address
  for (std::size_t i = symbols_.size(); i-- > 0;) {
    const Symbol& symbol = symbols_[i];
    const uint64_t start = symbol.value.value;
    if (i + 1 < symbols_.size() && symbols_[i + 1].value.value > start) {
      next_start = symbols_[i + 1].value.value;
    }
    if (symbol.size_bytes > 0) {
      ends[i] = start + std::min(symbol.size_bytes, kLastAddress - start);
    } else {
      // The last symbol of a section that is not known has no end: better no name than a wrong one.
      const uint64_t limit = section_ends_[i]             ? section_ends_[i]->value
                             : next_start == kLastAddress ? start
                                                          : next_start;
      ends[i] = std::min(next_start, limit);
    }
  }
  return ends;
}

// Flattens the (possibly nested, overlapping) symbols into disjoint ranges: walks all starts and
// ends in order and notes who is best after each. n log n, whatever a hostile file says.
void SymbolTable::index_ranges() {
  indexed_ = true;
  const std::vector<uint64_t> end_of = ends();
  std::vector<uint64_t> borders;
  borders.reserve(2 * symbols_.size());
  for (std::size_t i = 0; i < symbols_.size(); ++i) {
    borders.push_back(symbols_[i].value.value);
    borders.push_back(end_of[i]);
  }
  std::ranges::sort(borders);
  const auto repeated = std::ranges::unique(borders);
  borders.erase(repeated.begin(), repeated.end());

  const auto worse = [this](uint32_t left, uint32_t right) {
    return better(symbols_[right], symbols_[left]);
  };
  std::priority_queue<uint32_t, std::vector<uint32_t>, decltype(worse)> open(worse);
  uint32_t next = 0;
  for (const uint64_t border : borders) {
    for (; next < symbols_.size() && symbols_[next].value.value <= border; ++next) {
      if (end_of[next] > border) open.push(next);
    }
    while (!open.empty() && end_of[open.top()] <= border) open.pop();
    const uint32_t best = open.empty() ? kNoSymbol : open.top();
    if (ranges_.empty() || ranges_.back().symbol != best) ranges_.push_back({border, best});
  }
  section_ends_ = {};  // not needed again
}

}  // namespace tidemark::elf
