// SPDX-License-Identifier: Apache-2.0
//
// Where probes go, said with literal bytes: real entries of allocators, then the traps.
#include "elf/probe_site.h"

#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <vector>

#include "elf/image.h"

using namespace tidemark;
using elf::ArgumentSet;
using elf::NullCalls;
using elf::ProbeNeeds;
using elf::ProbeSite;
using elf::ReturnProbe;

namespace {

using Bytes = std::vector<uint8_t>;

constexpr ProbeNeeds kMallocNeeds{.arguments = ArgumentSet{0b1},
                                  .return_probe = ReturnProbe::kSharesSite};
constexpr ProbeNeeds kTwoArgumentsAndReturn{.arguments = ArgumentSet{0b11},
                                            .return_probe = ReturnProbe::kSharesSite};
constexpr ProbeNeeds kThreeArgumentsAndReturn{.arguments = ArgumentSet{0b111},
                                              .return_probe = ReturnProbe::kSharesSite};
constexpr ProbeNeeds kFreeNeeds{.arguments = ArgumentSet{0b1},
                                .null_calls = NullCalls::kUninteresting};
constexpr ProbeNeeds kFirstArgument{.arguments = ArgumentSet{0b1}};

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

const Bytes kRet{0xc3};
const Bytes kEndbr64{0xf3, 0x0f, 0x1e, 0xfa};
const Bytes kPushRbp{0x55};
const Bytes kPushRbx{0x53};
const Bytes kTestRdiRdi{0x48, 0x85, 0xff};
const Bytes kJeFar{0x0f, 0x84, 0xbf, 0x00, 0x00, 0x00};
const Bytes kCompareHook{0x80, 0x3d, 0x71, 0x0e, 0x14, 0x00, 0x00};  // cmpb $0, x(%rip)

elf::FunctionCode code_of(const Bytes& bytes) {
  return {.machine = elf::Machine::kX86_64, .start = elf::Vaddr{0x1000}, .bytes = bytes};
}

ProbeSite site(const Bytes& bytes, const ProbeNeeds& needs) {
  return elf::choose_probe_site(code_of(bytes), needs);
}

void check_emulated_at(const ProbeSite& found, uint32_t offset, uint32_t stack) {
  CAPTURE(found.verdict);
  CAPTURE(found.instruction);
  CHECK(found.emulated);
  CHECK(found.offset_bytes == offset);
  CHECK(found.stack_bytes == stack);
}

void check_stepped(const ProbeSite& found, std::string_view reason) {
  CAPTURE(found.verdict);
  CHECK_FALSE(found.emulated);
  CHECK(found.offset_bytes == 0);
  CHECK(found.stack_bytes == 0);
  CHECK(found.verdict.starts_with("single-stepped: "));
  CHECK(found.verdict.find(reason) != std::string::npos);
}

}  // namespace

TEST_CASE("glibc 2.36: malloc, calloc and realloc begin with an emulated push") {
  const Bytes malloc_entry{0x41, 0x54, 0x55, 0x53, 0x48, 0x89, 0xfb, 0x48, 0x83, 0xec, 0x10};
  const ProbeSite found = site(malloc_entry, kMallocNeeds);
  check_emulated_at(found, 0, 0);
  CHECK(found.instruction == "push r12");
  CHECK(found.verdict == "emulated, first instruction");

  const Bytes calloc_entry{0x41, 0x55, 0x48, 0x89, 0xf8, 0x41, 0x54, 0x55, 0x53};
  check_emulated_at(site(calloc_entry, kTwoArgumentsAndReturn), 0, 0);
  const Bytes realloc_entry{0x41, 0x57, 0x41, 0x56, 0x41, 0x55, 0x41, 0x54, 0x55};
  check_emulated_at(site(realloc_entry, kTwoArgumentsAndReturn), 0, 0);
}

TEST_CASE("glibc 2.36: free is probed behind its NULL check") {
  const Bytes free_entry =
      kTestRdiRdi + kJeFar + kPushRbp + Bytes{0x48, 0x8d, 0x77, 0xf0} + kPushRbx + kRet;
  const ProbeSite found = site(free_entry, kFreeNeeds);
  check_emulated_at(found, 9, 0);
  CHECK(found.instruction == "push rbp");
  CHECK(found.verdict == "emulated, behind the NULL check");

  INFO("where NULL counts, the je is the last instruction that all calls pass");
  check_emulated_at(site(free_entry, kFirstArgument), 3, 0);
}

TEST_CASE("glibc 2.36: the aligned ones share a site with their return probe") {
  const Bytes memalign_entry = kCompareHook + Bytes{0x74, 0x07} +
                               Bytes{0xe9, 0x32, 0xf6, 0xff, 0xff} + Bytes{0x66, 0x90} +
                               Bytes{0x48, 0x83, 0xec, 0x18};
  check_emulated_at(site(memalign_entry, kTwoArgumentsAndReturn), 7, 0);
  CHECK(site(memalign_entry, kTwoArgumentsAndReturn).instruction == "jz 0x1010");

  const Bytes posix_memalign_entry =
      kCompareHook + Bytes{0x41, 0x54} + Bytes{0x49, 0x89, 0xd4} + kPushRbp;
  check_emulated_at(site(posix_memalign_entry, kThreeArgumentsAndReturn), 7, 0);
  const Bytes valloc_entry = kCompareHook + kPushRbx + Bytes{0x48, 0x89, 0xfb, 0x74, 0x1b};
  check_emulated_at(site(valloc_entry, kMallocNeeds), 7, 0);
}

TEST_CASE("glibc 2.36: reallocarray loses an argument before the first emulated instruction") {
  const Bytes reallocarray{0x48, 0x89, 0xf0, 0x48, 0xf7, 0xe2, 0x48, 0x89,
                           0xc6, 0x70, 0x05, 0xe9, 0x40, 0xb8, 0xf8, 0xff};
  check_stepped(site(reallocarray, kThreeArgumentsAndReturn), "argument 2 (rdx) is gone at +3");
  INFO("with the first argument alone the jo would do");
  check_emulated_at(site(reallocarray, kMallocNeeds), 9, 0);
}

TEST_CASE("jemalloc: cmp, ja") {
  const Bytes entry{0x48, 0x81, 0xff, 0x00, 0x10, 0x00, 0x00, 0x77, 0x70, 0x55, 0xc3};
  check_emulated_at(site(entry, kMallocNeeds), 7, 0);
}

// Both put the thread's heap in front of the arguments, which move on by a register.
TEST_CASE("mimalloc 2.0: malloc and realloc are probed where their arguments have moved to") {
  const Bytes heap_to_rax{0x48, 0x8b, 0x05, 0x49, 0xb4, 0x00, 0x00};  // mov rax, [rip+x]
  const Bytes rsi_from_rdi{0x48, 0x89, 0xfe};
  const Bytes rdx_from_rsi{0x48, 0x89, 0xf2};
  const Bytes malloc_entry = heap_to_rax + rsi_from_rdi +
                             Bytes{0x64, 0x48, 0x8b, 0x38} +                    // mov rdi, fs:[rax]
                             Bytes{0x48, 0x81, 0xfe, 0x00, 0x04, 0x00, 0x00} +  // cmp rsi, 0x400
                             Bytes{0x77, 0x29} + kRet;
  const ProbeSite malloc_site = site(malloc_entry, kMallocNeeds);
  check_emulated_at(malloc_site, 21, 0);
  CHECK(malloc_site.moved[0] == 7);  // rsi is 6

  const Bytes realloc_entry = heap_to_rax + rdx_from_rsi + rsi_from_rdi +
                              Bytes{0x64, 0x48, 0x8b, 0x00} +  // mov rax, fs:[rax]
                              Bytes{0x48, 0x89, 0xc7} +        // mov rdi, rax
                              Bytes{0xe9, 0xf7, 0x4e, 0xff, 0xff};
  const ProbeSite realloc_site = site(realloc_entry, kTwoArgumentsAndReturn);
  check_emulated_at(realloc_site, 20, 0);
  CHECK(realloc_site.moved[0] == 7);
  CHECK(realloc_site.moved[1] == 3);
  CHECK(realloc_site.moved[2] == 0);  // nobody asked for it
}

TEST_CASE("a copy of an argument counts only while it is whole") {
  const Bytes push = kPushRbp + kRet;
  const Bytes clear_rdi{0x31, 0xff};
  INFO("into a part of a register");
  check_stepped(site(Bytes{0x89, 0xfe} + clear_rdi + push, kMallocNeeds),
                "argument 0 (rdi) is gone");
  INFO("overwritten again");
  check_stepped(site(Bytes{0x48, 0x89, 0xfe, 0x31, 0xf6} + clear_rdi + push, kMallocNeeds),
                "argument 0 (rdi) is gone");
  INFO("in a register that the caller wants back");
  check_stepped(site(Bytes{0x48, 0x89, 0xfb} + clear_rdi + push, kMallocNeeds),
                "argument 0 (rdi) is gone");
  INFO("a test of rdi is no NULL check any more");
  const ProbeSite found =
      site(Bytes{0x48, 0x89, 0xfe} + clear_rdi + kTestRdiRdi + kJeFar + push, kFreeNeeds);
  check_emulated_at(found, 8, 0);
  CHECK(found.moved[0] == 7);
}

TEST_CASE("endbr64 is stepped, what follows is not") {
  check_emulated_at(site(kEndbr64 + kPushRbp + kRet, kMallocNeeds), 4, 0);
  check_emulated_at(site(kEndbr64 + kTestRdiRdi + kJeFar + kPushRbp + kRet, kFreeNeeds), 13, 0);
  CHECK(site(kEndbr64 + kPushRbp + kRet, kMallocNeeds).verdict ==
        "emulated, 1 instruction behind the entry");
}

TEST_CASE("every emulated form counts as a first instruction") {
  const std::vector<Bytes> forms{{0x50},
                                 {0x57},
                                 {0x41, 0x50},
                                 {0x90},
                                 {0xeb, 0x10},
                                 {0xe9, 0x00, 0x10, 0x00, 0x00},
                                 {0x70, 0x10},
                                 {0x7f, 0x10},
                                 {0x0f, 0x80, 0x00, 0x10, 0x00, 0x00},
                                 {0xe8, 0x00, 0x10, 0x00, 0x00}};
  for (const Bytes& form : forms) {
    check_emulated_at(site(form + kRet, kMallocNeeds), 0, 0);
    CHECK(elf::entry_probe_site(code_of(form + kRet)).emulated);
  }
}

TEST_CASE("forms that only look emulated are not sites") {
  // Each is followed by a ret, so that there is no other candidate.
  const std::vector<Bytes> forms{
      {0x66, 0x55},                                // push bp
      {0x66, 0x90},                                // older kernels step it
      {0x66, 0xe9, 0x00, 0x10, 0x00, 0x00},        // jmp with a 66 prefix
      {0x66, 0xe8, 0x00, 0x10, 0x00, 0x00},        // call with a 66 prefix
      {0x66, 0x0f, 0x84, 0x00, 0x10, 0x00, 0x00},  // je with a 66 prefix
      {0x48, 0x55},                                // the kernel takes no REX but 41
      {0x41, 0x90},                                // xchg %r8, %rax
      {0x0f, 0x1f, 0x44, 0x00, 0x00},              // nop5: not before 6.16
      {0xe3, 0x10},                                // jrcxz
      {0xff, 0xe0},                                // jmp *%rax
      {0xff, 0x25, 0x00, 0x10, 0x00, 0x00},        // jmp *x(%rip), as in a PLT
      {0x6a, 0x01},                                // push $1
      {0x5d},                                      // pop %rbp
  };
  for (const Bytes& form : forms) {
    const ProbeSite found = site(form + kRet, ProbeNeeds{});
    CAPTURE(found.instruction);
    CHECK_FALSE(found.emulated);
    CHECK(found.offset_bytes == 0);
    CHECK_FALSE(elf::entry_probe_site(code_of(form + kRet)).emulated);
  }
}

TEST_CASE("an argument register that was written, at any width, is no argument") {
  const std::vector<Bytes> writes{
      {0x48, 0x89, 0xc7},        // mov %rax, %rdi
      {0x89, 0xc7},              // mov %eax, %edi
      {0x66, 0x89, 0xc7},        // mov %ax, %di
      {0x40, 0x88, 0xc7},        // mov %al, %dil
      {0x31, 0xff},              // xor %edi, %edi
      {0x48, 0x83, 0xc7, 0x08},  // add $8, %rdi
      {0x48, 0x8d, 0x7f, 0x10},  // lea 16(%rdi), %rdi
      {0x48, 0x0f, 0x44, 0xf8},  // cmove %rax, %rdi
      {0x48, 0x87, 0xf8},        // xchg %rdi, %rax
      {0xaa},                    // stosb moves %rdi
      {0xa4},                    // movsb moves %rdi
      {0x5f},                    // pop %rdi
  };
  for (const Bytes& write : writes) {
    check_stepped(site(write + kPushRbx + kRet, kFirstArgument), "argument 0 (rdi) is gone at +0");
  }
  INFO("reading it, or writing one that nobody needs, is fine");
  check_emulated_at(site(Bytes{0x48, 0x89, 0xf8} + kPushRbx + kRet, kFirstArgument), 3, 0);
  check_emulated_at(site(Bytes{0x31, 0xf6} + kPushRbx + kRet, kFirstArgument), 2, 0);
  INFO("cl, dl, r8b and r9d belong to arguments, too");
  check_stepped(site(Bytes{0xb1, 0x01} + kPushRbx + kRet, {.arguments = ArgumentSet{0b1000}}),
                "rcx");
  check_stepped(site(Bytes{0xb6, 0x01} + kPushRbx + kRet, {.arguments = ArgumentSet{0b100}}),
                "rdx");
  check_stepped(
      site(Bytes{0x41, 0xb0, 0x01} + kPushRbx + kRet, {.arguments = ArgumentSet{0b10000}}), "r8");
  check_stepped(
      site(Bytes{0x45, 0x31, 0xc9} + kPushRbx + kRet, {.arguments = ArgumentSet{0b100000}}), "r9");
}

TEST_CASE("rbp must be the caller's: the stack walk starts there") {
  check_stepped(site(Bytes{0x48, 0x89, 0xfd} + kPushRbx + kRet, kFirstArgument), "rbp is gone");
  check_stepped(site(Bytes{0x31, 0xed} + kPushRbx + kRet, kFirstArgument), "rbp is gone");
}

TEST_CASE("the stack is counted where no return probe shares the site") {
  const Bytes lowered = Bytes{0x48, 0x83, 0xec, 0x18} + kPushRbx + kRet;  // sub $24, %rsp; push
  check_emulated_at(site(lowered, kFirstArgument), 4, 24);
  check_stepped(site(lowered, kMallocNeeds), "the return probe needs it as at entry");

  const Bytes pushed = Bytes{0x6a, 0x01} + kPushRbx + kRet;  // push $1; push %rbx
  check_emulated_at(site(pushed, kFirstArgument), 2, 8);
  check_stepped(site(pushed, kMallocNeeds), "the return probe needs it as at entry");

  const Bytes both = Bytes{0x6a, 0x01} + Bytes{0x48, 0x81, 0xec, 0x00, 0x01, 0x00, 0x00} + kPushRbx;
  check_emulated_at(site(both, kFirstArgument), 9, 264);
}

TEST_CASE("a stack pointer that cannot be followed ends the walk") {
  const std::vector<Bytes> moves{
      {0x48, 0x83, 0xe4, 0xf0},        // and $-16, %rsp
      {0x48, 0x8d, 0x64, 0x24, 0xf0},  // lea -16(%rsp), %rsp
      {0x48, 0x29, 0xc4},              // sub %rax, %rsp
      {0x48, 0x83, 0xc4, 0x08},        // add $8, %rsp
      {0x48, 0x83, 0xec, 0xf8},        // sub $-8, %rsp
      {0x66, 0x50},                    // push %ax
  };
  for (const Bytes& move : moves) {
    check_stepped(site(move + kPushRbx + kRet, kFirstArgument), "the way to the return address");
  }
}

TEST_CASE("a branch back into the range in front of the site is seen") {
  // +0 mov %rdi, %rax   +3 inc %rax   +6 push %rbx   +7 jmp +3
  const Bytes back_inside{0x48, 0x89, 0xf8, 0x48, 0xff, 0xc0, 0x53, 0xeb, 0xfa};
  check_stepped(site(back_inside, kFirstArgument), "a branch leads to +3");
  INFO("to the site itself as well: the probe would hit again with other registers");
  const Bytes back_to_site{0x48, 0x89, 0xf8, 0x48, 0xff, 0xc0, 0x53, 0xeb, 0xfd};
  check_stepped(site(back_to_site, kFirstArgument), "a branch leads to +6");
  INFO("but behind it is fine, and so is the entry");
  const Bytes back_behind{0x48, 0x89, 0xf8, 0x48, 0xff, 0xc0, 0x53, 0x90, 0xeb, 0xfd};
  check_emulated_at(site(back_behind, kFirstArgument), 6, 0);
  const Bytes back_to_entry{0x48, 0x89, 0xf8, 0x48, 0xff, 0xc0, 0x53, 0xeb, 0xf7};
  check_emulated_at(site(back_to_entry, kFirstArgument), 6, 0);
  INFO("loops of jrcxz and calls within the function count as branches");
  check_stepped(site(Bytes{0x48, 0x89, 0xf8, 0x53, 0xe3, 0xfd}, kFirstArgument), "leads to +3");
  check_stepped(site(Bytes{0x48, 0x89, 0xf8, 0x53, 0xe8, 0xfa, 0xff, 0xff, 0xff}, kFirstArgument),
                "leads to +3");
}

TEST_CASE("only je right behind the test of argument 0 is passed over") {
  const Bytes compared{0x48, 0x83, 0xff, 0x00, 0x74, 0x20, 0x53, 0xc3};  // cmp $0, %rdi; je
  check_emulated_at(site(compared, kFreeNeeds), 6, 0);
  const Bytes other_register{0x48, 0x85, 0xf6, 0x74, 0x20, 0x53, 0xc3};  // test %rsi, %rsi
  check_emulated_at(site(other_register, kFreeNeeds), 3, 0);
  const Bytes half_register{0x85, 0xff, 0x74, 0x20, 0x53, 0xc3};  // test %edi, %edi
  check_emulated_at(site(half_register, kFreeNeeds), 2, 0);
  const Bytes not_next{0x48, 0x85, 0xff, 0x85, 0xf6, 0x74, 0x20, 0x53, 0xc3};
  check_emulated_at(site(not_next, kFreeNeeds), 5, 0);
  const Bytes jne{0x48, 0x85, 0xff, 0x75, 0x20, 0x53, 0xc3};
  check_emulated_at(site(jne, kFreeNeeds), 3, 0);
  const Bytes compared_to_one{0x48, 0x83, 0xff, 0x01, 0x74, 0x20, 0x53, 0xc3};
  check_emulated_at(site(compared_to_one, kFreeNeeds), 4, 0);
}

TEST_CASE("the NULL check itself is the site where nothing behind it will do") {
  const Bytes lost = kTestRdiRdi + Bytes{0x74, 0x20} + Bytes{0x31, 0xff} + kPushRbx + kRet;
  const ProbeSite found = site(lost, kFreeNeeds);
  check_emulated_at(found, 3, 0);
  CHECK(found.verdict.starts_with("emulated, at the NULL check: argument 0"));
  const Bytes ends = kTestRdiRdi + Bytes{0x74, 0x20} + kRet;
  check_emulated_at(site(ends, kFreeNeeds), 3, 0);
}

TEST_CASE("the walk never goes past a branch, a call, a return or a trap, nor on for ever") {
  for (const Bytes& end : std::vector<Bytes>{{0xc3},
                                             {0xff, 0xe0},
                                             {0xff, 0xd0},
                                             {0x0f, 0x05},
                                             {0xcc},
                                             {0x0f, 0x0b},
                                             {0xe2, 0x10},
                                             {0xf4}}) {
    check_stepped(site(end + kPushRbx + kRet, ProbeNeeds{}), "the straight line ends at +0");
  }
  Bytes moves;
  for (int i = 0; i < 100; ++i) moves = moves + Bytes{0x48, 0x89, 0xf8};
  check_stepped(site(moves + kPushRbx, kFirstArgument), "no emulated instruction in the first");
}

TEST_CASE("bytes that are no code, or too few") {
  CHECK_FALSE(site({}, kMallocNeeds).verdict.empty());
  CHECK_FALSE(elf::entry_probe_site(code_of({})).verdict.empty());
  check_stepped(site({0x06, 0x55}, kMallocNeeds), "no instruction can be decoded at +0");
  check_stepped(site({0x48, 0x89, 0xf8, 0x48}, kMallocNeeds),
                "no instruction can be decoded at +3");
}

TEST_CASE("a function whose end is not known keeps its entry") {
  const Bytes bytes = kEndbr64 + kPushRbp;
  elf::FunctionCode code = code_of(bytes);
  code.extent = elf::Extent::kBeginning;
  check_stepped(elf::choose_probe_site(code, kMallocNeeds), "where the function ends");
  code.bytes = kPushRbp;
  check_emulated_at(elf::choose_probe_site(code, kMallocNeeds), 0, 0);
}

TEST_CASE("other machines get the entry and a reason") {
  const Bytes bytes{0xfd, 0x7b, 0xbf, 0xa9};  // stp x29, x30, [sp, #-16]!
  elf::FunctionCode code = code_of(bytes);
  code.machine = elf::Machine::kArm64;
  const ProbeSite found = elf::choose_probe_site(code, kMallocNeeds);
  CHECK(found.offset_bytes == 0);
  CHECK_FALSE(found.emulated);
  CHECK(found.verdict.find("arm64") != std::string::npos);
  CHECK_FALSE(elf::entry_probe_site(code).verdict.empty());
}

namespace {

std::string libc_path() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/libc.so.6") != std::string::npos) return line.substr(line.find('/'));
  }
  return {};
}

struct LibcCase {
  const char* name;
  ProbeNeeds needs;
};

}  // namespace

// Holds for every libc: a site is emulated, or the verdict says why not; its stack count fits its
// needs.
TEST_CASE("the libc of this machine") {
  const std::string path = libc_path();
  if (path.empty()) {
    MESSAGE("skipped: no libc.so.6 in /proc/self/maps");
    return;
  }
  auto image = elf::Image::open(path);
  REQUIRE(image);
  const std::vector<LibcCase> cases{{"malloc", kMallocNeeds},
                                    {"free", kFreeNeeds},
                                    {"calloc", kTwoArgumentsAndReturn},
                                    {"realloc", kTwoArgumentsAndReturn},
                                    {"memalign", kTwoArgumentsAndReturn},
                                    {"aligned_alloc", kTwoArgumentsAndReturn},
                                    {"posix_memalign", kThreeArgumentsAndReturn},
                                    {"valloc", kMallocNeeds},
                                    {"pvalloc", kMallocNeeds},
                                    {"reallocarray", kThreeArgumentsAndReturn}};
  for (const LibcCase& one : cases) {
    const auto found = image->find(one.name);
    REQUIRE(found);
    for (const elf::Symbol& symbol : *found) {
      const auto chosen = elf::choose_probe_site(*image, symbol, one.needs);
      REQUIRE(chosen);
      CAPTURE(std::string(one.name));
      CAPTURE(chosen->verdict);
      CHECK_FALSE(chosen->verdict.empty());
      CHECK_FALSE(chosen->instruction.empty());
      CHECK((chosen->emulated || chosen->offset_bytes == 0));
      CHECK((chosen->emulated || chosen->verdict.starts_with("single-stepped: ") ||
             image->machine() != elf::Machine::kX86_64));
      if (one.needs.return_probe == ReturnProbe::kSharesSite) CHECK(chosen->stack_bytes == 0);
    }
  }
}

TEST_CASE(
    "long nops are sites where the kernel emulates them, one of five bytes at the entry only") {
  const Bytes nop4{0x0f, 0x1f, 0x40, 0x00}, nop5{0x0f, 0x1f, 0x44, 0x00, 0x00};
  const Bytes move{0x48, 0x89, 0xf8};  // mov rax, rdi
  ProbeNeeds emulated = kMallocNeeds;
  emulated.long_nops = elf::LongNops::kEmulated;
  check_emulated_at(site(nop4 + move + kPushRbp + kRet, kMallocNeeds), 7, 0);
  check_emulated_at(site(nop4 + move + kPushRbp + kRet, emulated), 0, 0);
  check_emulated_at(site(move + nop4 + kPushRbp + kRet, emulated), 3, 0);
  check_emulated_at(site(nop5 + kPushRbp + kRet, emulated), 0, 0);
  check_emulated_at(site(move + nop5 + kPushRbp + kRet, emulated), 8, 0);
}
