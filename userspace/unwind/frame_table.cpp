// SPDX-License-Identifier: Apache-2.0
#include "unwind/frame_table.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "elf/frame_entries.h"
#include "unwind/frame_program.h"

namespace tidemark::unwind {
namespace {

constexpr unsigned kPageBits = 16;
constexpr std::size_t kPageLimit = 0x10000;  // 4 GiB of code

// The ranges in the order of their addresses, each up to the next one's beginning.
std::vector<elf::FrameEntry> in_order(const elf::FrameEntries& read, CompileCounts& counts) {
  std::vector<elf::FrameEntry> entries = read.entries();
  std::ranges::stable_sort(entries, {}, &elf::FrameEntry::start);
  for (std::size_t i = 0; i + 1 < entries.size(); ++i) {
    const uint64_t room = entries[i + 1].start.value - entries[i].start.value;
    if (room >= entries[i].size_bytes) continue;
    entries[i].size_bytes = room;
    ++counts.overlapped_ranges;
  }
  return entries;
}

// What the kernel starts hands the stack as it found it on: mov %rsp, %rdi. Old linkers give
// libraries an entry point as well, of which nothing of the kind is true.
bool is_started_by_the_kernel(const elf::Image& image) {
  constexpr std::array<uint8_t, 3> kStackAsArgument{0x48, 0x89, 0xe7};
  constexpr std::size_t kLookedAt = 16;
  if (image.entry().value == 0) return false;
  const auto bytes = image.bytes_at(image.entry(), kLookedAt);
  return bytes && !std::ranges::search(*bytes, kStackAsArgument).empty();
}

// What is run first was called by nobody. The loader, whose code there is written by hand, does not
// say so in unwind data, and it calls the constructors of all libraries from there. Up to where
// the next range begins.
class EntryCode {
 public:
  explicit EntryCode(const elf::Image& image)
      : start_(image.entry().value), told_(!is_started_by_the_kernel(image)) {}

  // Ranges with unwind data, as they rise.
  void tell_before(uint64_t range_start, FrameTableBuilder& builder) {
    if (told_ || start_ >= range_start) return;
    told_ = true;
    if (start_ < known_until_) return;
    FrameRule bottom;
    bottom.cfa = Cfa::kBottom;
    builder.add(start_, bottom);
    builder.add(start_ + std::min(kLongestBytes, range_start - start_), FrameRule());
  }
  void known_until(uint64_t range_end) { known_until_ = range_end; }

 private:
  static constexpr uint64_t kLongestBytes = 64;
  uint64_t start_;
  uint64_t known_until_ = 0;
  bool told_;
};

}  // namespace

Result<FrameTable> FrameTable::compile(const elf::Image& image) {
  if (image.machine() != elf::Machine::kX86_64) {
    return fail("no frame tables for {}", machine_name(image.machine()));
  }
  const auto read = elf::FrameEntries::read(image);
  if (!read) return std::unexpected(read.error());
  FrameTableBuilder builder;
  CompileCounts& counts = builder.counts();
  counts.damaged_ranges = read->damaged();
  EntryCode entry_code(image);
  for (const elf::FrameEntry& entry : in_order(*read, counts)) {
    const uint64_t end = entry.start.value + entry.size_bytes;
    entry_code.tell_before(entry.start.value, builder);
    entry_code.known_until(end);
    const auto sink = [&](uint64_t address, const FrameRule& rule) {
      if (address < end) builder.add(address, rule);
    };
    ++counts.ranges;
    if (!run_frame_program(read->commons()[entry.common], entry, sink)) ++counts.damaged_ranges;
    builder.add(end, FrameRule());
  }
  entry_code.tell_before(std::numeric_limits<uint64_t>::max(), builder);
  auto table = builder.finish();
  if (!table) return fail("unwind data for more than 4 GiB of code");
  return std::move(*table);
}

FrameRule FrameTable::rule_at(elf::Vaddr address) const {
  const auto page = std::ranges::lower_bound(pages_, address.value >> kPageBits, {}, &Page::number);
  if (page == pages_.end() || page->number != address.value >> kPageBits) return {};
  const auto first = rows_.begin() + page->first_row;
  const auto next = std::ranges::upper_bound(
      first, first + page->row_count, static_cast<uint16_t>(address.value), {}, &Row::address_low);
  if (next == first) return {};
  const Row& row = *std::prev(next);
  FrameRule rule;
  rule.cfa = static_cast<Cfa>(row.cfa_and_extra & 0x0f);
  rule.extra = static_cast<uint8_t>(row.cfa_and_extra >> 4);
  rule.saved_fp = static_cast<SavedFp>(row.saved_fp);
  rule.cfa_offset_bytes = row.cfa_offset_words * 8;
  rule.fp_offset_bytes = row.fp_offset_words * 8;
  return rule;
}

void FrameTableBuilder::begin_page(uint64_t number) {
  if (table_.pages_.size() == kPageLimit) {
    too_large_ = true;
    return;
  }
  table_.pages_.push_back({number, static_cast<uint32_t>(table_.rows_.size()), 0});
}

void FrameTableBuilder::append(uint16_t address_low, const FrameRule& rule) {
  table_.rows_.push_back(
      {address_low, static_cast<uint8_t>(static_cast<uint8_t>(rule.cfa) | (rule.extra & 0x0f) << 4),
       static_cast<uint8_t>(rule.saved_fp), static_cast<int16_t>(rule.cfa_offset_bytes / 8),
       static_cast<int16_t>(rule.fp_offset_bytes / 8)});
  ++table_.pages_.back().row_count;
  if (rule.cfa == Cfa::kUnsupported) ++table_.counts_.unsupported_rows;
  if (rule.saved_fp == SavedFp::kLost) ++table_.counts_.lost_fp_rows;
}

void FrameTableBuilder::add(uint64_t address, const FrameRule& rule) {
  if (pending_ && pending_->address != address) put(*pending_);
  pending_ = Change{address, rule};
}

void FrameTableBuilder::put(const Change& change) {
  if (too_large_ || change.rule == last_) return;
  const uint64_t page = change.address >> kPageBits;
  const auto low = static_cast<uint16_t>(change.address);
  const auto& pages = table_.pages_;
  // The pages that the last rule goes on over.
  while (last_.cfa != Cfa::kNoData && !too_large_ && pages.back().number < page) {
    if (pages.back().number + 1 == page && low == 0) break;
    begin_page(pages.back().number + 1);
    if (!too_large_) append(0, last_);
  }
  const bool page_is_begun = !pages.empty() && pages.back().number == page;
  // A page's beginning needs no row to say that there is nothing.
  const bool needs_row = page_is_begun || low != 0 || change.rule.cfa != Cfa::kNoData;
  if (!too_large_ && needs_row && !page_is_begun) begin_page(page);
  if (!too_large_ && needs_row) append(low, change.rule);
  last_ = change.rule;
}

std::optional<FrameTable> FrameTableBuilder::finish() {
  if (pending_) put(*pending_);
  if (too_large_) return std::nullopt;
  table_.rows_.shrink_to_fit();
  return std::move(table_);
}

}  // namespace tidemark::unwind
