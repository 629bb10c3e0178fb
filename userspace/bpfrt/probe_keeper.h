// SPDX-License-Identifier: Apache-2.0
//
// ProbeKeeper: a process of ours that sets uprobes, holds their links and takes them out. Why: the
// kernel puts a breakpoint into a target and takes it out by get_user_pages(), which fails in a
// task that has a SIGKILL pending. A tidemark that is killed in the middle of attaching or
// detaching would leave breakpoints in the target for good ("failed to unregister, leaking uprobe";
// seen once in twenty kills). The keeper has a session of its own, so neither a kill of tidemark
// nor Ctrl-C reaches it; when tidemark is gone, however it ended, the keeper detaches in order and
// ends.
//
// Not thread-safe. Links go in the reverse order of ownership: the keeper outlives them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "support/result.h"
#include "support/unique_fd.h"
#include "support/uprobe.h"

struct bpf_program;

namespace tidemark::bpfrt {

// kBoth: a session, Linux 6.13.
enum class ProbeEnd { kEntry, kReturn, kBoth };

struct UprobePoint {
  uint64_t file_offset_bytes = 0;
  uint64_t cookie = 0;  // what bpf_get_attach_cookie() gives the program
  // Of the counter in the file that tells the program that somebody looks (USDT); 0: none.
  uint64_t semaphore_offset_bytes = 0;
};

// The file to put probes on and the one process whose memory they are put into; 0: every process's,
// also of those to come. The path is resolved by another process than ours: name files of ours
// through /proc/<our pid>/fd.
struct UprobeTarget {
  std::string path;
  int32_t pid = 0;
};

// A link that the keeper holds.
using ProbeLink = uint64_t;

class ProbeKeeper {
 public:
  // To be called once the programs are loaded, and before tidemark has threads: the keeper is a
  // fork and knows what was there then.
  [[nodiscard]] static Result<std::unique_ptr<ProbeKeeper>> start();
  ProbeKeeper(const ProbeKeeper&) = delete;
  ProbeKeeper& operator=(const ProbeKeeper&) = delete;
  // Detaches what is left.
  ~ProbeKeeper();

  // Attaches the program to all points or to none.
  [[nodiscard]] Result<std::vector<ProbeLink>> attach(const bpf_program* program,
                                                      UprobeMethod method, ProbeEnd end,
                                                      const UprobeTarget& target,
                                                      std::span<const UprobePoint> points);
  // Returns when no program of them runs any more: some 50 ms, however many they are.
  void detach(std::span<const ProbeLink> links);
  // The same in the background.
  void detach_later(std::span<const ProbeLink> links);

 private:
  ProbeKeeper() = default;

  UniqueFd socket_;
  pid_t keeper_ = -1;
};

}  // namespace tidemark::bpfrt
