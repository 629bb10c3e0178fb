// SPDX-License-Identifier: Apache-2.0
//
// The bookkeeping of kernel memory, on made-up events: the programs of bpf/kernel_*.bpf.c as they
// are, on maps that are tables of the host.
#include "kernel_memory.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <vector>

extern "C" {
#include "vmlinux.h"
// Behind the others: it defines __weak and the like.
#include <bpf/bpf_helpers.h>
}
#include "bpf/abi/kernel.h"

namespace {

using Bytes = std::vector<std::byte>;

struct Table {
  const kernel_map* definition = nullptr;
  std::size_t room = 64;
  std::map<Bytes, Bytes> entries;
};

// What the programs see of a kernel.
struct Machine {
  std::map<const void*, Table> tables;
  uint64_t now_ns = 1000;
  uint32_t tid = 7;
  std::vector<uint64_t> stack = {0x10, 0x20, 0x30};
};
Machine* machine = nullptr;

}  // namespace

extern "C" {

// Strong and writable here, weak and constant in the programs.
volatile __u32 stacks_wanted = TM_STACKS_NEVER;
volatile __u32 wanted_names = 0;
volatile __u64 wanted_name[TM_MAX_WANTED] = {};

void* bpf_map_lookup_elem(void* map, const void* key) {
  Table& table = machine->tables.at(map);
  const auto* first = static_cast<const std::byte*>(key);
  const auto found = table.entries.find({first, first + table.definition->key_bytes});
  return found == table.entries.end() ? nullptr : found->second.data();
}

long bpf_map_update_elem(void* map, const void* key, const void* value, __u64 flags) {
  Table& table = machine->tables.at(map);
  void* const known = bpf_map_lookup_elem(map, key);
  if (known != nullptr && flags == BPF_NOEXIST) return -EEXIST;
  if (known == nullptr && table.entries.size() >= table.room) return -E2BIG;
  const auto* first = static_cast<const std::byte*>(key);
  const auto* from = static_cast<const std::byte*>(value);
  table.entries[{first, first + table.definition->key_bytes}] = {
      from, from + table.definition->value_bytes};
  return 0;
}

long bpf_map_delete_elem(void* map, const void* key) {
  Table& table = machine->tables.at(map);
  const auto* first = static_cast<const std::byte*>(key);
  return table.entries.erase({first, first + table.definition->key_bytes}) == 1 ? 0 : -ENOENT;
}

// Only where the kernel does not say where its per-CPU memory is: not told here.
void* bpf_map_lookup_percpu_elem(void*, const void*, __u32) {
  return nullptr;
}

__u64 bpf_get_current_task(void) {
  return 0;
}

long bpf_probe_read_kernel(void* into, __u32 size, const void* address) {
  std::memcpy(into, address, size);
  return 0;
}

long bpf_probe_read_kernel_str(void* into, __u32 size, const void* address) {
  std::strncpy(static_cast<char*>(into), static_cast<const char*>(address), size - 1);
  return 0;
}

long bpf_get_stack(void*, void* into, __u32 size, __u64) {
  const auto& stack = machine->stack;
  const auto bytes = std::min<std::size_t>(size, stack.size() * sizeof(uint64_t));
  std::memcpy(into, stack.data(), bytes);
  return static_cast<long>(bytes);
}

__u64 bpf_ktime_get_ns(void) {
  return machine->now_ns;
}

__u64 bpf_get_current_pid_tgid(void) {
  return machine->tid;
}

}  // extern "C"

namespace {

constexpr uint64_t kObject = 0xffff888000010000;
constexpr uint64_t kPages = 0xffffea0000000000;  // of order 10 and less, aligned
constexpr uint64_t kPage = 64;                   // of a struct page
constexpr uint64_t kCaller = 0xffffffff81000100;

void set_gate(bool open) {
  is_counting = open ? 1 : 0;
  takes_allocations = open ? 1 : 0;
}

// An event of the last page of a call in bulk.
bpf_raw_tracepoint_args* event_of_last_page() {
  alignas(bpf_raw_tracepoint_args) static uint64_t list[12] = {kPages + 129 * kPage, 0, 0xcc0, 0};
  return reinterpret_cast<bpf_raw_tracepoint_args*>(list);
}

class Kernel {
 public:
  Kernel() {
    for (__u32 i = 0; i < kernel_map_count; ++i) {
      Table& table = machine_.tables[kernel_maps[i].map];
      table.definition = &kernel_maps[i];
      if (kernel_maps[i].type != BPF_MAP_TYPE_PERCPU_ARRAY) continue;
      for (__u32 index = 0; index < kernel_maps[i].max_entries; ++index) {
        Bytes key(sizeof(index));
        std::memcpy(key.data(), &index, sizeof(index));
        table.entries[key] = Bytes(kernel_maps[i].value_bytes);
      }
    }
    machine = &machine_;
    set_gate(true);
    growing_places = 0;
    stacks_wanted = TM_STACKS_NEVER;
    wanted_names = 0;
    forget_splittable_blocks();
    cache_.name = "dentry";
    cache_.object_size = 192;
    cache_.size = 200;
  }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  ~Kernel() { machine = nullptr; }

  template <typename... Arguments>
  void event(int (*program)(bpf_raw_tracepoint_args*), Arguments... arguments) {
    alignas(bpf_raw_tracepoint_args) uint64_t list[12] = {static_cast<uint64_t>(arguments)...};
    program(reinterpret_cast<bpf_raw_tracepoint_args*>(list));
  }
  void kmalloc(uint64_t address, uint64_t size, uint64_t usable, uint64_t caller = kCaller) {
    event(on_kmalloc, caller, address, size, usable, 0xcc0u);
  }
  void cache_alloc(uint64_t address) { event(on_cache_alloc, kCaller, address, cache(), 0xcc0u); }
  void kfree(uint64_t address) { event(on_kfree, kCaller, address); }
  void page_alloc(uint64_t page, uint32_t order, uint32_t gfp = 0xcc0) {
    event(on_page_alloc, page, order, gfp, 0u);
  }
  void page_free(uint64_t page, uint32_t order) { event(on_page_free, page, order); }

  [[nodiscard]] uint64_t cache() { return reinterpret_cast<uintptr_t>(&cache_); }
  kmem_cache& cache_record() { return cache_; }
  Machine& host() { return machine_; }

  [[nodiscard]] Table& table(const std::string& name) {
    for (__u32 i = 0; i < kernel_map_count; ++i) {
      if (name == kernel_maps[i].name) return machine_.tables[kernel_maps[i].map];
    }
    FAIL("no map " << name);
    return machine_.tables.begin()->second;
  }
  template <typename Value>
  [[nodiscard]] std::vector<Value> values(const std::string& name) {
    std::vector<Value> values;
    for (const auto& [key, bytes] : table(name).entries) {
      REQUIRE(bytes.size() == sizeof(Value));
      std::memcpy(&values.emplace_back(), bytes.data(), sizeof(Value));
    }
    return values;
  }
  [[nodiscard]] std::vector<tm_kernel_site> sites() { return values<tm_kernel_site>("sites"); }
  [[nodiscard]] tm_kernel_site only_site() {
    const auto all = sites();
    REQUIRE(all.size() == 1);
    return all[0];
  }
  [[nodiscard]] tm_count counter(uint32_t index) { return values<tm_count>("counters").at(index); }

 private:
  Machine machine_;
  kmem_cache cache_{};
};

uint64_t live_count(const tm_kernel_site& site) {
  return site.total_count - site.freed_count;
}
uint64_t live_bytes(const tm_kernel_site& site) {
  return site.total_bytes - site.freed_bytes;
}

}  // namespace

TEST_CASE("kernel track: an object is born and freed at its call site, in its cache") {
  Kernel kernel;
  kernel.cache_alloc(kObject);
  kernel.cache_alloc(kObject + 256);
  auto site = kernel.only_site();
  CHECK(site.place.call_site == kCaller);
  CHECK(site.place.cache == kernel.cache());
  CHECK(site.place.kind == TM_KERNEL_SLAB);
  CHECK(live_bytes(site) == 2 * 192);
  CHECK(kernel.values<tm_kernel_block>("slab_blocks")[0].spare_bytes == 8);
  const auto caches = kernel.values<tm_kernel_cache>("caches");
  REQUIRE(caches.size() == 1);
  CHECK(std::string(caches[0].name) == "dentry");
  kernel.event(on_cache_free, kCaller, kObject, kernel.cache());
  kernel.kfree(kObject + 256);
  site = kernel.only_site();
  CHECK(live_count(site) == 0);
  CHECK(live_bytes(site) == 0);
  CHECK(kernel.table("slab_blocks").entries.empty());
}

TEST_CASE("kernel track: before the gate opens nothing counts, and after it closes only frees do") {
  Kernel kernel;
  set_gate(false);
  kernel.cache_alloc(kObject);
  kernel.kfree(kObject);
  CHECK(kernel.sites().empty());
  CHECK(kernel.counter(TM_KERNEL_unmatched_frees).count == 0);
  set_gate(true);
  kernel.cache_alloc(kObject);
  takes_allocations = 0;
  kernel.cache_alloc(kObject + 256);
  kernel.kfree(kObject);
  CHECK(kernel.only_site().total_count == 1);
  CHECK(kernel.only_site().freed_count == 1);
}

TEST_CASE("kernel track: an allocation at an address that is live proves a missed free") {
  Kernel kernel;
  kernel.cache_alloc(kObject);
  kernel.cache_alloc(kObject);
  kernel.cache_alloc(kObject);
  const auto site = kernel.only_site();
  CHECK(site.total_count == 3);
  CHECK(live_count(site) == 1);
  CHECK(live_bytes(site) == 192);
  CHECK(site.missed_frees == 2);
  CHECK(kernel.counter(TM_KERNEL_missed_frees).count == 2);
  CHECK(kernel.counter(TM_KERNEL_missed_frees).bytes == 2 * 192);
}

TEST_CASE(
    "kernel verify: what is found free is taken off once, unless it is younger than the walk") {
  Kernel kernel;
  kernel.host().now_ns = 1000;
  kernel.cache_alloc(kObject);
  kernel.cache_alloc(kObject + 256);
  kernel.host().now_ns = 2000;
  kernel.cache_alloc(kObject + 512);
  for (const uint64_t object : {kObject, kObject + 512, kObject + 768}) drop_object(object, 1500);
  auto site = kernel.only_site();
  CHECK(live_count(site) == 2);
  CHECK(site.dropped_frees == 1);
  CHECK(site.missed_frees == 0);
  CHECK(kernel.counter(TM_KERNEL_dropped_by_verification).count == 1);
  CHECK(kernel.counter(TM_KERNEL_dropped_by_verification).bytes == 192);
  drop_object(kObject, 1500);
  drop_object(kObject + 512, 2000);  // born when the walk began
  CHECK(kernel.only_site().dropped_frees == 1);
  drop_object(kObject + 512, 2001);
  site = kernel.only_site();
  CHECK(site.dropped_frees == 2);
  CHECK(live_bytes(site) == 192);
  kernel.kfree(kObject);  // it counts as older than the trace
  CHECK(kernel.only_site().freed_count == 2);
}

TEST_CASE("kernel track: a large kmalloc that is told twice is one, at the outer call") {
  Kernel kernel;
  kernel.kmalloc(kObject, 10000, 16384, 0x1111);
  kernel.kmalloc(kObject, 10000, 16384, 0x2222);
  uint64_t live = 0;
  for (const auto& site : kernel.sites()) {
    CHECK(live_count(site) == (site.place.call_site == 0x2222 ? 1 : 0));
    CHECK(site.freed_count == 0);
    live += live_bytes(site);
  }
  CHECK(live == 10000);
  CHECK(kernel.counter(TM_KERNEL_double_events).count == 1);
  CHECK(kernel.counter(TM_KERNEL_missed_frees).count == 0);
  // By another thread it is another block.
  kernel.host().tid = 8;
  kernel.kmalloc(kObject, 10000, 16384, 0x2222);
  CHECK(kernel.counter(TM_KERNEL_missed_frees).count == 1);
}

TEST_CASE("kernel track: what is no block is not counted") {
  Kernel kernel;
  kernel.kmalloc(0, 64, 0);
  kernel.kmalloc(16, 0, 0);  // ZERO_SIZE_PTR
  kernel.kfree(0);
  kernel.kfree(16);
  CHECK(kernel.sites().empty());
  CHECK(kernel.counter(TM_KERNEL_failed_allocations).count == 1);
  CHECK(kernel.counter(TM_KERNEL_unmatched_frees).count == 0);
  kernel.kfree(kObject);  // older than the trace
  CHECK(kernel.counter(TM_KERNEL_unmatched_frees).count == 1);
}

TEST_CASE("kernel track: full tables are counted losses and no false leaks") {
  Kernel kernel;
  kernel.table("slab_blocks").room = 1;
  kernel.cache_alloc(kObject);
  kernel.cache_alloc(kObject + 256);
  CHECK(kernel.only_site().total_count == 1);
  CHECK(kernel.counter(TM_KERNEL_blocks_full).count == 1);
  CHECK(kernel.counter(TM_KERNEL_blocks_full).bytes == 192);
  kernel.table("sites").room = 1;
  kernel.kmalloc(kObject + 512, 100, 128, 0x9999);
  CHECK(kernel.counter(TM_KERNEL_sites_full).count == 1);
  CHECK(kernel.sites().size() == 1);
}

TEST_CASE("kernel track: --cache takes one cache and no other") {
  Kernel kernel;
  wanted_names = 1;
  const char name[TM_CACHE_NAME] = "filp";
  wanted_name[0] = tm_name_number(name);
  kernel.cache_alloc(kObject);
  kernel.kfree(kObject);
  CHECK(kernel.sites().empty());
  CHECK(kernel.counter(TM_KERNEL_unmatched_frees).count == 0);
  kmem_cache other{};
  other.name = "filp";
  other.object_size = 232;
  kernel.event(on_cache_alloc, kCaller, kObject, reinterpret_cast<uintptr_t>(&other), 0xcc0u);
  CHECK(kernel.only_site().total_bytes == 232);
  kmem_cache longer{};
  longer.name = "filp_longer";
  kernel.event(on_cache_alloc, kCaller, kObject + 512, reinterpret_cast<uintptr_t>(&longer),
               0xcc0u);
  CHECK(kernel.sites().size() == 1);
}

TEST_CASE("kernel track: stacks of what grows, of all, or none") {
  Kernel kernel;
  stacks_wanted = TM_STACKS_GROWING;
  kernel.cache_alloc(kObject);
  CHECK(kernel.only_site().stack_id == 0);
  CHECK(kernel.table("stacks").entries.empty());
  const tm_kernel_place place = kernel.only_site().place;
  const uint64_t since = 5;
  REQUIRE(bpf_map_update_elem(
              const_cast<void*>(static_cast<const void*>(kernel.table("growing").definition->map)),
              &place, &since, BPF_ANY) == 0);
  growing_places = 1;
  kernel.cache_alloc(kObject + 256);
  kernel.kmalloc(kObject + 512, 10, 16);  // another place
  CHECK(kernel.sites().size() == 3);
  const auto stacks = kernel.values<tm_kernel_stack>("stacks");
  REQUIRE(stacks.size() == 1);
  CHECK(stacks[0].depth == 3);
  CHECK(stacks[0].frames[2] == 0x30);
  stacks_wanted = TM_STACKS_ALWAYS;
  kernel.host().stack = {0x77};
  kernel.kmalloc(kObject + 1024, 10, 16);
  CHECK(kernel.table("stacks").entries.size() == 2);
  kernel.host().stack = {};
  kernel.kmalloc(kObject + 2048, 10, 16);
  CHECK(kernel.counter(TM_KERNEL_stacks_unreadable).count == 1);
}

TEST_CASE("kernel pages: orders, flags, and pages that move") {
  Kernel kernel;
  kernel.page_alloc(kPages, 0);
  kernel.page_alloc(kPages + 8 * kPage, 3, 0x40cc0);
  kernel.page_alloc(kPages + 32 * kPage, 0, 0x100cca);  // movable
  REQUIRE(kernel.sites().size() == 2);
  CHECK(kernel.counter(TM_KERNEL_movable_pages).count == 1);
  CHECK(kernel.counter(TM_KERNEL_pages_allocated).bytes == 10);
  kernel.page_free(kPages + 32 * kPage, 0);
  kernel.page_free(kPages + 8 * kPage, 3);
  kernel.page_free(kPages, 0);
  for (const auto& site : kernel.sites()) CHECK(live_bytes(site) == 0);
  CHECK(kernel.counter(TM_KERNEL_pages_freed).bytes == 10);
  kernel.page_alloc(0, 2);
  CHECK(kernel.counter(TM_KERNEL_failed_allocations).count == 1);
}

TEST_CASE("kernel pages: a compound page that goes does not hide that another one may be split") {
  Kernel kernel;
  kernel.page_alloc(kPages, 3);                       // may be split
  kernel.page_alloc(kPages + 8 * kPage, 3, 0x40cc0);  // compound
  kernel.page_free(kPages + 8 * kPage, 3);
  kernel.page_free(kPages + 5 * kPage, 0);
  uint64_t live = 0;
  for (const auto& site : kernel.sites()) live += live_bytes(site);
  CHECK(live == 7 * 4096);
}

TEST_CASE(
    "kernel pages: in bulk, what was there before and what an event has told is not born again") {
  Kernel kernel;
  kernel.table("page_blocks").room = 200;
  static __u64 slots[130];
  std::fill(std::begin(slots), std::end(slots), 0);
  slots[1] = kPages + 1000 * kPage;  // of the caller's, from before
  const auto fill = [] {
    for (uint64_t i = 0; i < 130; ++i) {
      if (i != 1) slots[i] = kPages + i * kPage;
    }
    // The last of them the allocator takes one by one, which is told.
    machine->tid = 7;
    on_page_alloc(event_of_last_page());
  };
  pages_in_bulk(nullptr, slots, 130, 130, fill);
  uint64_t live = 0;
  for (const auto& site : kernel.sites()) live += live_bytes(site);
  CHECK(live == 129 * 4096);
  CHECK(kernel.counter(TM_KERNEL_pages_allocated).bytes == 129);
  kernel.page_free(kPages + 5 * kPage, 0);
  CHECK(kernel.table("page_blocks").entries.size() == 128);
}

TEST_CASE("kernel pages: a range is taken in blocks that are aligned and end with it") {
  CHECK(order_at(0, 4096) == 10);
  CHECK(order_at(1024, 1025) == 0);
  CHECK(order_at(8, 12) == 2);
  CHECK(order_at(6, 64) == 1);
}

TEST_CASE("kernel pages: a block that is split comes out even, however it is freed") {
  Kernel kernel;
  kernel.page_alloc(kPages, 3);
  kernel.page_free(kPages + 5 * kPage, 0);
  kernel.page_free(kPages + 6 * kPage, 1);
  auto site = kernel.only_site();
  CHECK(live_count(site) == 1);
  CHECK(live_bytes(site) == 5 * 4096);
  kernel.page_free(kPages, 2);
  CHECK(live_bytes(kernel.only_site()) == 4096);
  kernel.page_free(kPages + 4 * kPage, 0);
  site = kernel.only_site();
  CHECK(live_count(site) == 0);
  CHECK(live_bytes(site) == 0);
  CHECK(kernel.table("page_blocks").entries.empty());
  // Then the same page is nobody's.
  kernel.page_free(kPages + 4 * kPage, 0);
  CHECK(live_bytes(kernel.only_site()) == 0);
}

TEST_CASE("kernel pages: a compound page is no place where others are looked for") {
  Kernel kernel;
  kernel.page_alloc(kPages, 3, 0x40cc0);
  kernel.page_free(kPages + 5 * kPage, 0);
  CHECK(live_bytes(kernel.only_site()) == 8 * 4096);
}

TEST_CASE("kernel percpu: the size is remembered from the allocation") {
  Kernel kernel;
  // call_site, reserved, is_atomic, size, align, base_addr, off, ptr
  kernel.event(on_percpu_alloc, kCaller, 0, 0, 64, 8, 0, 0, 0x6000);
  auto site = kernel.only_site();
  CHECK(site.place.kind == TM_KERNEL_PERCPU);
  CHECK(site.place.call_site == kCaller);
  CHECK(live_bytes(site) == 64);
  kernel.event(on_percpu_free, 0, 0, 0x6000);
  CHECK(live_bytes(kernel.only_site()) == 0);
}
