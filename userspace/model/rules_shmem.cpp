// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "model/memory_facts.h"
#include "model/memory_rules.h"
#include "model/shmem_account.h"
#include "support/units.h"

namespace tidemark::model {
namespace {

void judge_files(const MemoryFacts& facts, const MemoryPolicy& policy,
                 const std::vector<HeldFile>& files, std::string_view what, Findings& findings) {
  std::size_t found = 0;
  for (const HeldFile& file : files) {
    if (!is_share(facts, policy, file.bytes, policy.large_share)) continue;
    if (++found > policy.most_findings_a_rule) return;
    findings.push_back(
        {.severity = Severity::kSuspect,
         .area = {},
         .what = fmt::format("{} keeps {} in {} {}.", holder_text(file.holder),
                             format_bytes(file.bytes), what, file.name),
         .evidence = fmt::format("{}; held by {} descriptor{}", share_text(facts, file.bytes),
                                 file.holder.descriptors, plural(file.holder.descriptors)),
         .next = fmt::format("it is freed when pid {} closes it or ends", file.holder.pid.value)});
  }
}

}  // namespace

Findings judge_tmpfs_mounts(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  for (const TmpfsMount& mount : facts.owners.tmpfs) {
    if (!mount.bytes || !is_share(facts, policy, *mount.bytes, policy.large_share)) continue;
    if (findings.size() == policy.most_findings_a_rule) break;
    std::string evidence = share_text(facts, *mount.bytes);
    for (const FileSize& file : mount.largest) {
      evidence += fmt::format("; {} {}", file.path, format_bytes(file.bytes));
      if (evidence.size() > 200) break;
    }
    findings.push_back({.severity = Severity::kSuspect,
                        .area = {},
                        .what = fmt::format("Files on {} ({}) take {} of memory.", mount.path,
                                            mount.fs_type, format_bytes(*mount.bytes)),
                        .evidence = evidence,
                        .next = fmt::format("du -axh /proc/{}/root{} | sort -h | tail",
                                            mount.seen_by.value, mount.path)});
  }
  return findings;
}

Findings judge_held_files(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  judge_files(facts, policy, facts.owners.memfds, "the nameless file", findings);
  judge_files(facts, policy, facts.owners.deleted_files, "the deleted file", findings);
  return findings;
}

Findings judge_orphan_segments(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  for (const SysvSegment& segment : facts.owners.sysv_segments) {
    const uint64_t bytes = segment.resident_bytes + segment.swap_bytes;
    if (segment.attached != 0 || bytes < policy.orphan_segment_bytes ||
        findings.size() == policy.most_findings_a_rule) {
      continue;
    }
    findings.push_back(
        {.severity = Severity::kSuspect,
         .area = {},
         .what =
             fmt::format("SysV shared memory segment {} holds {}, and nobody is attached to it.",
                         segment.id, format_bytes(bytes)),
         .evidence = fmt::format(
             "nattch 0; made by pid {} ({}), last used by pid {}", segment.creator.value,
             segment.creator_comm.value_or("which is gone"), segment.last_user.value),
         .next = fmt::format("if it is not wanted any more: ipcrm -m {}", segment.id)});
  }
  return findings;
}

Findings judge_unexplained_shmem(const MemoryFacts& facts, const MemoryPolicy& policy) {
  const auto shmem = meminfo_bytes(facts, "Shmem");
  const auto account = account_shmem(shmem, facts.owners);
  if (!account.unexplained_bytes ||
      !is_share(facts, policy, *account.unexplained_bytes, policy.large_share)) {
    return {};
  }
  return {
      {.severity = Severity::kSuspect,
       .area = {},
       .what = fmt::format("{} of shared memory is in no file, segment or mount that we found.",
                           format_bytes(*account.unexplained_bytes)),
       .evidence =
           fmt::format("Shmem {}; mounts {}, nameless files {}, segments {}",
                       format_bytes(shmem.value_or(0)), format_bytes(account.mount_bytes),
                       format_bytes(account.nameless_bytes), format_bytes(account.segment_bytes)),
       .next = "shared anonymous mappings and buffers of graphics drivers are of this kind: see "
               "RssShmem of the processes, and /proc/PID/fdinfo for drm-memory"}};
}

}  // namespace tidemark::model
