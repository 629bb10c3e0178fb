// SPDX-License-Identifier: Apache-2.0
#include "unwind/frame_program.h"

#include <dwarf.h>

#include <optional>
#include <vector>

#include "elf/byte_reader.h"

namespace tidemark::unwind {
namespace {

using elf::ByteReader;
using elf::Instructions;

// DWARF's numbers of registers on x86-64.
constexpr uint64_t kFp = 6;
constexpr uint64_t kSp = 7;
constexpr uint64_t kPc = 16;

// Programs of compilers nest these twice at most.
constexpr std::size_t kRememberedLimit = 64;

// Where the caller's value of a register is.
enum class How : uint8_t { kUnsaid, kSame, kUndefined, kAtCfa, kAtExpression, kOther };
struct Saved {
  How how = How::kUnsaid;
  int64_t offset_bytes = 0;
  Instructions expression;
};

struct State {
  bool cfa_known = false;
  uint64_t cfa_register = 0;
  int64_t cfa_offset = 0;
  std::optional<Instructions> cfa_expression;
  Saved fp;
  Saved pc;

  Saved* saved(uint64_t number) {
    if (number == kFp) return &fp;
    return number == kPc ? &pc : nullptr;
  }
};

bool fits(int64_t bytes) {
  return bytes % 8 == 0 && bytes >= -0x40000 && bytes < 0x40000;
}

// register + offset, nothing behind it.
struct Place {
  uint64_t base = 0;
  int64_t offset = 0;
};
std::optional<Place> read_place(ByteReader& expression) {
  const auto operation = expression.number<uint8_t>();
  if (!operation || *operation < DW_OP_breg0 || *operation > DW_OP_breg31) return std::nullopt;
  const auto offset = expression.signed_leb();
  if (!offset) return std::nullopt;
  return Place{static_cast<uint64_t>(*operation - DW_OP_breg0), *offset};
}

// What linkers write for the slots of a PLT: rsp + 8 + ((rip & 15) >= N ? 8 : 0).
std::optional<FrameRule> plt_rule(ByteReader expression) {
  const auto sp = read_place(expression);
  const auto pc = read_place(expression);
  if (!sp || !pc || sp->base != kSp || pc->base != kPc || pc->offset != 0) return std::nullopt;
  const auto operations = expression.bytes(7);
  if (!operations || !expression.empty()) return std::nullopt;
  const auto& op = *operations;
  const bool as_expected = op[0] == DW_OP_lit15 && op[1] == DW_OP_and && op[2] >= DW_OP_lit0 &&
                           op[2] <= DW_OP_lit15 && op[3] == DW_OP_ge && op[4] == DW_OP_lit3 &&
                           op[5] == DW_OP_shl && op[6] == DW_OP_plus;
  if (!as_expected || !fits(sp->offset)) return std::nullopt;
  FrameRule rule;
  rule.cfa = Cfa::kPlt;
  rule.cfa_offset_bytes = static_cast<int32_t>(sp->offset);
  rule.extra = static_cast<uint8_t>(op[2] - DW_OP_lit0);
  return rule;
}

// *(register + offset) + a multiple of 8; or register + offset alone.
std::optional<FrameRule> place_rule(ByteReader expression) {
  const auto place = read_place(expression);
  if (!place || !fits(place->offset) || (place->base != kSp && place->base != kFp)) {
    return std::nullopt;
  }
  const bool from_sp = place->base == kSp;
  FrameRule rule;
  rule.cfa = from_sp ? Cfa::kSp : Cfa::kFp;
  rule.cfa_offset_bytes = static_cast<int32_t>(place->offset);
  if (expression.empty()) return rule;
  rule.cfa = from_sp ? Cfa::kDerefSp : Cfa::kDerefFp;
  if (expression.number<uint8_t>() != DW_OP_deref) return std::nullopt;
  if (expression.empty()) return rule;
  if (expression.number<uint8_t>() != DW_OP_plus_uconst) return std::nullopt;
  const auto added = expression.unsigned_leb();
  if (!added || *added % 8 != 0 || *added > 15 * 8 || !expression.empty()) return std::nullopt;
  rule.extra = static_cast<uint8_t>(*added / 8);
  return rule;
}

std::optional<FrameRule> cfa_rule(const State& state) {
  if (!state.cfa_known) return std::nullopt;
  if (state.cfa_expression) {
    const ByteReader expression(*state.cfa_expression);
    const auto plt = plt_rule(expression);
    return plt ? plt : place_rule(expression);
  }
  if (!fits(state.cfa_offset)) return std::nullopt;
  if (state.cfa_register != kSp && state.cfa_register != kFp) return std::nullopt;
  FrameRule rule;
  rule.cfa = state.cfa_register == kSp ? Cfa::kSp : Cfa::kFp;
  rule.cfa_offset_bytes = static_cast<int32_t>(state.cfa_offset);
  return rule;
}

// A register that is saved at register + offset, whatever the CFA.
std::optional<Place> saved_place(const Saved& saved) {
  if (saved.how != How::kAtExpression) return std::nullopt;
  ByteReader expression(saved.expression);
  const auto place = read_place(expression);
  return place && expression.empty() ? place : std::nullopt;
}

bool is_signal_frame(const State& state, const FrameRule& rule) {
  const auto pc = saved_place(state.pc);
  const auto fp = saved_place(state.fp);
  return rule.cfa == Cfa::kDerefSp && rule.cfa_offset_bytes == kSignalSp && rule.extra == 0 && pc &&
         pc->base == kSp && pc->offset == kSignalPc && fp && fp->base == kSp &&
         fp->offset == kSignalFp;
}

FrameRule only(Cfa cfa) {
  FrameRule rule;
  rule.cfa = cfa;
  return rule;
}

void say_saved_fp(const Saved& fp, FrameRule& rule) {
  rule.saved_fp = SavedFp::kLost;
  if (fp.how == How::kUnsaid || fp.how == How::kSame) {
    rule.saved_fp = SavedFp::kSame;
  } else if (fp.how == How::kAtCfa && fits(fp.offset_bytes)) {
    rule.saved_fp = SavedFp::kAtCfa;
    rule.fp_offset_bytes = static_cast<int32_t>(fp.offset_bytes);
  } else if (const auto place = saved_place(fp);
             place && place->base == kFp && fits(place->offset)) {
    rule.saved_fp = SavedFp::kAtFp;
    rule.fp_offset_bytes = static_cast<int32_t>(place->offset);
  }
}

FrameRule to_rule(const State& state, bool signal_frame) {
  if (state.pc.how == How::kUndefined) return only(Cfa::kBottom);
  auto rule = cfa_rule(state);
  if (!rule) return only(Cfa::kUnsupported);
  if (signal_frame) {
    return only(is_signal_frame(state, *rule) ? Cfa::kSignal : Cfa::kUnsupported);
  }
  const bool behind_cfa = state.pc.how == How::kAtCfa && state.pc.offset_bytes == -8;
  if (!behind_cfa) return only(Cfa::kUnsupported);
  say_saved_fp(state.fp, *rule);
  return *rule;
}

// One run over the instructions of a CIE or an FDE. `initial`: what DW_CFA_restore goes back to.
class Machine {
 public:
  Machine(const elf::FrameCommon& common, uint64_t start, uint64_t end, State state)
      : common_(common), location_(start), end_(end), state_(state), initial_(state) {}

  [[nodiscard]] const State& state() const { return state_; }
  void when_it_moves(const RuleSink* sink) { sink_ = sink; }

  bool run(Instructions instructions) {
    ByteReader bytes(instructions);
    while (!bytes.empty()) {
      const auto code = bytes.number<uint8_t>();
      if (!code || !carry_out(*code, bytes)) return false;
      if (location_ >= end_) break;
    }
    return true;
  }
  // The rule that holds where the machine has come to.
  void tell() const {
    if (location_ < end_) (*sink_)(location_, to_rule(state_, common_.signal_frame));
  }
  void tell_unsupported() const {
    if (location_ < end_) (*sink_)(location_, only(Cfa::kUnsupported));
  }

 private:
  bool carry_out(uint8_t code, ByteReader& bytes) {
    const uint8_t low = code & 0x3f;
    switch (code & 0xc0) {
      case DW_CFA_advance_loc:
        return advance(low);
      case DW_CFA_offset:
        return save_at(low, bytes.unsigned_leb(), 1);
      case DW_CFA_restore:
        return restore(low);
      default:
        break;
    }
    switch (code) {
      case DW_CFA_nop:
        return true;
      case DW_CFA_set_loc:
        return false;  // is written as a pointer is; compilers do not use it
      case DW_CFA_advance_loc1:
        return advance(bytes.number<uint8_t>());
      case DW_CFA_advance_loc2:
        return advance(bytes.number<uint16_t>());
      case DW_CFA_advance_loc4:
        return advance(bytes.number<uint32_t>());
      case DW_CFA_remember_state:
        if (remembered_.size() == kRememberedLimit) return false;
        remembered_.push_back(state_);
        return true;
      case DW_CFA_restore_state:
        if (remembered_.empty()) return false;
        state_ = remembered_.back();
        remembered_.pop_back();
        return true;
      default:
        return define_cfa(code, bytes) || save(code, bytes);
    }
  }

  template <typename Number>
  bool advance(std::optional<Number> delta) {
    return delta.has_value() && advance(uint64_t{*delta});
  }
  bool advance(uint8_t delta) { return advance(uint64_t{delta}); }
  bool advance(uint64_t delta) {
    if (common_.code_alignment > 16) return false;
    if (delta == 0) return true;
    if (sink_ == nullptr) return false;  // a CIE has no place to go to
    tell();
    location_ += delta * common_.code_alignment;
    return true;
  }

  bool define_cfa(uint8_t code, ByteReader& bytes) {
    const auto set = [this](std::optional<uint64_t> base, std::optional<int64_t> offset) {
      if (!base || !offset) return false;
      state_.cfa_known = true;
      state_.cfa_expression.reset();
      state_.cfa_register = *base;
      state_.cfa_offset = *offset;
      return true;
    };
    const auto as_signed = [](std::optional<uint64_t> number) {
      return number ? std::optional(static_cast<int64_t>(*number)) : std::nullopt;
    };
    switch (code) {
      case DW_CFA_def_cfa: {
        const auto base = bytes.unsigned_leb();
        return set(base, as_signed(bytes.unsigned_leb()));
      }
      case DW_CFA_def_cfa_sf: {
        const auto base = bytes.unsigned_leb();
        return set(base, factored(bytes.signed_leb()));
      }
      case DW_CFA_def_cfa_register:
        return set(bytes.unsigned_leb(), state_.cfa_offset);
      case DW_CFA_def_cfa_offset:
        return set(state_.cfa_register, as_signed(bytes.unsigned_leb()));
      case DW_CFA_def_cfa_offset_sf:
        return set(state_.cfa_register, factored(bytes.signed_leb()));
      case DW_CFA_def_cfa_expression: {
        const auto block = read_block(bytes);
        if (!block) return false;
        state_.cfa_known = true;
        state_.cfa_expression = *block;
        return true;
      }
      default:
        return false;
    }
  }

  // The instructions that say where a register is.
  bool save(uint8_t code, ByteReader& bytes) {
    if (code == DW_CFA_GNU_args_size) return bytes.unsigned_leb().has_value();
    const auto number = bytes.unsigned_leb();
    if (!number) return false;
    switch (code) {
      case DW_CFA_offset_extended:
        return save_at(*number, bytes.unsigned_leb(), 1);
      case DW_CFA_GNU_negative_offset_extended:
        return save_at(*number, bytes.unsigned_leb(), -1);
      case DW_CFA_offset_extended_sf: {
        const auto offset = factored(bytes.signed_leb());
        return offset && note(*number, {How::kAtCfa, *offset, {}});
      }
      case DW_CFA_restore_extended:
        return restore(*number);
      case DW_CFA_undefined:
        return note(*number, {How::kUndefined, 0, {}});
      case DW_CFA_same_value:
        return note(*number, {How::kSame, 0, {}});
      case DW_CFA_register:
      case DW_CFA_val_offset:
        return bytes.unsigned_leb() && note(*number, {How::kOther, 0, {}});
      case DW_CFA_val_offset_sf:
        return bytes.signed_leb() && note(*number, {How::kOther, 0, {}});
      case DW_CFA_val_expression:
        return read_block(bytes) && note(*number, {How::kOther, 0, {}});
      case DW_CFA_expression: {
        const auto block = read_block(bytes);
        return block && note(*number, {How::kAtExpression, 0, *block});
      }
      default:
        return false;
    }
  }

  bool note(uint64_t number, const Saved& saved) {
    if (Saved* place = state_.saved(number)) *place = saved;
    return true;
  }
  bool save_at(uint64_t number, std::optional<uint64_t> factor, int64_t sign) {
    if (!factor) return false;
    const auto offset = factored(static_cast<int64_t>(*factor));
    return offset && note(number, {How::kAtCfa, *offset * sign, {}});
  }
  bool restore(uint64_t number) {
    State initial = initial_;
    if (const Saved* saved = initial.saved(number)) note(number, *saved);
    return true;
  }
  // Neither the factor of a compiler nor what it multiplies is anywhere near these bounds.
  [[nodiscard]] std::optional<int64_t> factored(std::optional<int64_t> number) const {
    constexpr int64_t kLimit = int64_t{1} << 30;
    const auto small = [](int64_t value) { return value > -kLimit && value < kLimit; };
    if (!number || !small(*number) || !small(common_.data_alignment)) return std::nullopt;
    return *number * common_.data_alignment;
  }
  static std::optional<Instructions> read_block(ByteReader& bytes) {
    const auto length = bytes.unsigned_leb();
    return length ? bytes.bytes(*length) : std::nullopt;
  }

  const elf::FrameCommon& common_;
  uint64_t location_;
  uint64_t end_;
  State state_;
  State initial_;
  std::vector<State> remembered_;
  const RuleSink* sink_ = nullptr;
};

}  // namespace

bool run_frame_program(const elf::FrameCommon& common, const elf::FrameEntry& entry,
                       const RuleSink& sink) {
  const uint64_t start = entry.start.value;
  const uint64_t end = start + entry.size_bytes;
  Machine common_part(common, start, end, {});
  bool sensible = common_part.run(common.instructions) && common.return_address_register == kPc;
  Machine machine(common, start, end, common_part.state());
  machine.when_it_moves(&sink);
  sensible = sensible && machine.run(entry.instructions);
  if (sensible) {
    machine.tell();
  } else {
    machine.tell_unsupported();
  }
  return sensible;
}

}  // namespace tidemark::unwind
