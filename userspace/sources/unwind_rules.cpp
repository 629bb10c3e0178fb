// SPDX-License-Identifier: Apache-2.0
#include "sources/unwind_rules.h"

#include <algorithm>

#include "elf/return_address.h"
#include "elf/vdso.h"
#include "support/target_file.h"

namespace tidemark::sources {
namespace {

static_assert(unwind::kSignalSp == TM_SIGNAL_SP && unwind::kSignalFp == TM_SIGNAL_FP &&
              unwind::kSignalPc == TM_SIGNAL_PC);

tm_rule kind_only(tm_rule_kind kind) {
  tm_rule rule{};
  rule.kind = static_cast<uint8_t>(kind);
  return rule;
}

uint8_t to_saved_fp(unwind::SavedFp saved) {
  switch (saved) {
    case unwind::SavedFp::kSame:
      return TM_FP_SAME;
    case unwind::SavedFp::kAtCfa:
      return TM_FP_AT_CFA;
    case unwind::SavedFp::kAtFp:
      return TM_FP_AT_FP;
    case unwind::SavedFp::kLost:
      break;
  }
  return TM_FP_LOST;
}

tm_rule with_offsets(tm_rule_kind kind, const unwind::FrameRule& frame) {
  tm_rule rule = kind_only(kind);
  rule.cfa_offset = frame.cfa_offset_bytes;
  rule.saved_fp = to_saved_fp(frame.saved_fp);
  rule.fp_offset = frame.fp_offset_bytes;
  return rule;
}

// The rule for one address: what depends on it alone is settled.
tm_rule to_rule(const unwind::FrameRule& frame, elf::Vaddr address) {
  tm_rule rule{};
  switch (frame.cfa) {
    case unwind::Cfa::kNoData:
      return kind_only(TM_RULE_CHAIN);
    case unwind::Cfa::kUnsupported:
      return kind_only(TM_RULE_NONE);
    case unwind::Cfa::kBottom:
      return kind_only(TM_RULE_BOTTOM);
    case unwind::Cfa::kSignal:
      return kind_only(TM_RULE_SIGNAL);
    case unwind::Cfa::kSp:
      return with_offsets(TM_RULE_SP, frame);
    case unwind::Cfa::kFp:
      return with_offsets(TM_RULE_FP, frame);
    case unwind::Cfa::kPlt:
      rule = with_offsets(TM_RULE_SP, frame);
      if ((address.value & 15) >= frame.extra) rule.cfa_offset += 8;
      return rule;
    case unwind::Cfa::kDerefSp:
    case unwind::Cfa::kDerefFp:
      break;
  }
  rule =
      with_offsets(frame.cfa == unwind::Cfa::kDerefSp ? TM_RULE_DEREF_SP : TM_RULE_DEREF_FP, frame);
  rule.cfa_added = static_cast<uint8_t>(frame.extra * 8);
  return rule;
}

}  // namespace

// Compiled now: once the target is traced, its first stacks wait for the rules.
std::shared_ptr<UnwindRules::Binary> UnwindRules::binary_of(model::Pid pid,
                                                            const model::Mapping& mapping) {
  if (mapping.path == elf::kVdsoPath) return vdso();
  if (mapping.file.inode == 0) return nullptr;
  const auto known = binaries_.find(mapping.file);
  if (known != binaries_.end()) return known->second;
  auto file = open_mapped_file(mapped_file(pid, mapping));
  auto image = file ? elf::Image::open(std::move(*file), mapping.path)
                    : Result<elf::Image>(std::unexpected(file.error()));
  auto frames = image ? unwind::FrameTable::compile(*image)
                      : Result<unwind::FrameTable>(std::unexpected(image.error()));
  // Not remembered: another process may let us read the same file.
  if (!frames) return nullptr;
  auto binary = std::make_shared<Binary>(std::move(*image), std::move(*frames), mapping.path);
  binaries_.emplace(mapping.file, binary);
  return binary;
}

std::shared_ptr<UnwindRules::Binary> UnwindRules::vdso() {
  if (!vdso_) {
    auto image = elf::open_vdso();
    auto frames = image ? unwind::FrameTable::compile(*image)
                        : Result<unwind::FrameTable>(std::unexpected(image.error()));
    vdso_ = frames ? std::make_shared<Binary>(*std::move(image), *std::move(frames),
                                              std::string(elf::kVdsoPath))
                   : nullptr;
  }
  return *vdso_;
}

std::vector<UnwindRules::Range> UnwindRules::learn(model::Generation owner,
                                                   const model::ProcessImage& image) {
  std::vector<Range> replaced;
  Regions& regions = owners_[owner];
  for (const model::Mapping& mapping : image.mappings) {
    if (!mapping.executable) continue;
    const uint64_t start = mapping.start.value;
    const uint64_t end = mapping.end.value;
    auto overlapped = regions.upper_bound(start);
    if (overlapped != regions.begin() && std::prev(overlapped)->second.end > start) --overlapped;
    while (overlapped != regions.end() && overlapped->first < end) {
      const uint64_t old_start = overlapped->first;
      const Region old = overlapped->second;
      const bool same_code = old.file == mapping.file &&
                             old_start - old.file_offset_bytes == start - mapping.file_offset_bytes;
      if (!same_code) replaced.push_back({std::max(old_start, start), std::min(old.end, end)});
      overlapped = regions.erase(overlapped);
      if (old_start < start)
        regions[old_start] = {start, old.file_offset_bytes, old.file, old.binary};
      if (old.end > end) {
        regions[end] = {old.end, old.file_offset_bytes + (end - old_start), old.file, old.binary};
      }
    }
    regions[start] = {end, mapping.file_offset_bytes, mapping.file, binary_of(image.pid, mapping)};
  }
  return replaced;
}

const std::pair<const uint64_t, UnwindRules::Region>* UnwindRules::region_at(
    model::Generation owner, model::Address return_address) const {
  const auto regions = owners_.find(owner);
  if (regions == owners_.end() || return_address.value == 0) return nullptr;
  const uint64_t call = return_address.value - 1;
  const auto next = regions->second.upper_bound(call);
  if (next == regions->second.begin() || std::prev(next)->second.end <= call) return nullptr;
  return &*std::prev(next);
}

bool UnwindRules::knows(model::Generation owner, model::Address return_address) const {
  return region_at(owner, return_address) != nullptr;
}

std::optional<UnwindRules::Place> UnwindRules::place_of(model::Generation owner,
                                                        model::Address return_address) const {
  const auto* place = region_at(owner, return_address);
  if (place == nullptr || !place->second.binary) return std::nullopt;
  const auto& [start, region] = *place;
  Binary& binary = *region.binary;
  const elf::FileOffset call{return_address.value - 1 - start + region.file_offset_bytes};
  const auto address = binary.image.to_vaddr(call);
  if (!address) return std::nullopt;
  return Place{binary.image, *address, region.file, binary.path};
}

std::optional<TableFacts> UnwindRules::table_at(model::Generation owner,
                                                model::Address address) const {
  const auto* place = region_at(owner, {address.value + 1});
  if (place == nullptr || !place->second.binary) return std::nullopt;
  const unwind::FrameTable& table = place->second.binary->frames;
  if (table.rows() == 0) return std::nullopt;
  return TableFacts{table.rows(), table.size_bytes(), table.counts().unsupported_rows};
}

tm_rule UnwindRules::rule_for(model::Generation owner, model::Address return_address) const {
  const auto* place = region_at(owner, return_address);
  if (place == nullptr) return kind_only(TM_RULE_NONE);
  const auto& [start, region] = *place;
  if (!region.binary) return kind_only(TM_RULE_CHAIN);
  // The call's own address: the return address may lie behind the end of a segment.
  const elf::FileOffset call{return_address.value - 1 - start + region.file_offset_bytes};
  const auto address = region.binary->image.to_vaddr(call);
  if (!address) return kind_only(TM_RULE_CHAIN);
  const unwind::FrameTable& table = region.binary->frames;
  const unwind::FrameRule frame = table.rule_at(*address);
  if (frame.cfa != unwind::Cfa::kNoData) return to_rule(frame, *address);
  const elf::Image& image = region.binary->image;
  const elf::Vaddr returned_to{address->value + 1};
  if (elf::is_signal_return(image, returned_to)) return kind_only(TM_RULE_SIGNAL);
  // The first function of a stack that was made, as makecontext() does: nobody called it.
  const bool begins_here = table.rule_at(returned_to).cfa != unwind::Cfa::kNoData;
  return kind_only(begins_here && !elf::may_follow_call(image, returned_to) ? TM_RULE_BOTTOM
                                                                            : TM_RULE_CHAIN);
}

}  // namespace tidemark::sources
