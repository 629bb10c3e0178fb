// SPDX-License-Identifier: Apache-2.0
//
// Links: programs attached to the kernel or to a target. Destroying a Link detaches it, and the
// kernel waits until no program of it runs any more (some 50 ms); detach() and Detacher let such
// waits overlap, in threads of their own. Not thread-safe otherwise. uprobe_multi is
// attached by a system call of our own: libbpf 1.1 has no wrapper for it, and later ones fail on
// stripped libraries when asked for symbols.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bpfrt/probe_keeper.h"
#include "support/result.h"
#include "support/unique_fd.h"
#include "support/uprobe.h"

struct bpf_link;
struct bpf_program;

namespace tidemark::bpfrt {

class Link {
 public:
  explicit Link(UniqueFd fd);
  explicit Link(bpf_link* link);
  Link(Link&&) noexcept = default;
  Link& operator=(Link&&) noexcept = default;
  ~Link() = default;

 private:
  struct Destroy {
    void operator()(bpf_link* link) const noexcept;
  };
  UniqueFd fd_;                              // of a link made by ourselves, or
  std::unique_ptr<bpf_link, Destroy> link_;  // one made by libbpf
};

// What has to be told to the kernel before a program is loaded, so that attach_uprobes() can attach
// it by `method` to `end`.
void prepare_for(bpf_program* program, UprobeMethod method, ProbeEnd end);

// Attaches the program to all points or to none. For the ProbeKeeper alone: a task that may be
// killed sets no probes.
[[nodiscard]] Result<std::vector<Link>> attach_uprobes(const bpf_program* program,
                                                       UprobeMethod method, ProbeEnd end,
                                                       const UprobeTarget& target,
                                                       std::span<const UprobePoint> points);

// A program of the kprobe type at a function of the kernel, or where it returns.
[[nodiscard]] Result<Link> attach_kprobe(const bpf_program* program, ProbeEnd end,
                                         const std::string& function);

// Can BPF programs be attached to this function by trampolines (fentry, fexit)? Tries it with a
// program that does nothing. An error says what the kernel refuses.
[[nodiscard]] Status try_trampoline(const std::string& function);
// To be said before the program is loaded.
[[nodiscard]] Status aim_trampoline(bpf_program* program, const std::string& function);

// By the section name of the program: SEC("raw_tp/...").
[[nodiscard]] Result<Link> attach_by_section(const bpf_program* program);

// Detaches all of them; what takes each some 50 ms takes all together little more.
void detach(std::vector<Link> links);

// Detaches while its owner goes on; waits for the rest when it is destroyed.
class Detacher {
 public:
  Detacher() = default;
  Detacher(const Detacher&) = delete;
  Detacher& operator=(const Detacher&) = delete;
  ~Detacher() = default;
  void take(std::vector<Link> links);

 private:
  std::vector<std::future<void>> under_way_;
};

}  // namespace tidemark::bpfrt
