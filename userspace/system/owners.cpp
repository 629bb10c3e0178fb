// SPDX-License-Identifier: Apache-2.0
#include "system/owners.h"

#include <unistd.h>

#include <map>
#include <string>

#include "support/file.h"
#include "support/strings.h"
#include "system/balloon.h"
#include "system/holders.h"
#include "system/kernel_buffers.h"
#include "system/namespaces.h"
#include "system/proc_files.h"
#include "system/sysv_shm.h"
#include "system/tmpfs.h"

namespace tidemark::system {
namespace {

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

}  // namespace

void read_open_files(model::OwnerTable& table, std::vector<model::Coverage>& coverage) {
  read_proc_files(table, coverage);
  read_all_sockets(table, coverage);
}

void read_mappings(model::OwnerTable& table) {
  read_proc_mappings(table);
}

std::optional<uint64_t> read_shmem_bytes() {
  const auto text = read_file("/proc/meminfo");
  std::optional<uint64_t> kibibytes;
  if (!text) return std::nullopt;
  for_each_line(*text, [&](std::string_view line) {
    if (next_word(line) == "Shmem:") kibibytes = parse_number<uint64_t>(next_word(line));
  });
  if (!kibibytes) return std::nullopt;
  return *kibibytes << 10;
}

void read_other_owners(const WalkLimits& limits, model::MemoryOwners& owners) {
  const Namespaces namespaces = list_all_namespaces();
  if (const uint64_t hidden = namespaces.hidden_processes; hidden > 0) {
    owners.coverage.push_back(
        {"proc/ns", model::HookState::kOff,
         fmt::format(
             "the namespaces of {} process{} may not be looked up: what is in them alone is "
             "not listed{}",
             hidden, hidden == 1 ? "" : "es", ::geteuid() == 0 ? "" : "; run as root")});
  }
  read_trace_buffers(owners.holders, owners.coverage);
  read_memory_map(owners.holders, owners.coverage);
  read_page_pools(namespaces.network, owners.holders, owners.coverage);
  owners.balloon = read_balloon();
  read_tmpfs(namespaces.mount, limits, owners.tmpfs, owners.coverage);
  read_sysv_segments(namespaces.ipc, owners.sysv_segments, owners.coverage);
}

void name_holders(model::MemoryOwners& owners) {
  std::map<model::Pid, std::optional<std::string>> cgroups;
  for_each_holder(owners, [&](model::Holder& holder) {
    const auto [at, is_new] = cgroups.try_emplace(holder.pid);
    if (is_new) at->second = read_memory_cgroup(holder.pid);
    holder.cgroup = at->second;
  });
  for (model::HeldFile& file : owners.deleted_files) {
    if (auto path = read_deleted_path(file.holder)) file.name = std::move(*path);
  }
}

}  // namespace tidemark::system
