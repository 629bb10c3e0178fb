// SPDX-License-Identifier: Apache-2.0
#include "sources/kernel_owners.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "bpfrt/map.h"
#include "bpfrt/skeleton.h"
#include "kernel_memory.skel.h"

namespace tidemark::sources {
namespace {

template <std::size_t N>
std::string text_of(const char (&field)[N]) {
  return {field, ::strnlen(field, N)};
}

// Names of devices are what `ip link` shows; anything else was no device.
bool is_device_name(std::string_view name) {
  return !name.empty() &&
         std::ranges::all_of(name, [](char letter) { return letter > ' ' && letter < 0x7f; });
}

}  // namespace

Status KernelOwners::look_at(std::span<tm_owner> blocks) const {
  while (!blocks.empty()) {
    const auto batch = blocks.first(std::min<std::size_t>(blocks.size(), TM_OWNER_BATCH));
    if (auto put = bpfrt::put_range<tm_owner>(skeleton_->maps.owners, batch); !put) return put;
    const std::array<uint64_t, 4> arguments = {batch.size(), 0, 0, 0};
    if (auto ran = bpfrt::run_once(skeleton_->progs.look_at_owners, arguments); !ran) return ran;
    if (auto got = bpfrt::get_range<tm_owner>(skeleton_->maps.owners, batch); !got) return got;
    blocks = blocks.subspan(batch.size());
  }
  return {};
}

bool holds_packets(std::string_view cache) {
  return cache == "skbuff_head_cache" || cache == "skbuff_fclone_cache";
}

void OwnerTally::add(const tm_owner& answer, uint64_t bytes) {
  if (answer.is_readable == 0) return;
  if (answer.cgroup != 0) {
    model::CgroupShare& share = cgroups_[answer.cgroup];
    share.id = answer.cgroup;
    share.name = text_of(answer.cgroup_name);
    share.live_bytes += bytes;
    ++share.live_count;
  }
  if (answer.owned == TM_OWNED_SKB) {
    std::string device = text_of(answer.device);
    if (!is_device_name(device)) device.clear();
    ++packets_[{ntohs(answer.protocol), std::move(device)}];
  }
}

model::BlockOwners OwnerTally::finish() const {
  model::BlockOwners owners;
  for (const auto& [id, share] : cgroups_) owners.cgroups.push_back(share);
  for (const auto& [what, count] : packets_)
    owners.packets.push_back({what.first, what.second, count});
  std::ranges::stable_sort(owners.cgroups, std::greater(), &model::CgroupShare::live_bytes);
  std::ranges::stable_sort(owners.packets, std::greater(), &model::PacketShare::live_count);
  return owners;
}

}  // namespace tidemark::sources
