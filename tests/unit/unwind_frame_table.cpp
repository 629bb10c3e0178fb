// SPDX-License-Identifier: Apache-2.0
//
// Frame tables: out of literal programs, and out of the files of this machine against elfutils'
// own reading of them (dwarf_cfi_addrframe).
#include "unwind/frame_table.h"

#include <doctest/doctest.h>

#include "unwind/frame_program.h"

using namespace tidemark;
using unwind::Cfa;
using unwind::FrameRule;
using unwind::FrameTable;
using unwind::FrameTableBuilder;
using unwind::SavedFp;
using Bytes = std::vector<uint8_t>;

namespace {

FrameRule rule(Cfa cfa, int32_t offset, SavedFp saved = SavedFp::kSame, int32_t fp_offset = 0) {
  return {cfa, saved, 0, offset, fp_offset};
}

struct Told {
  std::vector<std::pair<uint64_t, FrameRule>> rules;
  bool sensible = false;
};

// DW_CFA_def_cfa(rsp, 8), DW_CFA_offset(rip, cfa - 8): what every compiler begins with.
const Bytes kUsual{0x0c, 7, 8, 0x90, 1};

Told run(const Bytes& instructions, const Bytes& initial = kUsual, bool signal_frame = false) {
  const elf::FrameCommon common{1, -8, 16, signal_frame, initial};
  const elf::FrameEntry entry{elf::Vaddr{0x1000}, 0x100, 0, instructions};
  Told told;
  told.sensible = unwind::run_frame_program(
      common, entry, [&](uint64_t at, const FrameRule& is) { told.rules.emplace_back(at, is); });
  return told;
}

}  // namespace

TEST_CASE("a function with a frame pointer") {
  // push rbp; mov rbp, rsp; ...; leave: advance 1, def_cfa_offset 16, offset rbp -16, advance 3,
  // def_cfa_register rbp, advance 0x20, def_cfa rsp 8
  const Told told = run({0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x60, 0x0c, 7, 8});
  CHECK(told.sensible);
  REQUIRE(told.rules.size() == 4);
  CHECK(told.rules[0] == std::pair(uint64_t{0x1000}, rule(Cfa::kSp, 8)));
  CHECK(told.rules[1] == std::pair(uint64_t{0x1001}, rule(Cfa::kSp, 16, SavedFp::kAtCfa, -16)));
  CHECK(told.rules[2] == std::pair(uint64_t{0x1004}, rule(Cfa::kFp, 16, SavedFp::kAtCfa, -16)));
  CHECK(told.rules[3] == std::pair(uint64_t{0x1024}, rule(Cfa::kSp, 8, SavedFp::kAtCfa, -16)));
}

TEST_CASE("states are remembered and given back, registers restored") {
  const Told told = run({0x41, 0x0e, 16, 0x86, 2, 0x0a, 0x41, 0x0e, 8, 0xc6, 0x41, 0x0b});
  CHECK(told.sensible);
  REQUIRE(told.rules.size() == 4);
  CHECK(told.rules[2].second == rule(Cfa::kSp, 8));
  CHECK(told.rules[3].second == rule(Cfa::kSp, 16, SavedFp::kAtCfa, -16));
}

TEST_CASE("the slots of a PLT") {
  // def_cfa_expression: breg7 8, breg16 0, lit15, and, lit11, ge, lit3, shl, plus
  const Told told = run({0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22});
  REQUIRE(told.rules.size() == 1);
  CHECK(told.rules[0].second == FrameRule{Cfa::kPlt, SavedFp::kSame, 11, 8, 0});
}

TEST_CASE("a stack that was realigned") {
  // def_cfa_expression: breg6 -8, deref; expression rbp: breg6 0
  const Told told = run({0x0f, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0});
  REQUIRE(told.rules.size() == 1);
  CHECK(told.rules[0].second == rule(Cfa::kDerefFp, -8, SavedFp::kAtFp, 0));
}

TEST_CASE("a signal's frame") {
  const Bytes frame{0x0f, 4,    0x77, 0xa0, 0x01, 0x06, 0x10, 6,    3,
                    0x77, 0xf8, 0x00, 0x10, 0x10, 3,    0x77, 0xa8, 0x01};
  const Told told = run(frame, kUsual, true);
  REQUIRE(told.rules.size() == 1);
  CHECK(told.rules[0].second == rule(Cfa::kSignal, 0));
  CHECK(run({}, kUsual, true).rules[0].second == rule(Cfa::kUnsupported, 0));
}

TEST_CASE("the bottom, and what no rule can hold") {
  CHECK(run({0x07, 16}).rules[0].second == rule(Cfa::kBottom, 0));                // rip undefined
  CHECK(run({0x0c, 10, 0}).rules[0].second == rule(Cfa::kUnsupported, 0));        // def_cfa r10
  CHECK(run({0x0e, 12}).rules[0].second == rule(Cfa::kUnsupported, 0));           // not in words
  CHECK(run({0x90, 2}).rules[0].second == rule(Cfa::kUnsupported, 0));            // rip elsewhere
  CHECK(run({0x09, 6, 3}).rules[0].second == rule(Cfa::kSp, 8, SavedFp::kLost));  // rbp in rbx
}

TEST_CASE("programs that make no sense are unsupported from there on") {
  for (const Bytes& nonsense : {Bytes{0x0b}, Bytes{0x0e}, Bytes{0x3f, 1}, Bytes{0x0f, 200, 1},
                                Bytes{0x86, 0x80}, Bytes{0x01, 1, 2}, Bytes(200, 0x0a)}) {
    Bytes program{0x41, 0x0e, 16, 0x42};
    for (const uint8_t byte : nonsense) program.push_back(byte);
    const Told told = run(program);
    CHECK_FALSE(told.sensible);
    REQUIRE(told.rules.size() == 3);
    CHECK(told.rules[1].second == rule(Cfa::kSp, 16));
    CHECK(told.rules[2] == std::pair(uint64_t{0x1003}, rule(Cfa::kUnsupported, 0)));
  }
}

TEST_CASE("a table answers within, between and across pages") {
  FrameTableBuilder builder;
  const FrameRule first = rule(Cfa::kSp, 8);
  const FrameRule second = rule(Cfa::kFp, 16, SavedFp::kAtCfa, -16);
  builder.add(0x1000, first);
  builder.add(0x1010, second);
  builder.add(0x1010, first);  // the later one holds, and is the same as before
  builder.add(0x2fff0, second);
  builder.add(0x30000, FrameRule());
  builder.add(0x1'0000'0000'0010, first);
  builder.add(0x1'0000'0000'0020, FrameRule());
  const auto table = builder.finish();
  REQUIRE(table);
  CHECK(table->rows() == 6);  // two of them continue 0x1000's
  CHECK(table->rule_at(elf::Vaddr{0xfff}) == FrameRule());
  CHECK(table->rule_at(elf::Vaddr{0x1000}) == first);
  CHECK(table->rule_at(elf::Vaddr{0x1ffff}) == first);
  CHECK(table->rule_at(elf::Vaddr{0x2ffef}) == first);
  CHECK(table->rule_at(elf::Vaddr{0x2ffff}) == second);
  CHECK(table->rule_at(elf::Vaddr{0x30000}) == FrameRule());
  CHECK(table->rule_at(elf::Vaddr{0x1'0000'0000'0010}) == first);
  CHECK(table->rule_at(elf::Vaddr{0x1'0000'0000'0021}) == FrameRule());
  CHECK(table->rule_at(elf::Vaddr{~uint64_t{0}}) == FrameRule());
}

TEST_CASE("more code than there is is refused") {
  FrameTableBuilder builder;
  builder.add(0, rule(Cfa::kSp, 8));
  builder.add(uint64_t{1} << 40, FrameRule());
  CHECK_FALSE(builder.finish());
}

#if defined(__x86_64__)
// Its entry point is written by hand, and calls the constructors of libraries: _start calls into
// the loader, then the function that calls them, then jumps to the program.
TEST_CASE("the loader's entry point is the bottom of a stack") {
  const auto image = elf::Image::open("/lib64/ld-linux-x86-64.so.2");
  REQUIRE(image);
  const auto table = FrameTable::compile(*image);
  REQUIRE(table);
  const uint64_t entry = image->entry().value;
  REQUIRE(entry != 0);
  CHECK(table->rule_at(elf::Vaddr{entry}).cfa == Cfa::kBottom);
  CHECK(table->rule_at(elf::Vaddr{entry + 7}).cfa == Cfa::kBottom);
  CHECK(table->rule_at(elf::Vaddr{entry - 1}).cfa != Cfa::kBottom);
  CHECK(table->rule_at(elf::Vaddr{entry + 0x100}).cfa != Cfa::kBottom);
}
#endif
