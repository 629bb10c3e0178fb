// SPDX-License-Identifier: Apache-2.0
#include "elf/return_address.h"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdint>

using namespace tidemark;

#if defined(__x86_64__)
namespace {

// Where code of this very program lies in its file.
elf::Vaddr in_file(const void* address) {
  Dl_info info{};
  REQUIRE(::dladdr(address, &info) != 0);
  return elf::Vaddr{reinterpret_cast<uint64_t>(address) -
                    reinterpret_cast<uint64_t>(info.dli_fbase)};
}

[[gnu::noinline]] const void* who_called() {
  return __builtin_return_address(0);
}

using Caller = const void* (*)();

struct Callers {
  Caller first;
  Caller second;
};

}  // namespace

TEST_CASE("return address: behind direct and indirect calls there may be a call") {
  const auto image = elf::Image::open("/proc/self/exe");
  REQUIRE((image && image->type() == elf::ImageType::kShared));
  CHECK(elf::may_follow_call(*image, in_file(who_called())));
  volatile Caller by_register = who_called;
  CHECK(elf::may_follow_call(*image, in_file(by_register())));
  // Kept from the compiler, which would look through it.
  Callers callers{who_called, who_called};
  Callers* by_memory = &callers;
  asm volatile("" : "+r"(by_memory) : : "memory");
  CHECK(elf::may_follow_call(*image, in_file(by_memory->second())));
}

TEST_CASE("return address: of what is none, or cannot be read") {
  const auto image = elf::Image::open("/proc/self/exe");
  REQUIRE(image);
  const elf::Vaddr start = in_file(reinterpret_cast<const void*>(&who_called));
  CHECK_FALSE(elf::is_signal_return(*image, start));
  // Of what cannot be read nothing is told.
  CHECK(elf::may_follow_call(*image, elf::Vaddr{3}));
  CHECK(elf::may_follow_call(*image, elf::Vaddr{~uint64_t{0}}));
  CHECK_FALSE(elf::is_signal_return(*image, elf::Vaddr{~uint64_t{0}}));
}
#endif
