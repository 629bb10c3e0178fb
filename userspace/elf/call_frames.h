// SPDX-License-Identifier: Apache-2.0
//
// CallFrames: how a stack walk gets from a return address to the caller's frame, out of an image's
// .eh_frame (or .debug_frame). Code built without frame pointers carries this for its exceptions.
//
//     CFA ->  +----------------+   base + cfa_offset_bytes
//             | return address |   CFA - 8
//             | saved rbp ...  |   CFA + *saved_frame_pointer_bytes
//     rsp ->  +----------------+
//
// Reads through elfutils, which keeps what it has decoded. Holds the image's descriptor: must not
// outlive it. Not thread-safe.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>

#include "elf/address.h"
#include "elf/image.h"
#include "support/result.h"

namespace tidemark::elf {

enum class CfaBase { kStackPointer, kFramePointer };

struct FrameRule {
  CfaBase base = CfaBase::kStackPointer;
  int32_t cfa_offset_bytes = 0;
  // Where the caller's frame pointer was saved, from the CFA; none where it is still in its
  // register.
  std::optional<int32_t> saved_frame_pointer_bytes;
  friend bool operator==(const FrameRule&, const FrameRule&) = default;
};

enum class NoRule {
  kBottom,        // nothing called this: _start, the start of a thread
  kNoUnwindData,  // the image says nothing of this address
  kUnsupported,   // it says something that no FrameRule can hold (an expression, another register)
};

class CallFrames {
 public:
  // An image without unwind data gives one whose every answer is kNoUnwindData.
  [[nodiscard]] static Result<CallFrames> open(const Image& image);

  // `return_address` is looked up at the call before it.
  [[nodiscard]] std::expected<FrameRule, NoRule> rule_at(Vaddr return_address) const;

 private:
  struct Handles;
  struct Release {
    void operator()(Handles* handles) const noexcept;
  };
  explicit CallFrames(std::unique_ptr<Handles, Release> handles);
  std::unique_ptr<Handles, Release> handles_;
};

}  // namespace tidemark::elf
