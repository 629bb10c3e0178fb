// SPDX-License-Identifier: Apache-2.0
//
// The namespaces of a machine and how to look at something from inside one. Only namespaces that a
// process is in, or that have a name in /run/netns, are found; one that lives by an open descriptor
// alone is not.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/memory_owners.h"
#include "support/result.h"

namespace tidemark::system {

enum class NamespaceKind { kNetwork, kMount, kIpc };

struct Namespace {
  model::Inode inode;
  std::string path;     // to open it by
  model::Pid seen_by;   // the lowest process in it; 0: it has a name only
  bool is_own = false;  // we are in it
};

// Of all processes that may be looked at, each namespace once, our own first.
struct Namespaces {
  std::vector<Namespace> network;
  std::vector<Namespace> mount;
  std::vector<Namespace> ipc;
  uint64_t hidden_processes = 0;  // whose namespaces may not be looked up, for want of permission
};

// Of one kind, and of all kinds: a look-up for each process and kind, which is what it costs.
[[nodiscard]] std::vector<Namespace> list_namespaces(NamespaceKind kind);
[[nodiscard]] Namespaces list_all_namespaces();

// Runs `work` in the namespace, on a thread of its own: the caller stays where it is. /proc/self is
// the caller's, so use /proc/thread-self there. Not for mount namespaces, which threads share.
[[nodiscard]] Status run_inside(const Namespace& where, const std::function<void()>& work);

}  // namespace tidemark::system
