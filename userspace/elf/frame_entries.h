// SPDX-License-Identifier: Apache-2.0
//
// FrameEntries: what an image's .eh_frame (else .debug_frame) says of its code, as it stands there:
// which range of addresses has which program of call frame instructions (DWARF 5, 6.4). What the
// programs mean is the business of unwind/.
//
// The file is not trusted: entries that make no sense are left out and counted. Owns the bytes that
// its spans point into; does not need the Image any more. Not thread-safe while it is made.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "elf/address.h"
#include "elf/image.h"
#include "support/result.h"

namespace tidemark::elf {

using Instructions = std::span<const uint8_t>;

// What many entries have in common (a CIE).
struct FrameCommon {
  uint64_t code_alignment = 1;
  int64_t data_alignment = 1;
  uint64_t return_address_register = 0;
  bool signal_frame = false;  // the kernel made the frame: its address is not one behind a call
  Instructions instructions;
};

// One range of code (an FDE).
struct FrameEntry {
  Vaddr start;
  uint64_t size_bytes = 0;
  uint32_t common = 0;  // in FrameEntries::commons()
  Instructions instructions;
};

class FrameEntries {
 public:
  FrameEntries() = default;
  // Its spans go with it, and would not with a copy.
  FrameEntries(FrameEntries&&) noexcept = default;
  FrameEntries& operator=(FrameEntries&&) noexcept = default;

  // An image without unwind data gives none. Errors: the section cannot be read.
  [[nodiscard]] static Result<FrameEntries> read(const Image& image);

  // In the order of the section.
  [[nodiscard]] const std::vector<FrameEntry>& entries() const { return entries_; }
  [[nodiscard]] const std::vector<FrameCommon>& commons() const { return commons_; }
  [[nodiscard]] uint64_t damaged() const { return damaged_; }
  // Bytes of the section.
  [[nodiscard]] uint64_t section_bytes() const { return section_.size(); }

 private:
  friend class FrameSectionReader;
  std::vector<uint8_t> section_;
  std::vector<FrameCommon> commons_;
  std::vector<FrameEntry> entries_;
  uint64_t damaged_ = 0;
};

}  // namespace tidemark::elf
