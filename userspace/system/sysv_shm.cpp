// SPDX-License-Identifier: Apache-2.0
#include "system/sysv_shm.h"

#include <algorithm>
#include <array>
#include <optional>

#include "support/file.h"
#include "support/strings.h"
#include "system/namespaces.h"
#include "system/process_list.h"

namespace tidemark::system {
namespace {

// The columns of /proc/sysvipc/shm. The last two came with Linux 2.6.34.
enum Column {
  kKey,
  kId,
  kPermissions,
  kSize,
  kCreator,
  kLastUser,
  kAttached,
  kOwner,
  kGroup,
  kCreatorUser,
  kCreatorGroup,
  kAttachTime,
  kDetachTime,
  kChangeTime,
  kResident,
  kSwap,
  kColumns
};

std::optional<model::SysvSegment> parse_line(std::string_view line) {
  std::array<std::optional<int64_t>, kColumns> values;
  for (auto& value : values) value = parse_number<int64_t>(next_word(line));
  if (std::ranges::any_of(values, [](const auto& value) { return !value; })) return std::nullopt;
  model::SysvSegment segment;
  segment.key = static_cast<int32_t>(*values[kKey]);
  segment.id = static_cast<int32_t>(*values[kId]);
  segment.size_bytes = static_cast<uint64_t>(*values[kSize]);
  segment.resident_bytes = static_cast<uint64_t>(*values[kResident]);
  segment.swap_bytes = static_cast<uint64_t>(*values[kSwap]);
  segment.attached = static_cast<uint64_t>(*values[kAttached]);
  segment.creator = model::Pid{static_cast<int32_t>(*values[kCreator])};
  segment.last_user = model::Pid{static_cast<int32_t>(*values[kLastUser])};
  segment.owner_uid = static_cast<uint32_t>(*values[kOwner]);
  return segment;
}

Status read_here(model::Inode ipc_namespace, std::vector<model::SysvSegment>& segments) {
  const auto text = read_file("/proc/sysvipc/shm");
  if (!text) return std::unexpected(text.error());
  for (model::SysvSegment& segment : parse_sysv_segments(*text)) {
    segment.ipc_namespace = ipc_namespace;
    const std::string comm = read_comm(segment.creator);
    if (!comm.empty()) segment.creator_comm = comm;
    segments.push_back(std::move(segment));
  }
  return {};
}

}  // namespace

std::vector<model::SysvSegment> parse_sysv_segments(std::string_view text) {
  std::vector<model::SysvSegment> segments;
  for_each_line(text, [&](std::string_view line) {
    if (auto segment = parse_line(line)) segments.push_back(std::move(*segment));
  });
  return segments;
}

void read_sysv_segments(const std::vector<Namespace>& ipcs,
                        std::vector<model::SysvSegment>& segments,
                        std::vector<model::Coverage>& coverage) {
  model::Coverage line{"sysvipc/shm", model::HookState::kOn, {}};
  for (const Namespace& ipc : ipcs) {
    Status status;
    const auto entered = run_inside(ipc, [&] { status = read_here(ipc.inode, segments); });
    const Status& worse = entered ? status : entered;
    if (worse || line.reason) continue;
    line.state = ipc.is_own ? model::HookState::kMissing : model::HookState::kOff;
    line.reason = worse.error().text;
  }
  std::ranges::stable_sort(segments, std::ranges::greater{}, [](const model::SysvSegment& segment) {
    return segment.resident_bytes + segment.swap_bytes;
  });
  coverage.push_back(std::move(line));
}

}  // namespace tidemark::system
