// SPDX-License-Identifier: Apache-2.0
#include "model/ghost_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace tidemark::model {
namespace {

enum class Certainty { kExact, kEstimated };

struct Claim {
  GhostPart part;
  Certainty certainty = Certainty::kExact;
};

std::string socket_detail(const Socket& socket) {
  std::string text = fmt::format("{} {} {}", socket.family, socket.type, socket.protocol);
  if (!socket.local.empty()) text += fmt::format(" {}", socket.local);
  if (socket.peer_holder) {
    text += fmt::format(", unread by pid {} ({})", socket.peer_holder->pid.value,
                        socket.peer_holder->comm);
  }
  return text;
}

void claim_sockets(const MemoryOwners& owners, std::vector<Claim>& claims) {
  for (const Socket& socket : owners.sockets) {
    const uint64_t ring = std::min(socket.ring_bytes, socket.ghost_bytes);
    const uint64_t queues = socket.ghost_bytes - ring;
    const std::string detail = socket_detail(socket);
    if (ring > 0) {
      claims.push_back({{"packet_ring", ring, socket.holder, detail}, Certainty::kExact});
    }
    if (queues > 0) {
      claims.push_back({{"socket_queue", queues, socket.holder, detail},
                        socket.ghost_estimated ? Certainty::kEstimated : Certainty::kExact});
    }
  }
}

void claim_others(const MemoryOwners& owners, std::vector<Claim>& claims) {
  for (const GhostHolder& holder : owners.holders) {
    if (holder.ghost_bytes == 0) continue;
    claims.push_back(
        {{std::string(to_string(holder.maker)), holder.ghost_bytes, holder.holder, holder.detail},
         Certainty::kExact});
  }
  for (const BpfMap& map : owners.bpf_maps) {
    if (map.ghost_bytes == 0) continue;
    claims.push_back({{"bpf", map.ghost_bytes, map.holder,
                       fmt::format("{} map {} \"{}\"", map.type, map.id, map.name)},
                      Certainty::kExact});
  }
}

// A balloon is a ghost where MemTotal still holds it and no row of ours does.
void claim_balloon(const MemoryOwners& owners, const Attribution& attribution,
                   std::vector<Claim>& claims) {
  if (!owners.balloon || !owners.balloon->bytes || *owners.balloon->bytes == 0) return;
  const Balloon& balloon = *owners.balloon;
  if (balloon.place == BalloonPlace::kTakenOffMemTotal || attribution.find("balloon")) return;
  const bool certain = balloon.place == BalloonPlace::kInMemTotal;
  claims.push_back(
      {{"balloon", *balloon.bytes, std::nullopt,
        certain ? balloon.driver : balloon.driver + ", if MemTotal still holds what it took"},
       certain ? Certainty::kExact : Certainty::kEstimated});
}

}  // namespace

void explain_ghost(const MemoryOwners& owners, Attribution& attribution) {
  Ghost& ghost = attribution.ghost;
  std::vector<Claim> claims;
  claim_sockets(owners, claims);
  claim_others(owners, claims);
  claim_balloon(owners, attribution, claims);
  std::ranges::stable_sort(claims, [](const Claim& left, const Claim& right) {
    return std::tuple(left.certainty, right.part.bytes) <
           std::tuple(right.certainty, left.part.bytes);
  });
  uint64_t left = ghost.bytes.value_or(UINT64_MAX);
  for (Claim& claim : claims) {
    claim.part.bytes = std::min(claim.part.bytes, left);
    left -= claim.part.bytes;
    if (claim.part.bytes > 0) ghost.explained.push_back(std::move(claim.part));
  }
  std::ranges::stable_sort(ghost.explained, std::greater(), &GhostPart::bytes);
  if (ghost.bytes) ghost.unexplained_bytes = left;
}

}  // namespace tidemark::model
