// SPDX-License-Identifier: Apache-2.0
//
// The rules for this very process's stacks, against libgcc's unwinder: another reader of .eh_frame,
// which besides knows the registers of every frame. Its "CFA" of a frame is where the stack pointer
// stands in it, which is the CFA of the frame below.
#include "sources/unwind_rules.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <thread>

#include "elf/vdso.h"
#include "system/process.h"

using namespace tidemark;
using model::Address;
using model::Generation;
using sources::UnwindRules;

namespace {

constexpr Generation kOwner{1};

model::ProcessImage own_image() {
  auto image = system::read_process(model::Pid{::getpid()});
  REQUIRE(image.has_value());
  return *std::move(image);
}

std::string module_of(const model::ProcessImage& image, uint64_t address) {
  for (const model::Mapping& mapping : image.mappings) {
    if (mapping.start.value <= address && address < mapping.end.value) return mapping.path;
  }
  return "";
}

model::ProcessImage made_up(std::vector<model::Mapping> mappings) {
  model::ProcessImage image;
  image.pid = model::Pid{::getpid()};
  image.mappings = std::move(mappings);
  return image;
}

model::Mapping anonymous_code(uint64_t start, uint64_t end) {
  model::Mapping mapping;
  mapping.start = {start};
  mapping.end = {end};
  mapping.executable = true;
  return mapping;
}

uint8_t kind_at(const UnwindRules& rules, uint64_t address, Generation owner = kOwner) {
  return rules.rule_for(owner, Address{address}).kind;
}

#if defined(__x86_64__)

struct Frame {
  uint64_t pc, sp, fp;
};

std::vector<Frame>* frames_seen = nullptr;  // a comparison function has no argument for it

_Unwind_Reason_Code note_frame(_Unwind_Context* context, void* into) {
  static_cast<std::vector<Frame>*>(into)->push_back(
      {_Unwind_GetIP(context), _Unwind_GetCFA(context), _Unwind_GetGR(context, 6)});
  return _URC_NO_REASON;
}

// Called by libc: its own frames are on the stack then.
[[gnu::noinline]] int note_stack(const void* left, const void* right) {
  if (frames_seen->empty()) _Unwind_Backtrace(note_frame, frames_seen);
  return *static_cast<const int*>(left) - *static_cast<const int*>(right);
}

[[gnu::noinline]] void note_stack_within_qsort() {
  int numbers[] = {3, 1, 2, 5, 4};
  std::qsort(numbers, std::size(numbers), sizeof(numbers[0]), note_stack);
}

uint64_t word_at(uint64_t address) {
  uint64_t word = 0;
  std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof(word));
  return word;
}

#endif

}  // namespace

#if defined(__x86_64__)
TEST_CASE(
    "rules: lead from frame to frame as libgcc's unwinder goes, in libc, libstdc++ and here") {
  std::vector<Frame> frames;
  model::ProcessImage image;
  UnwindRules rules;
  std::set<std::string> modules;
  std::size_t checked = 0;
  std::size_t read_back = 0;
  const auto look = [&] {
    image = own_image();
    (void)rules.learn(kOwner, image);
    frames_seen = &frames;
    note_stack_within_qsort();
    // libgcc tells of the end as well.
    while (!frames.empty() && frames.back().pc == 0) frames.pop_back();
  };
  // The stack is gone when the thread has ended, so what it holds is looked at inside.
  std::thread([&] {
    look();
    const auto alive = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    for (std::size_t i = 1; i + 1 < frames.size(); ++i) {
      const tm_rule rule = rules.rule_for(kOwner, Address{frames[i].pc});
      const Frame& caller = frames[i + 1];
      const std::string module = module_of(image, frames[i].pc);
      if (rule.kind != TM_RULE_SP && rule.kind != TM_RULE_FP) {
        CHECK_MESSAGE(rule.kind == TM_RULE_BOTTOM, module << " kind " << int{rule.kind});
        continue;
      }
      const uint64_t base = rule.kind == TM_RULE_SP ? frames[i].sp : frames[i].fp;
      CHECK_MESSAGE(base + static_cast<int64_t>(rule.cfa_offset) == caller.sp, module);
      if (rule.saved_fp == TM_FP_SAME) CHECK_MESSAGE(frames[i].fp == caller.fp, module);
      // Further in the frames are gone by now.
      if (caller.sp - 8 > alive) {
        CHECK_MESSAGE(word_at(caller.sp - 8) == caller.pc, module);
        if (rule.saved_fp == TM_FP_AT_CFA) {
          const uint64_t slot = caller.sp + static_cast<int64_t>(rule.fp_offset);
          CHECK_MESSAGE(word_at(slot) == caller.fp, module);
        }
        ++read_back;
      }
      modules.insert(module.substr(module.rfind('/') + 1));
      ++checked;
    }
  }).join();
  REQUIRE(frames.size() > 4);
  CHECK(checked >= 4);
  CHECK(read_back >= 2);
  CHECK(modules.contains("libc.so.6"));
  CHECK(std::ranges::any_of(
      modules, [](const std::string& name) { return name.starts_with("libstdc++.so.6"); }));
  CHECK(modules.contains("unit_sources"));
  // The start of a thread: nothing called it.
  CHECK(kind_at(rules, frames.back().pc) == TM_RULE_BOTTOM);
}
#endif

#if defined(__x86_64__)
TEST_CASE("rules: a stack that makecontext() made has a bottom") {
  static std::array<char, 16384> stack;
  ucontext_t context{};
  REQUIRE(::getcontext(&context) == 0);
  context.uc_stack.ss_sp = stack.data();
  context.uc_stack.ss_size = stack.size();
  ::makecontext(
      &context, [] {}, 0);
  // What the first function returns to stands where its stack begins.
  const auto begins = static_cast<uint64_t>(context.uc_mcontext.gregs[REG_RSP]);
  UnwindRules rules;
  (void)rules.learn(kOwner, own_image());
  CHECK(kind_at(rules, word_at(begins)) == TM_RULE_BOTTOM);
}

TEST_CASE("rules: the vdso has unwind data") {
  auto copy = elf::open_vdso();
  REQUIRE(copy);
  const auto functions = copy->symbols();
  REQUIRE((functions && !(*functions)->all().empty()));
  const model::ProcessImage image = own_image();
  const auto vdso = std::ranges::find(image.mappings, elf::kVdsoPath, &model::Mapping::path);
  REQUIRE(vdso != image.mappings.end());
  UnwindRules rules;
  (void)rules.learn(kOwner, image);
  for (const elf::Symbol& function : (*functions)->all()) {
    INFO(function.name);
    // At its first instruction nothing but the return address has been pushed.
    const Address inside{vdso->start.value + function.value.value + 1};
    const tm_rule rule = rules.rule_for(kOwner, inside);
    CHECK(rule.kind == TM_RULE_SP);
    CHECK(rule.cfa_offset == 8);
  }
  const auto table = rules.table_at(kOwner, vdso->start);
  REQUIRE(table);
  CHECK(table->rows > 0);
  CHECK(table->size_bytes >= table->rows * 8);
}
#endif

TEST_CASE("rules: none where no code is, none of another owner's") {
  UnwindRules rules;
  CHECK(kind_at(rules, 0x1500) == TM_RULE_NONE);
  (void)rules.learn(kOwner, made_up({anonymous_code(0x1000, 0x2000)}));
  CHECK(kind_at(rules, 0x1500) == TM_RULE_CHAIN);
  CHECK(kind_at(rules, 0x1500, Generation{2}) == TM_RULE_NONE);
  CHECK(kind_at(rules, 0) == TM_RULE_NONE);
  CHECK(rules.knows(kOwner, Address{0x1500}));
  CHECK_FALSE(rules.knows(Generation{2}, Address{0x1500}));
  CHECK_FALSE(rules.knows(kOwner, Address{0}));
}

TEST_CASE("rules: a return address belongs to the call before it") {
  UnwindRules rules;
  (void)rules.learn(kOwner, made_up({anonymous_code(0x1000, 0x2000)}));
  CHECK_FALSE(rules.knows(kOwner, Address{0x1000}));
  CHECK(rules.knows(kOwner, Address{0x1001}));
  CHECK(rules.knows(kOwner, Address{0x2000}));
  CHECK_FALSE(rules.knows(kOwner, Address{0x2001}));
}

TEST_CASE("rules: data is no code") {
  UnwindRules rules;
  model::Mapping data = anonymous_code(0x1000, 0x2000);
  data.executable = false;
  (void)rules.learn(kOwner, made_up({data}));
  CHECK(kind_at(rules, 0x1500) == TM_RULE_NONE);
}

TEST_CASE("rules: the chain serves in anonymous memory and in a file that cannot be read") {
  UnwindRules rules;
  void* const jit =
      ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(jit != MAP_FAILED);
  (void)rules.learn(kOwner, own_image());
  CHECK(kind_at(rules, reinterpret_cast<uintptr_t>(jit) + 100) == TM_RULE_CHAIN);
  REQUIRE(::munmap(jit, 4096) == 0);
  model::Mapping lost = anonymous_code(0x1000, 0x2000);
  lost.file = {1, 2, 3};
  lost.path = "/no/such/library.so";
  (void)rules.learn(Generation{2}, made_up({lost}));
  CHECK(kind_at(rules, 0x1500, Generation{2}) == TM_RULE_CHAIN);
}

TEST_CASE("rules: what is gone stays known until something else is there") {
  UnwindRules rules;
  CHECK(rules.learn(kOwner, made_up({anonymous_code(0x1000, 0x3000)})).empty());
  CHECK(rules.learn(kOwner, made_up({})).empty());
  CHECK(rules.knows(kOwner, Address{0x1800}));
  CHECK(rules.learn(kOwner, made_up({anonymous_code(0x1000, 0x3000)})).empty());
  model::Mapping other = anonymous_code(0x2000, 0x4000);
  other.file = {1, 2, 3};
  other.path = "/no/such/library.so";
  const auto replaced = rules.learn(kOwner, made_up({other}));
  REQUIRE(replaced.size() == 1);
  CHECK(replaced[0].start <= 0x2000);
  CHECK(replaced[0].end >= 0x3000);
  CHECK(rules.knows(kOwner, Address{0x3800}));
}

// A library's text, patched in its middle: the maps have three pieces then.
TEST_CASE("rules: what something else covers in part is known in the rest, as the maps say it") {
  UnwindRules rules;
  CHECK(rules.learn(kOwner, made_up({anonymous_code(0x1000, 0x4000)})).empty());
  model::Mapping patch = anonymous_code(0x2000, 0x3000);
  patch.file = {1, 2, 3};
  patch.path = "/no/such/library.so";
  (void)rules.learn(
      kOwner, made_up({anonymous_code(0x1000, 0x2000), patch, anonymous_code(0x3000, 0x4000)}));
  for (const uint64_t address : {0x1800, 0x2800, 0x3800}) {
    CHECK(rules.knows(kOwner, Address{address}));
  }
}
