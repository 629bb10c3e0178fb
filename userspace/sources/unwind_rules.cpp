// SPDX-License-Identifier: Apache-2.0
#include "sources/unwind_rules.h"

#include <algorithm>

#include "support/target_file.h"

namespace tidemark::sources {
namespace {

tm_rule kind_only(tm_rule_kind kind) {
  tm_rule rule{};
  rule.kind = static_cast<uint8_t>(kind);
  return rule;
}

tm_rule to_rule(const elf::FrameRule& frame) {
  tm_rule rule{};
  rule.kind = frame.base == elf::CfaBase::kStackPointer ? TM_RULE_SP : TM_RULE_FP;
  rule.cfa_offset = frame.cfa_offset_bytes;
  rule.saves_fp = frame.saved_frame_pointer_bytes.has_value() ? 1 : 0;
  rule.fp_offset = frame.saved_frame_pointer_bytes.value_or(0);
  return rule;
}

tm_rule to_rule(elf::NoRule reason) {
  switch (reason) {
    case elf::NoRule::kBottom:
      return kind_only(TM_RULE_BOTTOM);
    case elf::NoRule::kNoUnwindData:
      return kind_only(TM_RULE_CHAIN);
    case elf::NoRule::kUnsupported:
      break;
  }
  return kind_only(TM_RULE_NONE);
}

}  // namespace

std::shared_ptr<UnwindRules::Binary> UnwindRules::binary_of(model::Pid pid,
                                                            const model::Mapping& mapping) {
  const auto known = binaries_.find(mapping.file);
  if (known != binaries_.end()) return known->second;
  auto file = open_mapped_file(mapped_file(pid, mapping));
  auto image = file ? elf::Image::open(std::move(*file), mapping.path)
                    : Result<elf::Image>(std::unexpected(file.error()));
  auto frames = image ? elf::CallFrames::open(*image)
                      : Result<elf::CallFrames>(std::unexpected(image.error()));
  // Not remembered: another process may let us read the same file.
  if (!frames) return nullptr;
  auto binary = std::make_shared<Binary>(std::move(*image), std::move(*frames), mapping.path);
  binaries_.emplace(mapping.file, binary);
  return binary;
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
    regions[start] = {end, mapping.file_offset_bytes, mapping.file,
                      mapping.file.inode != 0 ? binary_of(image.pid, mapping) : nullptr};
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

tm_rule UnwindRules::rule_for(model::Generation owner, model::Address return_address) const {
  const auto* place = region_at(owner, return_address);
  if (place == nullptr) return kind_only(TM_RULE_NONE);
  const auto& [start, region] = *place;
  if (!region.binary) return kind_only(TM_RULE_CHAIN);
  // The call's own address: the return address may lie behind the end of a segment.
  const elf::FileOffset call{return_address.value - 1 - start + region.file_offset_bytes};
  const auto address = region.binary->image.to_vaddr(call);
  if (!address) return kind_only(TM_RULE_CHAIN);
  const auto rule = region.binary->frames.rule_at(elf::Vaddr{address->value + 1});
  return rule ? to_rule(*rule) : to_rule(rule.error());
}

}  // namespace tidemark::sources
