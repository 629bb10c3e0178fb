// SPDX-License-Identifier: Apache-2.0
//
// KernelOwners: whose live blocks of kernel memory are, read by BPF (bpf/kernel_owner.bpf.c) when
// it is asked. Refers to a loaded BPF object that outlives it. OwnerTally adds the answers up;
// pure. Single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "bpf/abi/kernel_owner.h"
#include "model/kernel_owner.h"
#include "support/result.h"

struct kernel_memory_bpf;

namespace tidemark::sources {

class KernelOwners {
 public:
  explicit KernelOwners(kernel_memory_bpf* skeleton) : skeleton_(skeleton) {}

  // Runs on demand; to be loaded whatever hooks are on.
  static constexpr std::string_view kProgram = "look_at_owners";

  // Answers in place. Less than a microsecond each.
  [[nodiscard]] Status look_at(std::span<tm_owner> blocks) const;

 private:
  kernel_memory_bpf* skeleton_;
};

// Caches whose objects are packets.
[[nodiscard]] bool holds_packets(std::string_view cache);

class OwnerTally {
 public:
  void add(const tm_owner& answer, uint64_t bytes);
  [[nodiscard]] model::BlockOwners finish() const;

 private:
  std::map<uint64_t, model::CgroupShare> cgroups_;
  std::map<std::pair<uint16_t, std::string>, uint64_t> packets_;
};

}  // namespace tidemark::sources
