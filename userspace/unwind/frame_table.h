// SPDX-License-Identifier: Apache-2.0
//
// FrameTable: the frame rules of a whole image, 8 bytes for each change of the rule: sorted rows in
// pages of 64 KiB of code, so that a row needs 16 bits of address. Answers in a binary search over
// the pages and one over a page's rows. Immutable once made: may be read by many threads.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "elf/address.h"
#include "elf/image.h"
#include "support/result.h"
#include "unwind/frame_rule.h"

namespace tidemark::unwind {

// What went into a table, and what did not.
struct CompileCounts {
  uint64_t ranges = 0;             // of code that the image has rules for
  uint64_t damaged_ranges = 0;     // left out, or cut at the instruction that made no sense
  uint64_t overlapped_ranges = 0;  // cut where the next one begins
  uint64_t unsupported_rows = 0;
  uint64_t lost_fp_rows = 0;
};

class FrameTable {
 public:
  // Reads the image's .eh_frame, else its .debug_frame. Where neither says anything of its entry
  // point, that is the bottom of a stack. Errors: a machine other than x86-64, a section that
  // cannot be read, more code than any program has.
  [[nodiscard]] static Result<FrameTable> compile(const elf::Image& image);

  // Holds for the instruction at this address: for a return address ask for the byte before it.
  [[nodiscard]] FrameRule rule_at(elf::Vaddr address) const;

  [[nodiscard]] const CompileCounts& counts() const { return counts_; }
  [[nodiscard]] std::size_t rows() const { return rows_.size(); }
  [[nodiscard]] std::size_t size_bytes() const {
    return rows_.size() * sizeof(Row) + pages_.size() * sizeof(Page);
  }

 private:
  friend class FrameTableBuilder;
  struct Row {
    uint16_t address_low = 0;
    uint8_t cfa_and_extra = 0;  // low and high four bits
    uint8_t saved_fp = 0;
    int16_t cfa_offset_words = 0;
    int16_t fp_offset_words = 0;
  };
  static_assert(sizeof(Row) == 8);
  struct Page {
    uint64_t number = 0;  // address / 64 KiB
    uint32_t first_row = 0;
    uint32_t row_count = 0;  // never 0; the first row may continue the page before
  };

  std::vector<Page> pages_;
  std::vector<Row> rows_;
  CompileCounts counts_;
};

// Takes the rules of rising addresses.
class FrameTableBuilder {
 public:
  // `rule` holds from `address` on, until the next that is added. Of two at one address the later
  // one holds.
  void add(uint64_t address, const FrameRule& rule);
  [[nodiscard]] CompileCounts& counts() { return table_.counts_; }
  // None: it spans more code than any program has.
  [[nodiscard]] std::optional<FrameTable> finish();

 private:
  struct Change {
    uint64_t address = 0;
    FrameRule rule;
  };
  void put(const Change& change);
  void begin_page(uint64_t number);
  void append(uint16_t address_low, const FrameRule& rule);

  FrameTable table_;
  std::optional<Change> pending_;  // may yet be replaced
  FrameRule last_;                 // what the rows end with
  bool too_large_ = false;
};

}  // namespace tidemark::unwind
