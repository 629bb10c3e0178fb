// SPDX-License-Identifier: Apache-2.0
//
// A traced process whose threads call an allocator, move by move: Thread has a stack and plays the
// CPU's and the kernel's part of a call (the return address pushed, the entry probe hit, the return
// address replaced by the return probe's trampoline), Trace has the kernel and asks what was
// counted.
//
//     higher  | caller's frame   |
//             | return address   | <- sp at entry; the trampoline, once the entry probe was hit
//     lower   | pushed since ... | <- sp at a site with stack_words
#pragma once

#include <map>
#include <ostream>
#include <vector>

#include "bpf/abi/heap.h"
#include "kernel.h"

namespace tidemark::bpf_host {

// A probed function: the program of its shape, its probe's number, how far into it the probe sits.
struct Function {
  Program program = nullptr;
  uint16_t probe = 0;
  bool returns = true;  // has a return probe
  uint8_t stack_words = 0;
  bool valid_cookie = true;
  bool bare = false;     // its return instructions are probed in place of its return
  bool session = false;  // the program sees the return too, if it wants to
  uint16_t argument_registers = 0;
  uint16_t allocator = 0;
};

inline constexpr Function kMalloc{heap_malloc, 0};
inline constexpr Function kCalloc{heap_calloc, 1};
inline constexpr Function kRealloc{heap_realloc, 2};
inline constexpr Function kReallocarray{heap_reallocarray, 3};
inline constexpr Function kMemalign{heap_memalign, 4};
inline constexpr Function kPosixMemalign{heap_posix_memalign, 5};
inline constexpr Function kFree{heap_free, 6, false};
inline constexpr Function kNew{heap_malloc, 7, false, 0, true, true};
inline constexpr Function kDelete{heap_delete, 8, false};
inline constexpr Function kReallocf{heap_reallocf, 9};
inline constexpr Function kResize{heap_resize, 10};
inline constexpr Function kArenaCalloc{heap_arena_calloc, 11};
inline constexpr Function kArenaRealloc{heap_arena_realloc, 12};
inline constexpr Function kBulkFree{heap_bulk_free, 13, false};
inline constexpr Function kNewArray{heap_malloc, 14, false, 0, true, true};

// As on a kernel with sessions.
inline constexpr Function kMallocSession{heap_malloc_session, 0, true, 0, true, false, true};
inline constexpr Function kReallocSession{heap_realloc_session, 2, true, 0, true, false, true};

using Arguments = std::vector<uint64_t>;

class Thread {
 public:
  Thread(Kernel& kernel, const Task& task, uint64_t stack_start, uint64_t stack_end);

  // The call instruction in the caller: `from` is the address behind it.
  void call(uint64_t from);
  // The first instruction of a function; also the target of a jump: a tail call.
  void enter(const Function& function, const Arguments& arguments);
  void enter_with(const Function& function, const Registers& at_entry);
  void leave(uint64_t result);
  // The same by a return instruction that is probed.
  void leave_bare(uint64_t result);
  // The C++ runtime makes an exception, called from where the stack is.
  void make_exception();
  // call, enter and leave in one, with the thread's usual caller.
  void whole_call(const Function& function, const Arguments& arguments, uint64_t result);
  void malloc(uint64_t size, uint64_t result) { whole_call(kMalloc, {size}, result); }
  void realloc(uint64_t block, uint64_t size, uint64_t result) {
    whole_call(kRealloc, {block, size}, result);
  }
  // What the allocator's code calls while it is at work.
  void inner_call(const Function& function, const Arguments& arguments, uint64_t result);
  void free(uint64_t block) { whole_call(kFree, {block}, 0); }

  // longjmp() to where the stack stood at `sp`: the calls below it never return.
  void jump_out_to(uint64_t sp);
  void push(uint64_t word);

  uint64_t sp;
  uint64_t fp = 0;  // 0: the chain of frames ends at the caller
  uint64_t caller = 0x1001;
  Task task;

 private:
  struct Hijacked {
    uint64_t slot;
    uint64_t original;
    Program program;     // at the return
    uint64_t probe = 0;  // its address, of a session's
  };
  Kernel& kernel_;
  std::vector<Hijacked> pending_;  // what the kernel has to return to
};

inline constexpr uint64_t kTrampoline = 0x7fffffffe000;
inline constexpr uint64_t kAllocatorStart = 0x5000;  // its code, up to kAllocatorEnd
inline constexpr uint64_t kAllocatorEnd = 0x6000;
inline constexpr uint64_t kOwnEnd = 0x5800;  // behind it the library holds other code, as libc does
inline constexpr uint32_t kOwner = 1;
inline constexpr uint64_t kMm = 0xffff888000001000;

struct Totals {
  uint64_t bytes = 0;
  uint64_t count = 0;
  friend bool operator==(const Totals&, const Totals&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Totals& totals) {
    return out << totals.bytes << " bytes in " << totals.count;
  }
};

class Trace {
 public:
  // Process 100 is traced as generation 1, the gate is open.
  Trace();

  [[nodiscard]] Totals live() const;
  [[nodiscard]] Totals total() const;
  // Nothing was counted but what is named; each named counter has just this.
  [[nodiscard]] bool counted_only(const std::map<tm_counter, tm_count>& expected);
  [[nodiscard]] std::vector<uint64_t> addresses();  // of live blocks, ascending
  [[nodiscard]] tm_block block(uint64_t address);
  // The live sums of every call site are those of its blocks.
  [[nodiscard]] bool adds_up();
  [[nodiscard]] uint64_t hits(uint32_t probe);

  [[nodiscard]] tm_stack stack(uint64_t id);
  // The frames of a block's stack, with how it ended.
  [[nodiscard]] std::vector<uint64_t> frames_of(uint64_t address);
  [[nodiscard]] tm_stack_end end_of(uint64_t address);
  void put_rule(uint64_t pc, const tm_rule& rule);
  [[nodiscard]] std::vector<uint64_t> asked() const;  // return addresses in the ring buffer

  mutable Kernel kernel;
  Thread main;
  Thread other;
};

}  // namespace tidemark::bpf_host
