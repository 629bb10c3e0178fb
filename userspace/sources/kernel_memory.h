// SPDX-License-Identifier: Apache-2.0
//
// KernelMemory: counts what the kernel's own allocators give out, by call site and slab cache, from
// all contexts of all CPUs. Owns its BPF object, maps and links. Life: open(), open_gate(),
// verify() and collect() as often as wanted, grow_stacks() about once a second, drain(), stop().
// Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/kernel_snapshot.h"
#include "sources/kernel_hooks.h"
#include "sources/source.h"
#include "support/result.h"

namespace tidemark::sources {

enum class StackMode { kNever, kGrowing, kAlways };

// Where the kernel keeps its direct map and the memory of its CPUs; none where kallsyms does not
// tell data symbols: then it is learned from slabs where that can be done.
struct DirectMapSymbols {
  std::optional<uint64_t> vmemmap_base;
  std::optional<uint64_t> page_offset_base;
  std::optional<uint64_t> per_cpu_offset;
};

struct KernelSettings {
  Spaces spaces;
  std::vector<std::string> caches;  // by the name that slabinfo has; empty: all
  StackMode stacks = StackMode::kGrowing;
  bool movable_pages = false;
  uint32_t max_blocks = 1 << 20;
  uint32_t max_stacks = 1 << 14;
  DirectMapSymbols symbols;
  HookMode hooks = HookMode::kAuto;
  std::function<bool(std::string_view)> has_function;  // is it one that this kernel lists?
};

// What was seen so far; collect/ makes a KernelSnapshot of it.
struct KernelCollected {
  std::vector<model::CallSite> call_sites;
  std::vector<model::Stack> stacks;
  std::map<model::StackId, uint64_t> other_stacks;  // as model::KernelSnapshot has them
  std::map<model::StackId, uint64_t> stacks_since_ns;
  std::vector<model::Counter> counters;
  std::vector<model::Coverage> coverage;
  std::vector<model::CacheTally> tallies;
  model::PageFlow pages;
};

class KernelMemory {
 public:
  // Loads and attaches; nothing is counted yet. Errors: no permission, no BTF, programs refused, or
  // none of the hooks that are asked for.
  [[nodiscard]] static Result<std::unique_ptr<KernelMemory>> open(const KernelSettings& settings);
  KernelMemory(const KernelMemory&) = delete;
  KernelMemory& operator=(const KernelMemory&) = delete;
  ~KernelMemory();

  void open_gate();
  // Turns the capture of stacks on for call sites that grow. A few thousand records are read.
  [[nodiscard]] Status grow_stacks(uint64_t now_ns);
  // Takes blocks off that are free although no free was told. Some microseconds an object.
  [[nodiscard]] Status verify();
  // No allocations are counted any more; frees still are.
  void drain();
  // Counts no more and detaches everything; collect() then gives exact final figures.
  void stop();
  // Objects that are free and that slabinfo counts as active, by cache.
  [[nodiscard]] Result<std::map<std::string, uint64_t>> spare_objects() const;
  [[nodiscard]] Result<KernelCollected> collect(const Window& window);

 private:
  struct State;
  explicit KernelMemory(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tidemark::sources
