// SPDX-License-Identifier: Apache-2.0
#include "collect/memory_owners.h"

#include <map>
#include <string>

#include "sources/bpf_maps.h"
#include "system/balloon.h"
#include "system/holders.h"
#include "system/kernel_buffers.h"
#include "system/proc_files.h"
#include "system/sysv_shm.h"
#include "system/tmpfs.h"

namespace tidemark::collect {
namespace {

using model::HookState;
using model::OwnersPath;

constexpr const char* kIterator = "iter/task_file";

// Calls visit(Holder&) for every process that is named.
template <typename Visit>
void for_each_holder(model::MemoryOwners& owners, Visit visit) {
  for (model::Socket& socket : owners.sockets) {
    if (socket.holder) visit(*socket.holder);
    if (socket.peer_holder) visit(*socket.peer_holder);
  }
  for (model::GhostHolder& each : owners.holders) {
    if (each.holder) visit(*each.holder);
  }
  for (model::BpfMap& map : owners.bpf_maps) {
    if (map.holder) visit(*map.holder);
  }
  for (auto* files : {&owners.memfds, &owners.deleted_files}) {
    for (model::HeldFile& file : *files) visit(file.holder);
  }
}

void name_cgroups(model::MemoryOwners& owners) {
  std::map<model::Pid, std::optional<std::string>> known;
  for_each_holder(owners, [&](model::Holder& holder) {
    const auto [at, is_new] = known.try_emplace(holder.pid);
    if (is_new) at->second = system::read_memory_cgroup(holder.pid);
    holder.cgroup = at->second;
  });
}

// The iterator knows the last part of a name only.
void name_deleted_files(model::MemoryOwners& owners) {
  for (model::HeldFile& file : owners.deleted_files) {
    if (auto path = system::read_deleted_path(file.holder)) file.name = std::move(*path);
  }
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
  for (const model::Opening& opening : *gpus) {
    static_cast<void>(system::add_gpu_client(opening, table));
  }
  owners.coverage.push_back({kIterator, HookState::kOn, {}});
  return true;
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
    system::read_proc_files(table, owners.coverage);
    system::read_all_sockets(table, owners.coverage);
  }
  read_maps(owners);
  system::read_trace_buffers(owners.holders, owners.coverage);
  system::read_memory_map(owners.holders, owners.coverage);
  system::read_page_pools(owners.holders, owners.coverage);
  table.write_to(owners);
  owners.balloon = system::read_balloon();
  const system::WalkLimits limits{options_.tmpfs_entries, options_.tmpfs_largest};
  system::read_tmpfs(limits, owners.tmpfs, owners.coverage);
  system::read_sysv_segments(owners.sysv_segments, owners.coverage);
  name_cgroups(owners);
  name_deleted_files(owners);
  return owners;
}

}  // namespace tidemark::collect
