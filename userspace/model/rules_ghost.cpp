// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "model/memory_facts.h"
#include "model/memory_rules.h"
#include "support/units.h"

namespace tidemark::model {
namespace {

constexpr std::array<std::string_view, 4> kBalloonModules = {"vmw_balloon", "virtio_balloon",
                                                             "hv_balloon", "xen_balloon"};

// What the owners know; else the module that is loaded.
std::optional<std::string> balloon_driver(const MemoryFacts& facts) {
  if (facts.owners.balloon) return facts.owners.balloon->driver;
  if (!facts.snapshot.modules) return std::nullopt;
  for (const std::string& module : *facts.snapshot.modules) {
    if (std::ranges::find(kBalloonModules, module) != kBalloonModules.end()) return module;
  }
  return std::nullopt;
}

bool takes_off_mem_total(const MemoryFacts& facts) {
  return facts.owners.balloon && facts.owners.balloon->place == BalloonPlace::kTakenOffMemTotal;
}

std::string socket_name(const Socket& socket) {
  return fmt::format("{} {} socket ({}{}{})", socket.family, socket.type, socket.protocol,
                     socket.local.empty() ? "" : " ", socket.local);
}

// Whom to ask: unix queues are charged to the sender, but the reader is the one that does not read.
const std::optional<Holder>& reader_of(const Socket& socket) {
  return socket.peer_holder ? socket.peer_holder : socket.holder;
}

}  // namespace

Findings judge_unread_sockets(const MemoryFacts& facts, const MemoryPolicy& policy) {
  Findings findings;
  std::vector<const Socket*> sockets;
  for (const Socket& socket : facts.owners.sockets) {
    if (socket.recv_queue_bytes + socket.send_queue_bytes >= policy.unread_queue_bytes) {
      sockets.push_back(&socket);
    }
  }
  std::ranges::sort(sockets, std::greater(), &Socket::bytes);
  if (sockets.size() > policy.most_findings_a_rule) sockets.resize(policy.most_findings_a_rule);
  for (const Socket* socket : sockets) {
    const bool unread =
        socket->recv_queue_bytes >= socket->send_queue_bytes || socket->peer_holder.has_value();
    const std::optional<Holder>& who = reader_of(*socket);
    std::string evidence = fmt::format(
        "receive queue {}, send queue {}, held by {}", format_bytes(socket->recv_queue_bytes),
        format_bytes(socket->send_queue_bytes), holder_text(socket->holder));
    if (socket->peer_holder)
      evidence += fmt::format(", read by {}", holder_text(socket->peer_holder));
    if (socket->drops) evidence += fmt::format("; {} dropped", format_count(*socket->drops));
    findings.push_back(
        {.severity = Severity::kSuspect,
         .area = {},
         .what = unread ? fmt::format("{} does not read its {}: {} wait.", holder_text(who),
                                      socket_name(*socket), format_bytes(socket->bytes()))
                        : fmt::format("{} waits in the send queue of the {} of {}.",
                                      format_bytes(socket->send_queue_bytes), socket_name(*socket),
                                      holder_text(who)),
         .evidence = evidence,
         .next = who ? fmt::format("restart pid {} and see whether the memory comes back",
                                   who->pid.value)
                     : "no process holds it: look for sockets in flight or of the kernel"});
  }
  return findings;
}

Findings judge_balloon(const MemoryFacts& facts, const MemoryPolicy& policy) {
  const auto driver = balloon_driver(facts);
  if (!driver) return {};
  const auto bytes = facts.owners.balloon ? facts.owners.balloon->bytes : std::nullopt;
  if (bytes) {
    if (!is_share(facts, policy, *bytes, policy.large_share)) return {};
    return {{.severity = Severity::kSuspect,
             .area = {},
             .what = fmt::format("The balloon driver {} gave {} to the host.", *driver,
                                 format_bytes(*bytes)),
             .evidence = fmt::format("{}; {}", share_text(facts, *bytes),
                                     takes_off_mem_total(facts) ? "MemTotal is lower by as much"
                                                                : "MemTotal still counts it"),
             .next = "ask the host for it back, or unload the driver to see"}};
  }
  // Its size is not told: a ghost that nobody explains is then most likely its.
  const auto unexplained = facts.attribution.ghost.unexplained_bytes;
  if (takes_off_mem_total(facts) || !unexplained ||
      !is_share(facts, policy, *unexplained, policy.large_share)) {
    return {};
  }
  return {
      {.severity = Severity::kSuspect,
       .area = {},
       .what = fmt::format("The balloon driver {} is loaded, and {} of ghost memory has no other "
                           "owner: most likely the host has it.",
                           *driver, format_bytes(*unexplained)),
       .evidence = fmt::format("{}; what the driver took is in no line of meminfo",
                               share_text(facts, *unexplained)),
       .next = fmt::format("ask the host; or see it come back: modprobe -r {}", *driver)}};
}

Findings judge_ghost(const MemoryFacts& facts, const MemoryPolicy& policy) {
  const Ghost& ghost = facts.attribution.ghost;
  if (!ghost.bytes || !is_share(facts, policy, *ghost.bytes, policy.large_share)) return {};
  std::string evidence = fmt::format("{}; ", share_text(facts, *ghost.bytes));
  if (ghost.explained.empty()) evidence += "no owner was found";
  std::size_t shown = 0;
  for (const GhostPart& part : ghost.explained) {
    if (shown++ == 3) break;
    evidence += fmt::format("{}{} {} of {}", shown == 1 ? "" : ", ", part.maker,
                            format_bytes(part.bytes), holder_text(part.holder));
  }
  const uint64_t unexplained = ghost.unexplained_bytes.value_or(0);
  evidence += fmt::format("; unexplained {}", format_bytes(unexplained));
  return {
      {.severity = Severity::kSuspect,
       .area = {},
       .what = fmt::format("{} of memory is in no line of meminfo.", format_bytes(*ghost.bytes)),
       .evidence = evidence,
       .next = unexplained * 2 > *ghost.bytes
                   ? "tidemark kernel --pages shows who allocates pages; or unload drivers one "
                     "by one"
                   : "the owners stand in the table of ghost memory"}};
}

// The categories hold more than there is: a counter of this kernel counts something twice.
Findings judge_counting(const MemoryFacts& facts, const MemoryPolicy&) {
  const auto error = facts.attribution.find("counting_error");
  const auto allowed = facts.attribution.ghost.error_bytes;
  if (!error || !allowed || *error >= 0 || static_cast<uint64_t>(-*error) <= *allowed) return {};
  return {{.severity = Severity::kInfo,
           .area = {},
           .what = fmt::format("The categories add up to {} more than MemTotal: this kernel counts "
                               "something twice, and a ghost of that size would not be seen.",
                               format_bytes(static_cast<uint64_t>(-*error))),
           .evidence = fmt::format("the error should be {} at most", format_bytes(*allowed)),
           .next = "please report it with /proc/meminfo, /proc/vmstat and /proc/zoneinfo"}};
}

}  // namespace tidemark::model
