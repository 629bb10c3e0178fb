// SPDX-License-Identifier: Apache-2.0
#include "elf/x86_line.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <limits>

namespace tidemark::elf::x86 {
namespace {

struct ArgumentRegister {
  ZydisRegister id;
  const char* name;
};
constexpr std::array<ArgumentRegister, 6> kArguments{{{ZYDIS_REGISTER_RDI, "rdi"},
                                                      {ZYDIS_REGISTER_RSI, "rsi"},
                                                      {ZYDIS_REGISTER_RDX, "rdx"},
                                                      {ZYDIS_REGISTER_RCX, "rcx"},
                                                      {ZYDIS_REGISTER_R8, "r8"},
                                                      {ZYDIS_REGISTER_R9, "r9"}}};
constexpr uint8_t kRexB = 0x41;

using Operands = std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT>;

ZydisDecoder make_decoder() {
  ZydisDecoder decoder;
  // Cannot fail: both modes are valid constants.
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  return decoder;
}

bool has_prefix(const ZydisDecodedInstruction& instruction, uint8_t prefix) {
  const auto* end = instruction.raw.prefixes + instruction.raw.prefix_count;
  return std::any_of(instruction.raw.prefixes, end,
                     [prefix](const auto& found) { return found.value == prefix; });
}

// push_setup_xol_ops() and branch_setup_xol_ops() in arch/x86/kernel/uprobes.c. Left out on
// purpose: NOPs other than 90, which are emulated since 6.16 (610f6e14c29d).
bool is_emulated(const ZydisDecodedInstruction& instruction, std::span<const uint8_t> code) {
  if (has_prefix(instruction, 0x66)) return false;
  const uint8_t opcode = instruction.opcode;
  if (instruction.opcode_map == ZYDIS_OPCODE_MAP_0F) return opcode >= 0x80 && opcode <= 0x8f;
  if (instruction.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT) return false;
  if (opcode >= 0x50 && opcode <= 0x57) {
    return instruction.length == 1 || (instruction.length == 2 && code[0] == kRexB);
  }
  if (opcode == 0x90) return instruction.mnemonic == ZYDIS_MNEMONIC_NOP;
  return (opcode >= 0x70 && opcode <= 0x7f) || opcode == 0xe8 || opcode == 0xe9 || opcode == 0xeb;
}

Flow flow_of(const ZydisDecodedInstruction& instruction) {
  switch (instruction.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
      return instruction.mnemonic == ZYDIS_MNEMONIC_JZ ? Flow::kJumpIfZero : Flow::kLeaves;
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_UINTR:
      return Flow::kLeaves;
    default:
      break;
  }
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_XBEGIN:
    case ZYDIS_MNEMONIC_XABORT:
      return Flow::kLeaves;
    default:
      return instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE ? Flow::kNext : Flow::kLeaves;
  }
}

bool is_register(const ZydisDecodedOperand& operand, ZydisRegister id) {
  return operand.type == ZYDIS_OPERAND_TYPE_REGISTER && operand.reg.value == id;
}

bool tests_argument_0(const ZydisDecodedInstruction& instruction, const Operands& operands) {
  if (instruction.operand_count_visible != 2 || !is_register(operands[0], ZYDIS_REGISTER_RDI)) {
    return false;
  }
  if (instruction.mnemonic == ZYDIS_MNEMONIC_TEST)
    return is_register(operands[1], ZYDIS_REGISTER_RDI);
  return instruction.mnemonic == ZYDIS_MNEMONIC_CMP &&
         operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operands[1].imm.value.u == 0;
}

// For an instruction that writes the stack pointer.
std::optional<uint32_t> stack_growth(const ZydisDecodedInstruction& instruction,
                                     const Operands& operands) {
  if (instruction.mnemonic == ZYDIS_MNEMONIC_PUSH) {
    if (has_prefix(instruction, 0x66)) return std::nullopt;
    return 8;
  }
  const bool lowers = instruction.mnemonic == ZYDIS_MNEMONIC_SUB &&
                      is_register(operands[0], ZYDIS_REGISTER_RSP) &&
                      operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
  if (!lowers) return std::nullopt;
  const int64_t amount = operands[1].imm.value.s;
  if (amount < 0 || amount > std::numeric_limits<int32_t>::max()) return std::nullopt;
  return static_cast<uint32_t>(amount);
}

uint8_t number_of(ZydisRegister general) {
  return static_cast<uint8_t>(ZydisRegisterGetId(general));
}

std::optional<Instruction::Copy> copy_of(const ZydisDecodedInstruction& instruction,
                                         const Operands& operands) {
  const auto is_whole = [](const ZydisDecodedOperand& operand) {
    return operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_GPR64;
  };
  if (instruction.mnemonic != ZYDIS_MNEMONIC_MOV || !is_whole(operands[0]) ||
      !is_whole(operands[1])) {
    return std::nullopt;
  }
  return Instruction::Copy{number_of(operands[0].reg.value), number_of(operands[1].reg.value)};
}

void note_writes(const ZydisDecodedInstruction& instruction, const Operands& operands,
                 Instruction& meaning) {
  // All operands, also those that the text does not show: mul writes rdx, stosb rdi.
  for (std::size_t i = 0; i < instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    if ((operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0) continue;
    const ZydisRegister whole =
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value);
    if (ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64) {
      meaning.registers_written.set(number_of(whole));
    }
    if (whole == ZYDIS_REGISTER_RBP) meaning.frame_pointer_written = true;
    if (whole == ZYDIS_REGISTER_RSP)
      meaning.stack_growth_bytes = stack_growth(instruction, operands);
  }
}

Way way_of(const ZydisDecodedInstruction& instruction, const ZydisDecodedOperand& operand) {
  switch (instruction.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
      return Way::kBranch;
    case ZYDIS_CATEGORY_RET:
      return Way::kReturn;
    case ZYDIS_CATEGORY_INTERRUPT:
      return Way::kEnds;
    case ZYDIS_CATEGORY_UNCOND_BR:
      break;
    default:
      break;
  }
  switch (instruction.mnemonic) {
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT:
      return Way::kEnds;
    case ZYDIS_MNEMONIC_JMP:
      break;
    default:
      return Way::kOn;
  }
  if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return Way::kJump;
  const bool slot = operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
                    operand.mem.base == ZYDIS_REGISTER_RIP &&
                    operand.mem.index == ZYDIS_REGISTER_NONE;
  return slot ? Way::kJumpThroughSlot : Way::kJumpAnywhere;
}

struct Decoded {
  ZydisDecodedInstruction instruction;
  Operands operands;
};

std::optional<Decoded> decode_full(std::span<const uint8_t> code) {
  const ZydisDecoder decoder = make_decoder();
  Decoded decoded;
  const ZyanStatus status = ZydisDecoderDecodeFull(&decoder, code.data(), code.size(),
                                                   &decoded.instruction, decoded.operands.data());
  if (!ZYAN_SUCCESS(status)) return std::nullopt;
  return decoded;
}

}  // namespace

std::optional<Step> step(std::span<const uint8_t> code, Vaddr address) {
  const auto decoded = decode_full(code);
  if (!decoded) return std::nullopt;
  const auto& [instruction, operands] = *decoded;
  Step found;
  found.length_bytes = instruction.length;
  found.way = way_of(instruction, operands[0]);
  if (found.way == Way::kBranch || found.way == Way::kJump || found.way == Way::kJumpThroughSlot) {
    ZyanU64 target = 0;
    if (!ZYAN_SUCCESS(
            ZydisCalcAbsoluteAddress(&instruction, operands.data(), address.value, &target))) {
      return std::nullopt;
    }
    found.target = Vaddr{target};
  }
  return found;
}

std::optional<Vaddr> stub_slot(std::span<const uint8_t> code, Vaddr address) {
  auto first = step(code, address);
  if (first && first->way == Way::kOn && first->length_bytes == 4 && code[0] == 0xf3) {
    address = Vaddr{address.value + first->length_bytes};  // endbr64
    first = step(code.subspan(first->length_bytes), address);
  }
  if (!first || first->way != Way::kJumpThroughSlot) return std::nullopt;
  return first->target;
}

std::optional<Instruction> decode(std::span<const uint8_t> code) {
  const auto decoded = decode_full(code);
  if (!decoded) return std::nullopt;
  const auto& [instruction, operands] = *decoded;

  Instruction meaning;
  meaning.length_bytes = instruction.length;
  meaning.emulated = is_emulated(instruction, code);
  meaning.long_nop = !meaning.emulated && instruction.mnemonic == ZYDIS_MNEMONIC_NOP;
  meaning.flow = flow_of(instruction);
  meaning.tests_argument_0 = tests_argument_0(instruction, operands);
  note_writes(instruction, operands, meaning);
  meaning.copy = copy_of(instruction, operands);
  return meaning;
}

std::string text(std::span<const uint8_t> code, Vaddr address) {
  const ZydisDecoder decoder = make_decoder();
  ZydisDecodedInstruction instruction;
  Operands operands;
  ZyanStatus status =
      ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &instruction, operands.data());
  if (!ZYAN_SUCCESS(status)) return {};

  ZydisFormatter formatter;
  ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE,
                            ZYDIS_PADDING_DISABLED);
  ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
  std::array<char, 128> buffer{};
  status = ZydisFormatterFormatInstruction(&formatter, &instruction, operands.data(),
                                           instruction.operand_count_visible, buffer.data(),
                                           buffer.size(), address.value, nullptr);
  return ZYAN_SUCCESS(status) ? std::string(buffer.data()) : std::string{};
}

std::optional<uint32_t> first_branch_target(std::span<const uint8_t> code) {
  const ZydisDecoder decoder = make_decoder();
  std::optional<uint32_t> lowest;
  std::size_t offset = 0;
  while (offset < code.size()) {
    ZydisDecodedInstruction instruction;
    const ZyanStatus status = ZydisDecoderDecodeInstruction(&decoder, nullptr, code.data() + offset,
                                                            code.size() - offset, &instruction);
    if (!ZYAN_SUCCESS(status)) {
      ++offset;  // data between code: find the way back in
      continue;
    }
    offset += instruction.length;
    if (!instruction.raw.imm[0].is_relative) continue;
    const int64_t target = static_cast<int64_t>(offset) + instruction.raw.imm[0].value.s;
    if (target <= 0 || target >= static_cast<int64_t>(code.size())) continue;
    lowest = std::min(lowest.value_or(std::numeric_limits<uint32_t>::max()),
                      static_cast<uint32_t>(target));
  }
  return lowest;
}

const char* argument_register(std::size_t argument) {
  return kArguments[argument].name;
}

uint8_t argument_register_number(std::size_t argument) {
  return number_of(kArguments[argument].id);
}

}  // namespace tidemark::elf::x86
