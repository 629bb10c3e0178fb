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
  model::Coverage mappings{"iter/task_vma", HookState::kOn, {}};
  if (!task_files_->sees_mappings()) {
    mappings.state = HookState::kMissing;
    mappings.reason = "what only a mapping holds, its descriptor closed, is not seen";
  }
  owners.coverage.push_back(std::move(mappings));
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
  table.write_to(owners);
  system::name_holders(owners);
  return owners;
}

}  // namespace tidemark::collect
