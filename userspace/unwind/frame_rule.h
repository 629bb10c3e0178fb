// SPDX-License-Identifier: Apache-2.0
//
// FrameRule: how a walk gets from an address in the code to the frame of its caller.
//
//     CFA ->  +----------------+
//             | return address |   CFA - 8
//             | saved rbp ...  |   CFA + fp_offset_bytes (kAtCfa)
//     rsp ->  +----------------+
//
// x86-64. Walks need rsp, rbp and the return address only: rules that need another register are
// kUnsupported.
#pragma once

#include <cstdint>

namespace tidemark::unwind {

enum class Cfa : uint8_t {
  kNoData,       // the image says nothing of this address
  kUnsupported,  // it says something that no rule here can hold
  kBottom,       // nothing called this: _start, the start of a thread
  kSp,           // rsp + cfa_offset_bytes
  kFp,           // rbp + cfa_offset_bytes
  kDerefSp,      // *(rsp + cfa_offset_bytes) + extra * 8
  kDerefFp,      // *(rbp + cfa_offset_bytes) + extra * 8
  kPlt,          // rsp + cfa_offset_bytes, and 8 more from byte `extra` of a 16-byte slot on
  kSignal,       // a frame that the kernel made for a signal handler: registers in rt_sigframe
};

// What has become of the caller's rbp.
enum class SavedFp : uint8_t {
  kSame,   // is still in its register
  kAtCfa,  // CFA + fp_offset_bytes
  kAtFp,   // rbp + fp_offset_bytes
  kLost,   // somewhere that no rule here can say
};

struct FrameRule {
  Cfa cfa = Cfa::kNoData;
  SavedFp saved_fp = SavedFp::kSame;
  uint8_t extra = 0;  // at most 15
  int32_t cfa_offset_bytes = 0;
  int32_t fp_offset_bytes = 0;
  friend bool operator==(const FrameRule&, const FrameRule&) = default;
};

// Where the kernel keeps the registers of what a signal interrupted, from the rsp that the handler
// returns to (struct rt_sigframe: arch/x86/include/uapi/asm/sigcontext.h behind ucontext's head).
inline constexpr int32_t kSignalSp = 160;
inline constexpr int32_t kSignalFp = 120;
inline constexpr int32_t kSignalPc = 168;

}  // namespace tidemark::unwind
