// SPDX-License-Identifier: Apache-2.0
#include "collect/memory_owners.h"

#include <algorithm>
#include <string>

#include "sources/bpf_maps.h"
#include "system/owners.h"

namespace tidemark::collect {
namespace {

using model::HookState;
using model::OwnersPath;

constexpr const char* kIterator = "iter/task_file";
constexpr const char* kMappings = "iter/task_vma";

// What of Shmem may stay unexplained before all mappings are walked for it.
constexpr uint64_t kShmemTolerance = 1 << 20;

bool is_in_shmem(const std::string& fs_type) {
  return fs_type == "tmpfs" || fs_type == "devtmpfs";
}

// Is there shared memory that neither a mount, nor a descriptor, nor a segment leads to?
bool shmem_is_unexplained(const model::MemoryOwners& owners, const model::OwnerTable& table) {
  const auto shmem = system::read_shmem_bytes();
  if (!shmem) return true;
  model::MemoryOwners held;
  table.write_to(held);
  uint64_t explained = kShmemTolerance;
  for (const model::TmpfsMount& mount : owners.tmpfs) {
    if (is_in_shmem(mount.fs_type)) explained += mount.bytes.value_or(0);
  }
  for (const model::SysvSegment& segment : owners.sysv_segments)
    explained += segment.resident_bytes;
  for (const model::HeldFile& file : held.memfds) {
    if (is_in_shmem(file.fs_type)) explained += file.resident_bytes.value_or(file.bytes);
  }
  return *shmem > explained;
}

// Arenas came before their free ranges could be read.
void note_arenas(model::MemoryOwners& owners) {
  const bool untold = std::ranges::any_of(
      owners.bpf_maps, [](const model::BpfMap& map) { return map.type == "arena" && !map.bytes; });
  if (!untold) return;
  owners.coverage.push_back({"iter/bpf_map", HookState::kMissing,
                             "how much of a BPF arena is in use is not known: its free ranges are "
                             "kept in a way that is not read, or iterators may not be used"});
}

}  // namespace

OwnersReader::OwnersReader(OwnersOptions options) : options_(options) {
  if (options_.prefer != OwnersPath::kIterator) {
    no_iterator_ = "not asked for";
    return;
  }
  auto opened = sources::TaskFiles::open();
  if (opened) {
    task_files_ = std::move(*opened);
  } else {
    no_iterator_ = opened.error().text;
  }
}

bool OwnersReader::walk_by_iterator(model::OwnerTable& table, model::MemoryOwners& owners) const {
  if (!task_files_) {
    owners.coverage.push_back({kIterator, HookState::kOff,
                               fmt::format("{}; /proc and sock_diag are read", *no_iterator_)});
    return false;
  }
  model::OwnerTable walked;
  const auto gpus = task_files_->read(walked);
  if (!gpus) {
    owners.coverage.push_back({kIterator, HookState::kOff,
                               fmt::format("{}; /proc and sock_diag are read", gpus.error().text)});
    return false;
  }
  table = std::move(walked);
  for (const model::Opening& opening : *gpus) system::add_gpu_client(opening, table);
  owners.coverage.push_back({kIterator, HookState::kOn, {}});
  return true;
}

// A mapping may hold what has no descriptor any more. There are hundreds to a process, so they are
// walked only for shared memory that nothing else explains.
void OwnersReader::walk_mappings(model::OwnerTable& table, model::MemoryOwners& owners) const {
  if (!shmem_is_unexplained(owners, table)) {
    owners.coverage.push_back({kMappings, HookState::kOff,
                               "not needed: Shmem is explained; a perf ring whose descriptor is "
                               "closed would not be seen"});
  } else if (owners.path == OwnersPath::kProc) {
    system::read_mappings(table);
    owners.coverage.push_back({kMappings, HookState::kOff, "/proc/PID/maps is read"});
  } else if (const auto walked = task_files_->read_mappings(table); walked) {
    owners.coverage.push_back({kMappings, HookState::kOn, {}});
  } else {
    owners.coverage.push_back(
        {kMappings, HookState::kMissing,
         fmt::format("what only a mapping holds is not seen: {}", walked.error().text)});
  }
}

void OwnersReader::read_maps(model::MemoryOwners& owners) const {
  std::vector<sources::ArenaPages> arenas;
  if (task_files_) {
    if (auto read = task_files_->read_arenas()) arenas = std::move(*read);
  }
  auto maps = sources::read_bpf_maps(arenas);
  if (maps) {
    owners.bpf_maps = std::move(*maps);
    owners.coverage.push_back({"bpf/maps", HookState::kOn, {}});
    note_arenas(owners);
  } else {
    owners.coverage.push_back({"bpf/maps", HookState::kMissing, maps.error().text});
  }
}

model::MemoryOwners OwnersReader::read() const {
  model::MemoryOwners owners;
  model::OwnerTable table;
  owners.path = OwnersPath::kIterator;
  if (!walk_by_iterator(table, owners)) {
    owners.path = OwnersPath::kProc;
    system::read_open_files(table, owners.coverage);
  } else {
    system::read_orphans(table, owners.coverage);
  }
  read_maps(owners);
  system::read_other_owners({options_.tmpfs_entries, options_.tmpfs_largest}, owners);
  walk_mappings(table, owners);
  table.write_to(owners);
  system::name_holders(owners);
  return owners;
}

}  // namespace tidemark::collect
