// SPDX-License-Identifier: Apache-2.0
#include "model/shmem_account.h"

#include <set>
#include <string_view>

namespace tidemark::model {
namespace {

// ramfs has no books, and hugetlbfs is in Hugetlb: neither is in Shmem.
bool is_in_shmem(std::string_view fs_type) {
  return fs_type == "tmpfs" || fs_type == "devtmpfs" || fs_type.empty();
}

}  // namespace

ShmemAccount account_shmem(std::optional<uint64_t> shmem_bytes, const MemoryOwners& owners) {
  ShmemAccount account;
  std::set<uint64_t> mounted;
  for (const TmpfsMount& mount : owners.tmpfs) {
    if (!is_in_shmem(mount.fs_type)) continue;
    mounted.insert(mount.device);
    account.mount_bytes += mount.bytes.value_or(0);
  }
  for (const std::vector<HeldFile>* files : {&owners.memfds, &owners.deleted_files}) {
    for (const HeldFile& file : *files) {
      if (!is_in_shmem(file.fs_type) || mounted.contains(file.device)) continue;
      account.nameless_bytes += file.resident_bytes.value_or(file.bytes);
    }
  }
  for (const SysvSegment& segment : owners.sysv_segments) {
    account.segment_bytes += segment.resident_bytes;
  }
  if (!shmem_bytes) return account;
  const uint64_t sum = account.mount_bytes + account.nameless_bytes + account.segment_bytes;
  account.unexplained_bytes = *shmem_bytes > sum ? *shmem_bytes - sum : 0;
  return account;
}

}  // namespace tidemark::model
