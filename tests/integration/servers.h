// SPDX-License-Identifier: Apache-2.0
//
// What the tests of real servers share: an nginx of our own, requests, and what holds of every
// trace of code without frame pointers and .symtab.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tidemark.h"

namespace tidemark::test {

// One request on a connection of its own; true if the answer is 200.
bool get(uint16_t port, const std::string& path = "/");

std::vector<pid_t> children_of(pid_t parent);

// Own prefix, configuration, port and pid file; one worker.
class Nginx {
 public:
  Nginx();
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;
  ~Nginx();  // the master ends its worker
  [[nodiscard]] uint16_t port() const { return port_; }
  [[nodiscard]] pid_t master() const { return process_.pid(); }
  [[nodiscard]] pid_t worker() const { return worker_; }
  // Kills the worker; returns when the master has another one that serves.
  void kill_worker();

 private:
  Words words();
  void await_worker(pid_t not_this_one);

  TempDir directory_;
  uint16_t port_;
  Process process_;
  pid_t worker_ = 0;
};

// Some frame's function begins with the prefix.
bool names_prefix(const Json& call_site, const std::string& prefix);
// The live bytes of the call sites of which that holds.
long live_bytes_named(const Json& report, const std::string& prefix);
// Most of what was allocated is seen freed, and of the frees at most so many percent are of blocks
// that are not known.
void check_frees_are_matched(const Json& report, long unmatched_percent = 10);
// Nothing is lost but what came before late probes, this many times.
void check_only_late_probes(const Json& report, long times);

}  // namespace tidemark::test
