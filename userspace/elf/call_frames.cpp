// SPDX-License-Identifier: Apache-2.0
#include "elf/call_frames.h"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <array>
#include <cstdlib>
#include <span>

#include "elf/libelf_handle.h"

namespace tidemark::elf {
namespace {

// DWARF numbers of the registers that a walk needs.
struct Registers {
  int frame_pointer;
  int stack_pointer;
  int return_address;
};

std::optional<Registers> registers_of(Machine machine) {
  if (machine == Machine::kX86_64) return Registers{6, 7, 16};
  if (machine == Machine::kArm64) return Registers{29, 31, 30};
  return std::nullopt;
}

struct FrameEnd {
  void operator()(Dwarf_Frame* frame) const { std::free(frame); }  // says elfutils/libdw.h
};
using FrameHandle = std::unique_ptr<Dwarf_Frame, FrameEnd>;

using Operations = std::span<const Dwarf_Op>;

// What of a saved register a rule of ours can say.
enum class SavedAs { kSameValue, kAtOffset, kUndefined, kOther };
struct Saved {
  SavedAs how = SavedAs::kOther;
  int32_t offset_bytes = 0;
};

// elfutils gives "saved at CFA + n" as the operations call_frame_cfa [plus_uconst n], a negative n
// as consts/plus.
Saved saved_register(Dwarf_Frame* frame, int number) {
  std::array<Dwarf_Op, 3> memory{};
  Dwarf_Op* list = nullptr;
  std::size_t count = 0;
  if (dwarf_frame_register(frame, number, memory.data(), &list, &count) != 0) return {};
  if (count == 0) return {list == nullptr ? SavedAs::kSameValue : SavedAs::kUndefined, 0};
  const Operations operations(list, count);
  if (operations[0].atom != DW_OP_call_frame_cfa) return {};
  if (count == 1) return {SavedAs::kAtOffset, 0};
  if (count == 2 && operations[1].atom == DW_OP_plus_uconst) {
    return {SavedAs::kAtOffset, static_cast<int32_t>(operations[1].number)};
  }
  return {};
}

}  // namespace

struct CallFrames::Handles {
  ElfHandle elf;
  Dwarf* debug = nullptr;
  Dwarf_CFI* exceptions = nullptr;  // .eh_frame; to be ended
  Dwarf_CFI* debugging = nullptr;   // .debug_frame; belongs to `debug`
  std::optional<Registers> registers;
};

void CallFrames::Release::operator()(Handles* handles) const noexcept {
  if (handles->exceptions != nullptr) dwarf_cfi_end(handles->exceptions);
  if (handles->debug != nullptr) dwarf_end(handles->debug);
  delete handles;
}

CallFrames::CallFrames(std::unique_ptr<Handles, Release> handles) : handles_(std::move(handles)) {}

Result<CallFrames> CallFrames::open(const Image& image) {
  std::unique_ptr<Handles, Release> handles(new Handles);
  auto elf = begin_elf(image.file());
  if (!elf) return std::unexpected(elf.error());
  handles->elf = std::move(*elf);
  handles->exceptions = dwarf_getcfi_elf(handles->elf.get());
  handles->debug = dwarf_begin_elf(handles->elf.get(), DWARF_C_READ, nullptr);
  if (handles->debug != nullptr) handles->debugging = dwarf_getcfi(handles->debug);
  handles->registers = registers_of(image.machine());
  return CallFrames(std::move(handles));
}

std::expected<FrameRule, NoRule> CallFrames::rule_at(Vaddr return_address) const {
  if (!handles_->registers) return std::unexpected(NoRule::kNoUnwindData);
  const Registers& registers = *handles_->registers;
  Dwarf_Frame* found = nullptr;
  for (Dwarf_CFI* source : {handles_->exceptions, handles_->debugging}) {
    if (found == nullptr && source != nullptr &&
        dwarf_cfi_addrframe(source, return_address.value - 1, &found) != 0) {
      found = nullptr;
    }
  }
  const FrameHandle frame(found);
  if (!frame) return std::unexpected(NoRule::kNoUnwindData);

  if (saved_register(frame.get(), registers.return_address).how == SavedAs::kUndefined) {
    return std::unexpected(NoRule::kBottom);
  }
  Dwarf_Op* list = nullptr;
  std::size_t count = 0;
  if (dwarf_frame_cfa(frame.get(), &list, &count) != 0 || count != 1) {
    return std::unexpected(NoRule::kUnsupported);
  }
  FrameRule rule;
  rule.cfa_offset_bytes = static_cast<int32_t>(list[0].number2);
  if (list[0].atom != DW_OP_bregx) return std::unexpected(NoRule::kUnsupported);
  const auto base = static_cast<int>(list[0].number);
  if (base != registers.stack_pointer && base != registers.frame_pointer) {
    return std::unexpected(NoRule::kUnsupported);
  }
  rule.base = base == registers.stack_pointer ? CfaBase::kStackPointer : CfaBase::kFramePointer;
  const Saved saved = saved_register(frame.get(), registers.frame_pointer);
  if (saved.how == SavedAs::kOther) return std::unexpected(NoRule::kUnsupported);
  if (saved.how == SavedAs::kAtOffset) rule.saved_frame_pointer_bytes = saved.offset_bytes;
  return rule;
}

}  // namespace tidemark::elf
