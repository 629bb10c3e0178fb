// SPDX-License-Identifier: Apache-2.0
#include "elf/probe_site.h"

#include <fmt/format.h>

#include <limits>
#include <optional>

#include "elf/x86_line.h"

namespace tidemark::elf {
namespace {

constexpr uint32_t kMaxWalkBytes = 64;
constexpr uint32_t kMaxWalkInstructions = 16;
constexpr uint64_t kLongestInstruction = 15;

// A walk down the straight line from the entry of an x86-64 function, until a site is found or
// something that the probe needs is gone.
class X86Walk {
 public:
  X86Walk(const FunctionCode& code, const ProbeNeeds& needs)
      : code_(code),
        needs_(needs),
        first_target_(
            x86::first_branch_target(code.bytes).value_or(std::numeric_limits<uint32_t>::max())) {
    for (std::size_t n = 0; n < holders_.size(); ++n)
      holders_[n].set(x86::argument_register_number(n));
  }

  [[nodiscard]] ProbeSite run() {
    for (; passed_ < kMaxWalkInstructions && offset_ < kMaxWalkBytes; ++passed_) {
      if (offset_ >= first_target_)
        return give_up(fmt::format("a branch leads to +{}", first_target_));
      const auto instruction = x86::decode(rest());
      if (!instruction)
        return give_up(fmt::format("no instruction can be decoded at +{}", offset_));
      if (is_emulated(*instruction)) {
        if (!is_null_check(*instruction)) return here();
        at_null_check_ = here();
      } else if (instruction->flow != x86::Flow::kNext) {
        return give_up(fmt::format("the straight line ends at +{} ({})", offset_, text()));
      }
      if (auto lost = what_is_lost(*instruction)) return give_up(*lost);
      step_over(*instruction);
    }
    return give_up(fmt::format("no emulated instruction in the first {} bytes", offset_));
  }

 private:
  [[nodiscard]] std::span<const uint8_t> rest() const { return code_.bytes.subspan(offset_); }
  [[nodiscard]] std::string text() const {
    return x86::text(rest(), Vaddr{code_.start.value + offset_});
  }

  // A nop of five bytes may become a call, which writes below the stack pointer: in the middle of a
  // function that may be in use (the red zone).
  [[nodiscard]] bool is_emulated(const x86::Instruction& instruction) const {
    if (instruction.emulated) return true;
    return instruction.long_nop && needs_.long_nops == LongNops::kEmulated &&
           (instruction.length_bytes != 5 || offset_ == 0);
  }

  // A je right behind the test of argument 0, which may be passed over since nobody wants the other
  // side.
  [[nodiscard]] bool is_null_check(const x86::Instruction& instruction) const {
    return needs_.null_calls == NullCalls::kUninteresting && argument_0_tested_ &&
           instruction.flow == x86::Flow::kJumpIfZero;
  }

  // The reason why nothing behind `instruction` can be a site, if so.
  [[nodiscard]] std::optional<std::string> what_is_lost(const x86::Instruction& instruction) const {
    for (std::size_t n = 0; n < holders_.size(); ++n) {
      if (!needs_.arguments[n] || holders_behind(instruction, n).any()) continue;
      return fmt::format("argument {} ({}) is gone at +{} ({}), before any emulated instruction", n,
                         x86::argument_register(n), offset_, text());
    }
    if (instruction.frame_pointer_written) {
      return fmt::format("the caller's rbp is gone at +{} ({}), before any emulated instruction",
                         offset_, text());
    }
    if (!instruction.stack_growth_bytes) {
      return fmt::format("the way to the return address is lost at +{} ({})", offset_, text());
    }
    if (needs_.return_probe == ReturnProbe::kSharesSite && *instruction.stack_growth_bytes > 0) {
      return fmt::format(
          "the stack pointer moves at +{} ({}), and the return probe needs it as at entry", offset_,
          text());
    }
    return std::nullopt;
  }

  using Registers = std::bitset<16>;

  // The registers that hold argument `n` behind the instruction, of those that a program can read.
  [[nodiscard]] Registers holders_behind(const x86::Instruction& instruction, std::size_t n) const {
    Registers holders = holders_[n] & ~instruction.registers_written;
    if (instruction.copy && holders_[n][instruction.copy->from] && n < kFollowedArguments)
      holders.set(instruction.copy->to);
    return holders & kReadable;
  }

  [[nodiscard]] MovedTo place_of(std::size_t n) const {
    const uint8_t usual = x86::argument_register_number(n);
    if (!needs_.arguments[n] || holders_[n][usual]) return 0;
    MovedTo place = 1;
    while (!holders_[n][place - 1U]) ++place;
    return place;
  }

  void step_over(const x86::Instruction& instruction) {
    std::array<Registers, kArguments> behind;
    for (std::size_t n = 0; n < holders_.size(); ++n) behind[n] = holders_behind(instruction, n);
    holders_ = behind;
    offset_ += instruction.length_bytes;
    stack_bytes_ += *instruction.stack_growth_bytes;
    argument_0_tested_ =
        instruction.tests_argument_0 && holders_[0][x86::argument_register_number(0)];
  }

  [[nodiscard]] ProbeSite here() const {
    const auto verdict = [this]() -> std::string {
      if (offset_ == 0) return "emulated, first instruction";
      if (at_null_check_) return "emulated, behind the NULL check";
      return fmt::format("emulated, {} instruction{} behind the entry", passed_,
                         passed_ == 1 ? "" : "s");
    };
    ProbeSite site{.offset_bytes = offset_,
                   .stack_bytes = stack_bytes_,
                   .emulated = true,
                   .instruction = text(),
                   .verdict = verdict()};
    for (std::size_t n = 0; n < site.moved.size(); ++n) site.moved[n] = place_of(n);
    return site;
  }

  [[nodiscard]] ProbeSite give_up(std::string_view reason) const {
    if (at_null_check_) {
      ProbeSite site = *at_null_check_;
      site.verdict = fmt::format("emulated, at the NULL check: {}", reason);
      return site;
    }
    ProbeSite site = entry_probe_site(code_);
    if (!site.emulated) site.verdict = fmt::format("single-stepped: {}", reason);
    return site;
  }

  static constexpr std::size_t kArguments = 6;
  // rax, rcx, rdx, rsi, rdi, r8 to r11: what a call may overwrite. Others hold nothing of the
  // function's before they are saved.
  static constexpr Registers kReadable{0b0000'1111'1100'0111};

  const FunctionCode& code_;
  const ProbeNeeds& needs_;
  uint32_t first_target_;
  std::array<Registers, kArguments> holders_;  // of each argument
  uint32_t offset_ = 0;
  uint32_t passed_ = 0;  // instructions
  uint32_t stack_bytes_ = 0;
  bool argument_0_tested_ = false;  // by the instruction just passed
  std::optional<ProbeSite> at_null_check_;
};

ProbeSite x86_entry(const FunctionCode& code) {
  const auto first = x86::decode(code.bytes);
  if (!first) return {.verdict = "entry: its first instruction cannot be decoded"};
  return {.emulated = first->emulated,
          .instruction = x86::text(code.bytes, code.start),
          .verdict = first->emulated ? "emulated, first instruction"
                                     : "single-stepped: the first instruction is not emulated"};
}

ProbeSite x86_site(const FunctionCode& code, const ProbeNeeds& needs) {
  if (code.extent == Extent::kWholeFunction) return X86Walk(code, needs).run();
  ProbeSite site = x86_entry(code);
  if (!site.emulated) {
    site.verdict = "single-stepped: where the function ends is not known, nor what branches back";
  }
  return site;
}

ProbeSite unknown_machine_site(Machine machine) {
  return {.verdict = fmt::format("entry: no rules for a better site on {}", machine_name(machine))};
}

Result<ProbeSite> with_code(const Image& image, const Symbol& function, auto choose) {
  const bool whole = function.size_bytes > 0;
  const auto bytes =
      image.bytes_at(function.value, whole ? function.size_bytes : kLongestInstruction);
  if (!bytes) return within(function.name, bytes.error());
  return choose(FunctionCode{.machine = image.machine(),
                             .start = function.value,
                             .bytes = *bytes,
                             .extent = whole ? Extent::kWholeFunction : Extent::kBeginning});
}

}  // namespace

// The one place that knows which machines have rules.
ProbeSite choose_probe_site(const FunctionCode& code, const ProbeNeeds& needs) {
  switch (code.machine) {
    case Machine::kX86_64:
      return x86_site(code, needs);
    case Machine::kArm64:
    case Machine::kOther:
      break;
  }
  return unknown_machine_site(code.machine);
}

ProbeSite entry_probe_site(const FunctionCode& code) {
  return code.machine == Machine::kX86_64 ? x86_entry(code) : unknown_machine_site(code.machine);
}

Result<ProbeSite> choose_probe_site(const Image& image, const Symbol& function,
                                    const ProbeNeeds& needs) {
  return with_code(image, function,
                   [&needs](const FunctionCode& code) { return choose_probe_site(code, needs); });
}

Result<ProbeSite> entry_probe_site(const Image& image, const Symbol& function) {
  return with_code(image, function,
                   [](const FunctionCode& code) { return entry_probe_site(code); });
}

}  // namespace tidemark::elf
