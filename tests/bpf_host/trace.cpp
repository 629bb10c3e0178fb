// SPDX-License-Identifier: Apache-2.0
#include "trace.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <string>
#include <tuple>

namespace tidemark::bpf_host {
namespace {

constexpr uint64_t kStackBytes = 0x10000;
constexpr uint64_t kMainStack = 0x7ffd00000000;
constexpr uint64_t kOtherStack = 0x7f5500000000;

struct SiteOrder {
  bool operator()(const tm_site_key& a, const tm_site_key& b) const {
    return std::tie(a.stack_id, a.owner, a.kind, a.allocator) <
           std::tie(b.stack_id, b.owner, b.kind, b.allocator);
  }
};

const char* name_of(std::size_t counter) {
  static constexpr const char* kNames[] = {
#define TM_COUNTER(name, kind, has_bytes, meaning) #name,
#include "bpf/abi/counters.def"
#undef TM_COUNTER
  };
  return kNames[counter];
}

}  // namespace

Thread::Thread(Kernel& kernel, const Task& who, uint64_t stack_start, uint64_t stack_end)
    : sp(stack_end - kStackBytes / 4), task(who), kernel_(kernel) {
  kernel_.add_memory(stack_start, stack_end);
}

void Thread::push(uint64_t word) {
  sp -= 8;
  kernel_.write(sp, word);
}

void Thread::call(uint64_t from) {
  push(from);
}

void Thread::enter(const Function& function, const Arguments& arguments) {
  Registers registers;
  std::ranges::copy(arguments, registers.arguments);
  enter_with(function, registers);
}

void Thread::enter_with(const Function& function, const Registers& at_entry) {
  Registers registers = at_entry;
  registers.ip = 0x5000u + 0x100u * function.probe;
  registers.sp = sp - 8u * function.stack_words;
  registers.fp = fp;
  const int flags =
      (function.valid_cookie ? TM_COOKIE_VALID : 0) | (function.bare ? TM_COOKIE_BARE : 0);
  const tm_cookie cookie{.probe = function.probe,
                         .allocator = function.allocator,
                         .stack_words = function.stack_words,
                         .flags = static_cast<__u8>(flags),
                         .argument_registers = function.argument_registers};
  kernel_.function_ip = registers.ip;
  const int answer =
      kernel_.run(function.program, task, registers, std::bit_cast<uint64_t>(cookie));
  if (!function.returns || (function.session && answer == 1)) return;
  // Behind the entry's programs, as the kernel does it. A tail call finds the trampoline there.
  pending_.push_back(
      {sp, kernel_.word_at(sp), function.session ? function.program : heap_return, registers.ip});
  kernel_.write(sp, kTrampoline);
}

void Thread::leave(uint64_t result) {
  const uint64_t slot = sp;
  const bool hijacked = kernel_.word_at(slot) == kTrampoline;
  sp += 8;
  if (!hijacked) return;
  while (!pending_.empty() && pending_.back().slot == slot) {
    const Hijacked taken = pending_.back();
    kernel_.function_ip = taken.probe;
    kernel_.run(taken.program, task, {.ip = caller, .sp = sp, .fp = fp, .result = result}, 0);
    pending_.pop_back();
  }
}

void Thread::leave_bare(uint64_t result) {
  kernel_.run(heap_leave, task, {.ip = 0x5900, .sp = sp, .fp = fp, .result = result}, 0);
  leave(result);
}

void Thread::make_exception() {
  kernel_.run(heap_throw, task, {.ip = 0x9000, .sp = sp - 64, .fp = fp}, 0);
}

void Thread::whole_call(const Function& function, const Arguments& arguments, uint64_t result) {
  call(caller);
  enter(function, arguments);
  leave(result);
}

void Thread::inner_call(const Function& function, const Arguments& arguments, uint64_t result) {
  call(kAllocatorStart + 0x678);
  enter(function, arguments);
  leave(result);
}

void Thread::jump_out_to(uint64_t target) {
  sp = target;
  while (!pending_.empty() && pending_.back().slot < sp) pending_.pop_back();
}

Trace::Trace()
    : main(kernel, {.tgid = 100, .tid = 100, .mm = kMm}, kMainStack, kMainStack + kStackBytes),
      other(kernel, {.tgid = 100, .tid = 101, .mm = kMm}, kOtherStack, kOtherStack + kStackBytes) {
  const uint32_t tgid = 100;
  const tm_selected chosen{.mm = 0, .generation = kOwner, .unused = 0};
  tm_generation life{};
  life.tgid = tgid;
  life.life = TM_LIFE_RUNNING;
  const uint32_t generation = kOwner;
  REQUIRE(kernel.table("selected").update(&tgid, &chosen, 0) == 0);
  REQUIRE(kernel.table("generations").update(&generation, &life, 0) == 0);
  for (uint32_t probe = 0; probe < 16; ++probe) {
    const tm_text_key key{.owner = kOwner, .probe = probe};
    const tm_text text{.start = kAllocatorStart,
                       .end = kAllocatorEnd,
                       .own_start = kAllocatorStart,
                       .own_end = kOwnEnd};
    REQUIRE(kernel.table("allocator_text").update(&key, &text, 0) == 0);
  }
  next_generation = kOwner + 1;
  gate_state = TM_GATE_OPEN;
}

Totals Trace::total() const {
  Totals sum;
  for (const auto& [key, site] : kernel.table("sites").entries<tm_site_key, tm_site>()) {
    sum.bytes += site.total_bytes;
    sum.count += site.total_count;
  }
  return sum;
}

Totals Trace::live() const {
  Totals sum = total();
  for (const auto& [key, site] : kernel.table("sites").entries<tm_site_key, tm_site>()) {
    sum.bytes -= site.freed_bytes;
    sum.count -= site.freed_count;
  }
  return sum;
}

bool Trace::counted_only(const std::map<tm_counter, tm_count>& expected) {
  bool same = true;
  for (const auto& [index, value] : kernel.table("counters").entries<uint32_t, tm_count>()) {
    const auto row = expected.find(static_cast<tm_counter>(index));
    const tm_count wanted = row == expected.end() ? tm_count{} : row->second;
    if (value.count == wanted.count && value.bytes == wanted.bytes) continue;
    same = false;
    MESSAGE(std::string(name_of(index))
            << ": counted " << value.count << " with " << value.bytes << " bytes, expected "
            << wanted.count << " with " << wanted.bytes);
  }
  return same;
}

std::vector<uint64_t> Trace::addresses() {
  std::vector<uint64_t> result;
  for (const auto& [key, block] : kernel.table("blocks").entries<tm_block_key, tm_block>()) {
    result.push_back(key.address);
  }
  std::ranges::sort(result);
  return result;
}

tm_block Trace::block(uint64_t address) {
  const tm_block_key key{.address = address, .owner = kOwner, .space = TM_SPACE_HEAP};
  const void* found = kernel.table("blocks").lookup(&key);
  REQUIRE(found != nullptr);
  return *static_cast<const tm_block*>(found);
}

bool Trace::adds_up() {
  std::map<tm_site_key, Totals, SiteOrder> by_site;
  for (const auto& [key, block] : kernel.table("blocks").entries<tm_block_key, tm_block>()) {
    by_site[block.site].bytes += block.size_bytes;
    by_site[block.site].count += 1;
  }
  for (const auto& [key, site] : kernel.table("sites").entries<tm_site_key, tm_site>()) {
    const Totals blocks = by_site[key];
    by_site.erase(key);
    if (site.total_bytes - site.freed_bytes != blocks.bytes) return false;
    if (site.total_count - site.freed_count != blocks.count) return false;
  }
  return by_site.empty();  // else a block without a site
}

uint64_t Trace::hits(uint32_t probe) {
  return *static_cast<const uint64_t*>(kernel.table("hits").lookup(&probe));
}

tm_stack Trace::stack(uint64_t id) {
  const void* found = kernel.table("stacks").lookup(&id);
  REQUIRE(found != nullptr);
  return *static_cast<const tm_stack*>(found);
}

std::vector<uint64_t> Trace::frames_of(uint64_t address) {
  const tm_stack kept = stack(block(address).site.stack_id);
  REQUIRE(kept.depth <= TM_STACK_DEPTH);
  return {kept.frames, kept.frames + kept.depth};
}

tm_stack_end Trace::end_of(uint64_t address) {
  return static_cast<tm_stack_end>(stack(block(address).site.stack_id).end);
}

void Trace::put_rule(uint64_t pc, const tm_rule& rule) {
  const tm_rule_key key{.pc = pc, .owner = kOwner, .unused = 0};
  REQUIRE(kernel.table("rules").update(&key, &rule, 0) == 0);
}

std::vector<uint64_t> Trace::asked() const {
  std::vector<uint64_t> result;
  for (const auto& record : kernel.ring) {
    tm_rule_key key{};
    REQUIRE(record.size() == sizeof(key));
    std::memcpy(&key, record.data(), sizeof(key));
    CHECK(key.owner == kOwner);
    result.push_back(key.pc);
  }
  return result;
}

}  // namespace tidemark::bpf_host
