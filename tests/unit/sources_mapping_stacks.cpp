// SPDX-License-Identifier: Apache-2.0
//
// MappingStacks on this very process's code: libc's wrapper goes, an allocator's function is known.
#include "sources/mapping_stacks.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "system/process.h"

using namespace tidemark;
using model::Generation;
using sources::MappingRecord;
using sources::MappingStacks;
using sources::Requester;

namespace {

constexpr Generation kOwner{3};

// An address inside a function of libc, as its caller would find it on the stack.
uint64_t inside(const char* name) {
  const void* function = ::dlsym(RTLD_DEFAULT, name);
  REQUIRE(function != nullptr);
  return reinterpret_cast<uintptr_t>(function) + 4;
}

int program_code() {
  return 1;
}

uint64_t inside_program() {
  return reinterpret_cast<uintptr_t>(&program_code) + 1;
}

struct OwnCode {
  std::shared_ptr<sources::UnwindRules> rules = std::make_shared<sources::UnwindRules>();
  MappingStacks stacks{rules};
  std::vector<model::AddressRange> libc;

  OwnCode() {
    const auto image = system::read_process(model::Pid{::getpid()});
    REQUIRE(image.has_value());
    (void)rules->learn(kOwner, *image);
    for (const model::Mapping& mapping : image->mappings) {
      if (!mapping.executable || mapping.path.find("/libc.so.6") == std::string::npos) continue;
      libc.push_back({mapping.start.value, mapping.end.value});
    }
    REQUIRE(libc.size() == 1);
  }
  [[nodiscard]] MappingStacks::Asked resolve(const std::vector<uint64_t>& frames,
                                             uint64_t quiet_caller = 0,
                                             tm_stack_end end = TM_STACK_BOTTOM) {
    MappingRecord record;
    record.call.owner = kOwner.value;
    record.call.quiet_caller = quiet_caller;
    record.stack.emplace();
    record.stack->depth = static_cast<uint32_t>(frames.size());
    record.stack->end = end;
    std::copy(frames.begin(), frames.end(), record.stack->frames);
    return stacks.resolve(record);
  }
};

}  // namespace

TEST_CASE("mapping stacks: the wrapper of the system call is cut off, the caller is not") {
  OwnCode code;
  const auto asked = code.resolve({inside("mmap"), inside("pthread_create"), inside_program()});
  CHECK(asked.stack.frames ==
        std::vector<model::Address>{{inside("pthread_create")}, {inside_program()}});
  CHECK_FALSE(asked.met_unknown_code);
  CHECK(asked.requester == Requester::kProgram);
  // sbrk() calls brk().
  const auto moved = code.resolve({inside("brk"), inside("sbrk"), inside_program()});
  CHECK(moved.stack.frames == std::vector<model::Address>{{inside_program()}});
  // A wrapper is better than nothing.
  CHECK(code.resolve({inside("mmap")}).stack.frames.size() == 1);
}

TEST_CASE("mapping stacks: an allocator's function on the stack, where its blocks are counted") {
  OwnCode code;
  const std::vector<uint64_t> freeing = {inside("mmap"), inside("free"), inside_program()};
  CHECK_FALSE(code.resolve(freeing).in_allocator);
  CHECK_FALSE(code.stacks.knows_allocators(kOwner));
  code.stacks.learn_allocators(kOwner, code.libc);
  CHECK(code.stacks.knows_allocators(kOwner));
  CHECK(code.resolve(freeing).in_allocator);
  CHECK(code.resolve({inside("brk"), inside("sbrk"), inside("malloc")}).in_allocator);
  // The same library, but no allocator.
  CHECK_FALSE(code.resolve({inside("mmap"), inside("pthread_create")}).in_allocator);
}

// The allocator's call was not sampled, and its function may have jumped on: its frame has no name.
TEST_CASE(
    "mapping stacks: a call whose return is not seen is the allocator's if the stack has it") {
  OwnCode code;
  const uint64_t caller = inside_program();
  const std::vector<uint64_t> within = {inside("mmap"), inside("puts"), caller};
  CHECK_FALSE(code.resolve(within).in_allocator);
  CHECK(code.resolve(within, caller).in_allocator);
  const std::vector<uint64_t> later = {inside("mmap"), inside("puts"), caller + 1};
  CHECK_FALSE(code.resolve(later, caller).in_allocator);
  // Where the walk did not get there, its return address in the slot has to do.
  CHECK(code.resolve(later, caller, TM_STACK_BROKEN).in_allocator);
}

TEST_CASE("mapping stacks: unknown code, no stack, ids") {
  OwnCode code;
  CHECK(code.resolve({0x10}).met_unknown_code);
  CHECK(code.stacks.resolve({}).stack.frames.empty());
  CHECK(code.stacks.keep({}) == model::kStackLost);
  model::Stack stack;
  stack.frames = {{1}, {2}};
  const model::StackId id = code.stacks.keep(stack);
  CHECK(code.stacks.keep(stack) == id);
  CHECK(code.stacks.all().size() == 1);
  CHECK(code.stacks.all().at(id).id == id);
}
