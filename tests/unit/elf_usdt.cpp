// SPDX-License-Identifier: Apache-2.0
#include "elf/usdt.h"

#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>

using namespace tidemark::elf;

namespace {

using Place = UsdtArgument::Place;

void append(std::vector<uint8_t>& bytes, const void* from, std::size_t size) {
  const auto* start = static_cast<const uint8_t*>(from);
  bytes.insert(bytes.end(), start, start + size);
}

std::vector<uint8_t> note(const std::string& owner, uint32_t type, const std::string& texts) {
  std::vector<uint8_t> bytes;
  const uint64_t numbers[] = {0x1043, 0x2004, 0x40e2};
  const Elf64_Nhdr header{static_cast<uint32_t>(owner.size() + 1),
                          static_cast<uint32_t>(sizeof(numbers) + texts.size()), type};
  append(bytes, &header, sizeof(header));
  append(bytes, owner.c_str(), owner.size() + 1);
  bytes.resize((bytes.size() + 3) / 4 * 4);
  append(bytes, numbers, sizeof(numbers));
  append(bytes, texts.data(), texts.size());
  bytes.resize((bytes.size() + 3) / 4 * 4);
  return bytes;
}

const std::string kTexts("otel_memory\0alloc\0008@%rax 8@$64 8@$512\0", 39);

}  // namespace

TEST_CASE("usdt: notes of other owners are passed over") {
  std::vector<uint8_t> bytes = note("GNU", 3, "whatever");
  const auto ours = note("stapsdt", 3, kTexts);
  append(bytes, ours.data(), ours.size());
  const auto notes = parse_usdt_notes(bytes);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].location == Vaddr{0x1043});
  CHECK(notes[0].base == Vaddr{0x2004});
  CHECK(notes[0].semaphore == Vaddr{0x40e2});
  CHECK(notes[0].provider == "otel_memory");
  CHECK(notes[0].name == "alloc");
  CHECK(notes[0].arguments == "8@%rax 8@$64 8@$512");
}

TEST_CASE("usdt: notes that are cut off anywhere give nothing, and no more than there is") {
  const auto bytes = note("stapsdt", 3, kTexts);
  for (std::size_t size = 0; size < bytes.size() - 3; ++size)
    CHECK(parse_usdt_notes(std::span(bytes).first(size)).empty());
}

TEST_CASE("usdt: arguments in registers, in memory, as numbers") {
  const auto arguments = parse_usdt_arguments("8@%rdi -4@-20(%rbp) 1@%r9b 8@$-1 4@(%rsp) 8@$0x200");
  REQUIRE(arguments);
  REQUIRE(arguments->size() == 6);
  CHECK((*arguments)[0] == UsdtArgument{Place::kRegister, 5, 0, 8, false});
  CHECK((*arguments)[1] == UsdtArgument{Place::kMemory, 6, -20, 4, true});
  CHECK((*arguments)[2] == UsdtArgument{Place::kRegister, 9, 0, 1, false});
  CHECK((*arguments)[3] == UsdtArgument{Place::kConstant, 0, -1, 8, false});
  CHECK((*arguments)[4] == UsdtArgument{Place::kMemory, 7, 0, 4, false});
  CHECK((*arguments)[5] == UsdtArgument{Place::kConstant, 0, 512, 8, false});
  CHECK(parse_usdt_arguments("")->empty());
}

TEST_CASE("usdt: what is not known is not guessed") {
  for (const char* line : {"8@%xmm0", "8@(%rax,%rbx,8)", "8@count(%rip)", "16@%rax", "@%rax",
                           "8%rax", "8@", "8@$", "8@$1x", "8@8(%rax", "8@rax", "0@%rax"})
    CHECK_MESSAGE(!parse_usdt_arguments(line), line);
}
