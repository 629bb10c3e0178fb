// SPDX-License-Identifier: Apache-2.0
//
// Return instructions of functions, found by their paths: compiled ones of this very binary, and
// hand-made ones whose answer is known.
#include "elf/return_sites.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "elf/x86_line.h"

#if defined(__x86_64__)

using namespace tidemark;

// Bytes behind a path's end, and a call that does not come back: both would decode as nonsense.
__asm__(
    ".text\n"
    ".globl returns_two, returns_far, returns_nowhere, returns_to_a_register, returns_as_another\n"
    ".type returns_two, @function\n"
    "returns_two:\n"
    "  test %rdi, %rdi\n"
    "  je 1f\n"
    "  xor %eax, %eax\n"
    "  ret\n"
    "  .byte 0x0f, 0x0b, 0x06\n"
    "1: mov $1, %eax\n"
    "  ret\n"
    ".size returns_two, . - returns_two\n"
    ".type returns_far, @function\n"
    "returns_far:\n"
    "  test %rdi, %rdi\n"
    "  je returns_two\n"
    "  ret\n"
    ".size returns_far, . - returns_far\n"
    ".type returns_nowhere, @function\n"
    "returns_nowhere:\n"
    "  call abort@plt\n"
    ".size returns_nowhere, . - returns_nowhere\n"
    "  .byte 0x06, 0x06, 0x06\n"
    ".type returns_to_a_register, @function\n"
    "returns_to_a_register:\n"
    "  test %rdi, %rdi\n"
    "  je 1f\n"
    "  jmp *%rax\n"
    "1: ret\n"
    ".size returns_to_a_register, . - returns_to_a_register\n"
    ".type returns_as_another, @function\n"
    "returns_as_another:\n"
    "  jmp returns_two\n"
    ".size returns_as_another, . - returns_as_another\n");

namespace {

struct Self {
  elf::Image image;
  elf::CodeMap code;
};

Self self() {
  auto image = elf::Image::open("/proc/self/exe");
  REQUIRE(image.has_value());
  auto code = elf::CodeMap::open(*image);
  REQUIRE(code.has_value());
  return {*std::move(image), *std::move(code)};
}

elf::Symbol symbol(elf::Image& image, std::string_view name) {
  const auto found = image.find(name);
  REQUIRE(found.has_value());
  REQUIRE_FALSE(found->empty());
  return found->front();
}

bool are_returns(const elf::Image& image, const std::vector<elf::Vaddr>& sites) {
  return std::ranges::all_of(sites, [&](elf::Vaddr site) {
    const auto byte = image.bytes_at(site, 1);
    return byte && byte->front() == 0xc3;
  });
}

}  // namespace

TEST_CASE("return sites: both ends of a branch, and nothing of the bytes between") {
  Self binary = self();
  const auto found =
      elf::find_return_sites(binary.image, binary.code, symbol(binary.image, "returns_two"));
  REQUIRE_MESSAGE(found.has_value(), found.error().text);
  CHECK(found->sites.size() == 2);
  CHECK(are_returns(binary.image, found->sites));
  CHECK_FALSE(found->has_unknown_ways);
}

TEST_CASE("return sites: over a jump into another function") {
  Self binary = self();
  const auto found =
      elf::find_return_sites(binary.image, binary.code, symbol(binary.image, "returns_far"));
  REQUIRE_MESSAGE(found.has_value(), found.error().text);
  CHECK(found->sites.size() == 3);
  CHECK(are_returns(binary.image, found->sites));
}

TEST_CASE("return sites: a function that never returns has none, and says so") {
  Self binary = self();
  const auto found =
      elf::find_return_sites(binary.image, binary.code, symbol(binary.image, "returns_nowhere"));
  REQUIRE_FALSE(found.has_value());
  CHECK(found.error().text.find("returns_nowhere") != std::string::npos);
}

TEST_CASE("return sites: a way that cannot be followed is told") {
  Self binary = self();
  const auto found = elf::find_return_sites(binary.image, binary.code,
                                            symbol(binary.image, "returns_to_a_register"));
  REQUIRE_MESSAGE(found.has_value(), found.error().text);
  CHECK(found->sites.size() == 1);
  CHECK(found->has_unknown_ways);
}

TEST_CASE("return sites: a function that is but a jump tells to whom") {
  Self binary = self();
  elf::Image& image = binary.image;
  CHECK(elf::jumps_at_once_to(image, binary.code, symbol(image, "returns_as_another")) ==
        "returns_two");
  CHECK(elf::jumps_at_once_to(image, binary.code, symbol(image, "returns_two")).empty());
}

TEST_CASE("return sites: without a size nothing is guessed") {
  Self binary = self();
  elf::Symbol endless = symbol(binary.image, "returns_two");
  endless.size_bytes = 0;
  CHECK_FALSE(elf::find_return_sites(binary.image, binary.code, endless).has_value());
}

TEST_CASE("code map: functions by the unwinder's table, slots by relocation") {
  const elf::CodeMap map({elf::Vaddr{0x10}, elf::Vaddr{0x40}, elf::Vaddr{0x90}},
                         {{elf::Vaddr{0x1000}, "free"}});
  REQUIRE(map.function_around(elf::Vaddr{0x3f}).has_value());
  CHECK(map.function_around(elf::Vaddr{0x3f})->start == elf::Vaddr{0x10});
  CHECK(map.function_around(elf::Vaddr{0x3f})->end == elf::Vaddr{0x40});
  CHECK(map.function_around(elf::Vaddr{0x40})->start == elf::Vaddr{0x40});
  CHECK_FALSE(map.function_around(elf::Vaddr{0xf}).has_value());
  CHECK_FALSE(map.function_around(elf::Vaddr{0x90}).has_value());
  CHECK(map.symbol_in_slot(elf::Vaddr{0x1000}) == "free");
  CHECK_FALSE(map.symbol_in_slot(elf::Vaddr{0x1008}).has_value());
}

TEST_CASE("steps: where control goes") {
  using elf::Vaddr;
  using elf::x86::Way;
  const auto way = [](std::vector<uint8_t> code) {
    const auto found = elf::x86::step(code, Vaddr{0x1000});
    REQUIRE(found.has_value());
    return *found;
  };
  CHECK(way({0xc3}).way == Way::kReturn);
  CHECK(way({0xf3, 0xc3}).way == Way::kReturn);
  CHECK(way({0xcc}).way == Way::kEnds);
  CHECK(way({0x0f, 0x0b}).way == Way::kEnds);
  CHECK(way({0xe8, 0, 0, 0, 0}).way == Way::kOn);
  CHECK(way({0x55}).way == Way::kOn);
  CHECK(way({0xff, 0xe0}).way == Way::kJumpAnywhere);
  CHECK(way({0xff, 0x24, 0xc5, 0, 0, 0, 0}).way == Way::kJumpAnywhere);
  CHECK(way({0xeb, 0x10}).way == Way::kJump);
  CHECK(way({0xeb, 0x10}).target == Vaddr{0x1012});
  CHECK(way({0x74, 0xfe}).way == Way::kBranch);
  CHECK(way({0x74, 0xfe}).target == Vaddr{0x1000});
  CHECK(way({0xff, 0x25, 0, 1, 0, 0}).way == Way::kJumpThroughSlot);
  CHECK(way({0xff, 0x25, 0, 1, 0, 0}).target == Vaddr{0x1106});
  CHECK(elf::x86::stub_slot(std::vector<uint8_t>{0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0, 1, 0, 0},
                            Vaddr{0x1000}) == Vaddr{0x110a});
  CHECK_FALSE(elf::x86::step(std::vector<uint8_t>{0x06}, Vaddr{0x1000}).has_value());
}

#endif
