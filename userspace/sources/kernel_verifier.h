// SPDX-License-Identifier: Apache-2.0
//
// KernelVerifier: is what counts as live in the kernel live? Objects are looked up in their slab,
// and every list of free objects that they may lie on is walked, in BPF (bpf/kernel_verify.bpf.c).
// Refers to a loaded BPF object that outlives it. Single-threaded.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "bpf/abi/kernel.h"
#include "support/result.h"

struct bpf_map;
struct bpf_program;
struct kernel_memory_bpf;

namespace tidemark::sources {

class KernelVerifier {
 public:
  explicit KernelVerifier(kernel_memory_bpf* skeleton) : skeleton_(skeleton) {}

  // The programs that run on demand; to be loaded whatever hooks are on.
  [[nodiscard]] static bool is_program(std::string_view name);
  // The one that learns where the direct map is; for kernels without data symbols whose event tells
  // the cache.
  static constexpr const char* kFinder = "find_direct_map";

  // Where the kernel keeps the memory of each CPU, its direct map and its caches. Attaches kFinder
  // for a moment where that was loaded.
  [[nodiscard]] Status learn_kernel(bool with_finder);
  // False: objects cannot be looked up.
  [[nodiscard]] bool knows_direct_map() const;

  // Takes blocks off that are free although no free was told; BPF counts them. Frees have to be
  // counted meanwhile.
  [[nodiscard]] Status drop_free();
  // What these pages are now.
  [[nodiscard]] Status look_at_pages(std::span<tm_page_verdict> pages) const;
  // Objects that are free and that slabinfo counts as active, by the name of their cache: those
  // that CPUs and nodes keep for themselves.
  [[nodiscard]] Result<std::map<std::string, uint64_t>> spare_objects() const;
  // Of the last drop_free(): lists that changed each time they were read.
  [[nodiscard]] uint64_t cut_lists() const { return cut_lists_; }

 private:
  using Caches = std::unordered_set<uint64_t>;
  using Slabs = std::unordered_map<uint64_t, uint64_t>;  // struct page -> cache
  using FreeLists = std::vector<tm_free_list>;

  [[nodiscard]] Status drop_free_pages() const;
  [[nodiscard]] Status check_objects(Slabs& slabs, Caches& caches) const;
  // Those that were cut are walked again; what is left of them in the end is counted.
  [[nodiscard]] Status walk(const bpf_program* program, FreeLists& lists);
  [[nodiscard]] FreeLists lists_of(const Caches& caches, uint32_t places) const;
  template <typename Record>
  [[nodiscard]] Status run(const bpf_program* program, const bpf_map* map,
                           std::span<Record> records, uint64_t before_ns) const;

  kernel_memory_bpf* skeleton_;
  uint32_t cpus_ = 0;
  uint32_t nodes_ = 1;
  uint64_t cut_lists_ = 0;
};

}  // namespace tidemark::sources
