// SPDX-License-Identifier: Apache-2.0
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <map>
#include <string>

#include "support/file.h"
#include "support/strings.h"
#include "system/namespaces.h"
#include "system/owners.h"
#include "system/proc_files.h"
#include "system/proc_net.h"
#include "system/sock_diag.h"

namespace tidemark::system {
namespace {

using Sockets = Result<std::vector<model::SocketFacts>>;

// Where a kind has no diag module: what /proc/net has of it, with the reason for the coverage.
Sockets read_otherwise(DiagKind kind) {
  if (kind == DiagKind::kPacket) return read_proc_net_packet();
  if (const auto inet = inet_protocol_of(kind)) {
    return read_proc_net_inet(name_of(kind), inet->family, inet->protocol);
  }
  return fail("not in /proc/net with its memory");
}

// What a reader of /proc/net has to know.
std::string_view lacks_otherwise(DiagKind kind) {
  if (kind == DiagKind::kPacket) return "; rings are not seen there";
  if (kind == DiagKind::kTcp4 || kind == DiagKind::kTcp6) return "; queues are payload there";
  return {};
}

model::Coverage line_for(DiagKind kind, model::HookState state, std::string reason) {
  return {fmt::format("sock_diag/{}", name_of(kind)), state, std::move(reason)};
}

// Only in the namespace of the socket has the interface's number a name.
void name_interface(model::Socket& socket) {
  if (socket.family != "packet" || !socket.local.starts_with("if")) return;
  const auto index = parse_number<unsigned>(std::string_view(socket.local).substr(2));
  std::array<char, IF_NAMESIZE> name{};
  if (index && ::if_indextoname(*index, name.data()) != nullptr) socket.local = name.data();
}

enum class Wanted { kAll, kWithoutFile };

// In each namespace: the kinds that are named. The first reason for what is missing is kept.
class Visit {
 public:
  Visit(std::span<const DiagKind> kinds, Wanted wanted, model::OwnerTable& table)
      : kinds_(kinds), wanted_(wanted), table_(table) {}

  void run(model::Inode netns) {
    for (const DiagKind kind : kinds_) {
      auto sockets = dump_sockets(kind);
      if (!sockets) sockets = instead_of(kind, sockets.error());
      if (!sockets) continue;
      for (model::SocketFacts& facts : *sockets) {
        if (wanted_ == Wanted::kWithoutFile && facts.socket.inode.value != 0) continue;
        facts.socket.netns = netns;
        name_interface(facts.socket);
        table_.add_socket(std::move(facts));
      }
    }
  }

  void write_to(std::vector<model::Coverage>& coverage) const {
    for (const DiagKind kind : kinds_) {
      const auto found = without_.find(kind);
      if (found != without_.end()) {
        coverage.push_back(found->second);
      } else {
        coverage.push_back({fmt::format("sock_diag/{}", name_of(kind)), model::HookState::kOn, {}});
      }
    }
  }

 private:
  Sockets instead_of(DiagKind kind, const Error& why) {
    auto sockets = read_otherwise(kind);
    if (sockets) {
      without_.try_emplace(kind, line_for(kind, model::HookState::kOff,
                                          fmt::format("{}; /proc/net is read in its place{}",
                                                      why.text, lacks_otherwise(kind))));
    } else {
      without_.try_emplace(kind, line_for(kind, model::HookState::kMissing, why.text));
    }
    return sockets;
  }

  std::span<const DiagKind> kinds_;
  Wanted wanted_;
  model::OwnerTable& table_;
  std::map<DiagKind, model::Coverage> without_;
};

}  // namespace

void read_orphans(model::OwnerTable& table, std::vector<model::Coverage>& coverage) {
  const auto sockstat = read_file("/proc/net/sockstat");
  const auto orphans = sockstat ? parse_orphans(*sockstat) : std::nullopt;
  if (!orphans) {
    coverage.push_back({"sockstat/orphan", model::HookState::kMissing,
                        "how many closed TCP connections still hold memory is not told"});
    return;
  }
  coverage.push_back({"sockstat/orphan", model::HookState::kOn, {}});
  if (*orphans == 0) return;
  constexpr std::array kTcp = {DiagKind::kTcp4, DiagKind::kTcp6};
  Visit visit(kTcp, Wanted::kWithoutFile, table);
  for (const Namespace& network : list_namespaces(NamespaceKind::kNetwork)) {
    // One that cannot be entered has its line from whoever else goes there.
    static_cast<void>(run_inside(network, [&] { visit.run(network.inode); }));
  }
  visit.write_to(coverage);
}

void read_all_sockets(model::OwnerTable& table, std::vector<model::Coverage>& coverage) {
  Visit visit(all_diag_kinds(), Wanted::kAll, table);
  for (const Namespace& network : list_namespaces(NamespaceKind::kNetwork)) {
    const auto entered = run_inside(network, [&] { visit.run(network.inode); });
    if (!entered) {
      coverage.push_back({fmt::format("netns/{}", network.inode.value), model::HookState::kMissing,
                          entered.error().text});
    }
  }
  visit.write_to(coverage);
}

}  // namespace tidemark::system
