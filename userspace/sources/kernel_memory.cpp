// SPDX-License-Identifier: Apache-2.0
#include "sources/kernel_memory.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>

#include "bpf/abi/kernel.h"
#include "bpfrt/kernel_types.h"
#include "bpfrt/link.h"
#include "bpfrt/map.h"
#include "bpfrt/skeleton.h"
#include "kernel_memory.skel.h"
#include "sources/counters.h"
#include "sources/growth.h"
#include "sources/kernel_owners.h"
#include "sources/kernel_records.h"
#include "sources/kernel_verifier.h"

namespace tidemark::sources {
namespace {

struct SkeletonTraits {
  using Type = kernel_memory_bpf;
  static constexpr std::string_view kName = "kernel_memory";
  static Type* open(const bpf_object_open_opts* options) {
    return kernel_memory_bpf__open_opts(options);
  }
  static int load(Type* skeleton) { return kernel_memory_bpf__load(skeleton); }
  static void destroy(Type* skeleton) { kernel_memory_bpf__destroy(skeleton); }
};
using KernelSkeleton = bpfrt::Skeleton<SkeletonTraits>;

// Fewer blocks of these kinds than of slab objects are out at a time.
constexpr uint32_t kPageShare = 2;
constexpr uint32_t kPercpuShare = 16;
constexpr uint32_t kVmallocShare = 16;

// Why kprobes are not used; empty where they are.
std::string why_no_kprobes() {
  if (::access("/sys/bus/event_source/devices/kprobe/type", R_OK) == 0) return "";
  return "this kernel has no kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS)";
}

// The kernel must keep a program from running inside itself, and its arguments must be readable
// whatever their types are.
std::string why_no_trampoline(const bpfrt::KernelTypes& types, std::string_view function) {
  if (!types.has_member("bpf_prog", "active"))
    return "fentry programs may interrupt themselves on this kernel";
  const auto tried = bpfrt::try_trampoline(std::string(function));
  return tried ? "" : tried.error().text;
}

bool has_argument(const bpfrt::KernelTypes& types, const char* function, const char* argument) {
  const auto arguments = types.function_arguments(function);
  return arguments && std::ranges::find(*arguments, argument) != arguments->end();
}

void tell_signatures(const bpfrt::KernelTypes& types,
                     kernel_memory_bpf::kernel_memory_bpf__rodata& constants) {
  constants.bulk_returns_bool = types.function_returns_bool("kmem_cache_alloc_bulk_noprof");
  constants.pages_bulk_has_list = has_argument(types, "alloc_pages_bulk_noprof", "page_list") ||
                                  has_argument(types, "__alloc_pages_bulk", "page_list");
  constants.page_free_tells_order = has_argument(types, "__free_frozen_pages", "order") ||
                                    has_argument(types, "free_unref_page", "order");
}

struct BlockOf {
  uint64_t address = 0;
  tm_kernel_block block{};
};

}  // namespace

struct KernelMemory::State {
  State(KernelSkeleton loaded, KernelSettings wanted, HookPlan planned)
      : skeleton(std::move(loaded)),
        settings(std::move(wanted)),
        plan(std::move(planned)),
        verifier(skeleton.operator->()) {}

  void size_maps();
  void set_constants();
  [[nodiscard]] Status choose_programs();
  [[nodiscard]] Status load();
  [[nodiscard]] const bpf_program* program_of(const std::string& name) const {
    return bpf_object__find_program_by_name(skeleton->obj, name.c_str());
  }
  [[nodiscard]] Result<bpfrt::Link> attach_program(const HookPlan::Row& row,
                                                   const std::string& name,
                                                   bpfrt::ProbeEnd end) const;
  [[nodiscard]] Status attach_row(const HookPlan::Row& row);
  [[nodiscard]] Status attach();
  [[nodiscard]] Result<KernelCounterValues> read_counters() const;
  [[nodiscard]] Result<std::vector<BlockOf>> read_blocks(const bpf_map* map) const;
  [[nodiscard]] Status add_blocks(KernelRecords& records) const;
  [[nodiscard]] Status add_pages(KernelRecords& records) const;
  [[nodiscard]] Status add_owners(KernelRecords& records, const std::vector<BlockOf>& blocks,
                                  bool pages) const;
  // Data symbols tell where the direct map is; else the event's cache leads there.
  [[nodiscard]] bool needs_finder() const {
    return skeleton->rodata->vmemmap_base_at == 0 && plan.layout.alloc_tells_cache;
  }
  void add_counters(KernelCounterValues values, KernelCollected& collected) const;
  void add_coverage(KernelCollected& collected) const;

  KernelSkeleton skeleton;
  KernelSettings settings;
  HookPlan plan;
  KernelVerifier verifier;
  std::vector<bpfrt::Link> links;
  GrowthWatch growth;
  std::map<uint64_t, std::pair<tm_kernel_place, uint64_t>> growing;  // since when
};

void KernelMemory::State::size_maps() {
  const auto& maps = skeleton->maps;
  bpf_map__set_max_entries(maps.slab_blocks, settings.spaces.slab ? settings.max_blocks : 1);
  bpf_map__set_max_entries(
      maps.page_blocks, settings.spaces.pages ? std::max(settings.max_blocks / kPageShare, 1u) : 1);
  bpf_map__set_max_entries(
      maps.percpu_blocks,
      settings.spaces.percpu ? std::max(settings.max_blocks / kPercpuShare, 1u) : 1);
  bpf_map__set_max_entries(
      maps.vmalloc_blocks,
      settings.spaces.vmalloc ? std::max(settings.max_blocks / kVmallocShare, 1u) : 1);
  const auto cpus = bpfrt::possible_cpus();
  bpf_map__set_max_entries(maps.cpu_offsets, cpus ? static_cast<uint32_t>(*cpus) : 1);
  bpf_map__set_max_entries(maps.stacks, settings.max_stacks);
  bpf_map__set_max_entries(maps.sites, settings.max_stacks * 2);
}

void KernelMemory::State::set_constants() {
  auto& constants = *skeleton->rodata;
  constants.alloc_tells_cache = plan.layout.alloc_tells_cache;
  constants.percpu_tells_call_site = plan.layout.percpu_tells_call_site;
  constants.keep_movable = settings.movable_pages;
  constants.vmalloc_is_traced = std::ranges::any_of(plan.rows, [](const HookPlan::Row& row) {
    return row.on && row.space == HookSpace::kVmalloc;
  });
  constants.stacks_wanted = settings.stacks == StackMode::kAlways    ? TM_STACKS_ALWAYS
                            : settings.stacks == StackMode::kGrowing ? TM_STACKS_GROWING
                                                                     : TM_STACKS_NEVER;
  const auto& symbols = settings.symbols;
  if (symbols.vmemmap_base && symbols.page_offset_base) {
    constants.vmemmap_base_at = *symbols.vmemmap_base;
    constants.page_offset_base_at = *symbols.page_offset_base;
  }
  constants.per_cpu_offset_at = symbols.per_cpu_offset.value_or(0);
  const std::size_t names = std::min<std::size_t>(settings.caches.size(), TM_MAX_WANTED);
  constants.wanted_names = static_cast<uint32_t>(names);
  for (std::size_t i = 0; i < names; ++i) {
    char name[TM_CACHE_NAME] = {};
    settings.caches[i].copy(name, sizeof(name) - 1);
    constants.wanted_name[i] = tm_name_number(name);
  }
  const auto cpus = bpfrt::possible_cpus();
  constants.possible_cpus = cpus ? static_cast<uint32_t>(*cpus) : 1;
}

Status KernelMemory::State::choose_programs() {
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, skeleton->obj) {
    const std::string_view name = bpf_program__name(each);
    const auto row = std::ranges::find_if(plan.rows, [&](const HookPlan::Row& planned) {
      return planned.on && (planned.program == name || planned.return_program == name);
    });
    const bool finder = name == KernelVerifier::kFinder && needs_finder();
    const bool asked = KernelVerifier::is_program(name) || name == KernelOwners::kProgram;
    const bool on = row != plan.rows.end();
    bpf_program__set_autoload(each, on || finder || asked);
    if (!on || row->tier != HookTier::kTrampoline) continue;
    if (auto aimed = bpfrt::aim_trampoline(each, row->function); !aimed) return aimed;
  }
  return {};
}

Status KernelMemory::State::load() {
  size_maps();
  set_constants();
  if (auto chosen = choose_programs(); !chosen) return chosen;
  return skeleton.load();
}

Result<bpfrt::Link> KernelMemory::State::attach_program(const HookPlan::Row& row,
                                                        const std::string& name,
                                                        bpfrt::ProbeEnd end) const {
  if (row.tier == HookTier::kKprobe)
    return bpfrt::attach_kprobe(program_of(name), end, row.function);
  return bpfrt::attach_by_section(program_of(name));
}

// Where it returns first: a return without a call that was noted is passed over.
Status KernelMemory::State::attach_row(const HookPlan::Row& row) {
  for (const auto& [name, end] : {std::pair(row.return_program, bpfrt::ProbeEnd::kReturn),
                                  std::pair(row.program, bpfrt::ProbeEnd::kEntry)}) {
    if (name.empty()) continue;
    auto link = attach_program(row, name, end);
    if (!link) return std::unexpected(link.error());
    links.push_back(std::move(*link));
  }
  return {};
}

// A hook that cannot be had is told in the coverage; without any there is nothing to trace.
Status KernelMemory::State::attach() {
  std::string reason = "no hook is on";
  for (HookPlan::Row& row : plan.rows) {
    if (row.on) {
      if (const auto attached = attach_row(row); !attached) {
        row.on = false;
        row.coverage.state = model::HookState::kOff;
        row.coverage.reason = attached.error().text;
      }
    }
    if (!row.on && row.coverage.reason) reason = row.coverage.hook + ": " + *row.coverage.reason;
  }
  if (!links.empty()) return {};
  return fail("nothing of what is asked for can be traced on this kernel ({})", reason);
}

Result<KernelCounterValues> KernelMemory::State::read_counters() const {
  KernelCounterValues values{};
  for (uint32_t index = 0; index < values.size(); ++index) {
    const auto value = read_counter(skeleton->maps.counters, index);
    if (!value) return std::unexpected(value.error());
    values[index] = *value;
  }
  for (const HookPlan::Row& row : plan.rows) {
    for (const std::string& name : {row.program, row.return_program}) {
      if (!row.on || name.empty()) continue;
      const auto misses = bpfrt::program_misses(program_of(name));
      if (misses) values[TM_KERNEL_recursion_misses].count += *misses;
    }
  }
  return values;
}

Result<std::vector<BlockOf>> KernelMemory::State::read_blocks(const bpf_map* map) const {
  std::vector<BlockOf> blocks;
  const auto read = bpfrt::for_each_entry<uint64_t, tm_kernel_block>(
      map, [&](uint64_t address, const tm_kernel_block& block) {
        blocks.push_back({address, block});
      });
  if (!read) return std::unexpected(read.error());
  return blocks;
}

// Whose these blocks are, which are pages or slab objects.
Status KernelMemory::State::add_owners(KernelRecords& records, const std::vector<BlockOf>& blocks,
                                       bool pages) const {
  std::vector<tm_owner> asked(blocks.size());
  for (std::size_t i = 0; i < asked.size(); ++i) {
    asked[i].address = blocks[i].address;
    asked[i].owned = pages                                ? TM_OWNED_PAGE
                     : records.is_packet(blocks[i].block) ? TM_OWNED_SKB
                                                          : TM_OWNED_OBJECT;
  }
  const KernelOwners owners(skeleton.operator->());
  if (auto looked = owners.look_at(asked); !looked) return looked;
  for (std::size_t i = 0; i < asked.size(); ++i) records.add_owner(blocks[i].block, asked[i]);
  return {};
}

Status KernelMemory::State::add_pages(KernelRecords& records) const {
  const auto blocks = read_blocks(skeleton->maps.page_blocks);
  if (!blocks) return std::unexpected(blocks.error());
  std::vector<tm_page_verdict> verdicts;
  verdicts.reserve(blocks->size());
  for (const BlockOf& each : *blocks) verdicts.push_back({each.address, 0, TM_PAGE_UNKNOWN, 0});
  if (auto looked = verifier.look_at_pages(verdicts); !looked) return looked;
  for (std::size_t i = 0; i < blocks->size(); ++i)
    records.add_block((*blocks)[i].block, judge_page(verdicts[i], settings.movable_pages));
  return add_owners(records, *blocks, true);
}

Status KernelMemory::State::add_blocks(KernelRecords& records) const {
  const auto& maps = skeleton->maps;
  if (auto added = add_pages(records); !added) return added;
  for (const bpf_map* map : {maps.slab_blocks, maps.percpu_blocks, maps.vmalloc_blocks}) {
    const auto blocks = read_blocks(map);
    if (!blocks) return std::unexpected(blocks.error());
    for (const BlockOf& each : *blocks) records.add_block(each.block, BlockState::kSound);
    if (map != maps.slab_blocks) continue;
    if (auto added = add_owners(records, *blocks, false); !added) return added;
  }
  return {};
}

void KernelMemory::State::add_counters(KernelCounterValues values,
                                       KernelCollected& collected) const {
  values[TM_KERNEL_free_lists_cut] = {verifier.cut_lists(), 0};
  collected.counters = describe_counters(values);
  collected.pages.allocated_pages = values[TM_KERNEL_pages_allocated].bytes;
  collected.pages.freed_pages = values[TM_KERNEL_pages_freed].bytes;
}

void KernelMemory::State::add_coverage(KernelCollected& collected) const {
  for (const HookPlan::Row& row : plan.rows) collected.coverage.push_back(row.coverage);
  if (settings.spaces.slab) {
    model::Coverage row{"verification of slab objects", model::HookState::kOn, std::nullopt};
    if (!verifier.knows_direct_map()) {
      row.state = model::HookState::kOff;
      row.reason =
          "where this kernel maps its memory is not known: objects are not looked up again, and "
          "kmalloc's caches have no name";
    }
    collected.coverage.push_back(std::move(row));
  }
}

KernelMemory::KernelMemory(std::unique_ptr<State> state) : state_(std::move(state)) {}
KernelMemory::~KernelMemory() = default;

Result<std::unique_ptr<KernelMemory>> KernelMemory::open(const KernelSettings& settings) {
  bpfrt::silence_libbpf();
  const auto types = bpfrt::KernelTypes::load();
  if (!types) return std::unexpected(types.error());
  HookFacts facts;
  facts.tracepoint = [&](std::string_view name) {
    return types->tracepoint_arguments(std::string(name).c_str());
  };
  facts.function = settings.has_function;
  facts.no_trampoline = [&](std::string_view function) {
    return why_no_trampoline(*types, function);
  };
  facts.no_kprobes = why_no_kprobes();
  HookPlan plan = plan_hooks(settings.spaces, settings.hooks, facts);
  auto skeleton = KernelSkeleton::open();
  if (!skeleton) return std::unexpected(skeleton.error());
  tell_signatures(*types, *(*skeleton)->rodata);
  auto state = std::make_unique<State>(std::move(*skeleton), settings, std::move(plan));
  if (auto loaded = state->load(); !loaded) return std::unexpected(loaded.error());
  if (auto learnt = state->verifier.learn_kernel(state->needs_finder()); !learnt)
    return std::unexpected(learnt.error());
  if (auto attached = state->attach(); !attached) return std::unexpected(attached.error());
  return std::unique_ptr<KernelMemory>(new KernelMemory(std::move(state)));
}

// Frees first: a block that is counted must not be freed past us.
void KernelMemory::open_gate() {
  state_->skeleton->bss->is_counting = 1;
  state_->skeleton->bss->takes_allocations = 1;
}

void KernelMemory::drain() {
  state_->skeleton->bss->takes_allocations = 0;
}

void KernelMemory::stop() {
  state_->skeleton->bss->is_counting = 0;
  bpfrt::detach(std::exchange(state_->links, {}));
}

Status KernelMemory::verify() {
  return state_->verifier.drop_free();
}

Result<std::map<std::string, uint64_t>> KernelMemory::spare_objects() const {
  return state_->verifier.spare_objects();
}

Status KernelMemory::grow_stacks(uint64_t now_ns) {
  State& state = *state_;
  if (state.settings.stacks != StackMode::kGrowing) return {};
  std::map<uint64_t, uint64_t> bytes;
  std::map<uint64_t, tm_kernel_place> places;
  const auto& maps = state.skeleton->maps;
  const auto read = bpfrt::for_each_entry<uint64_t, tm_kernel_site>(
      maps.sites, [&](uint64_t, const tm_kernel_site& site) {
        const uint64_t id = KernelRecords::place_id(site.place);
        bytes[id] += site.total_bytes - std::min(site.freed_bytes, site.total_bytes);
        places.emplace(id, site.place);
      });
  if (!read) return read;
  for (const uint64_t id : state.growth.look(bytes)) {
    const tm_kernel_place& place = places.at(id);
    if (auto put = bpfrt::put(maps.growing, place, now_ns); !put) return put;
    state.growing.emplace(id, std::pair(place, now_ns));
    state.skeleton->bss->growing_places = static_cast<uint32_t>(state.growing.size());
  }
  return {};
}

Result<KernelCollected> KernelMemory::collect(const Window& window) {
  State& state = *state_;
  const auto& maps = state.skeleton->maps;
  KernelRecords records(window, state.settings.stacks);
  KernelCollected collected;
  auto read = bpfrt::for_each_entry<uint64_t, tm_kernel_cache>(
      maps.caches,
      [&](uint64_t address, const tm_kernel_cache& cache) { records.add_cache(address, cache); });
  if (!read) return std::unexpected(read.error());
  read = bpfrt::for_each_entry<uint64_t, tm_kernel_site>(
      maps.sites, [&](uint64_t id, const tm_kernel_site& site) { records.add_site(id, site); });
  if (!read) return std::unexpected(read.error());
  read = bpfrt::for_each_entry<uint64_t, tm_kernel_stack>(
      maps.stacks,
      [&](uint64_t id, const tm_kernel_stack& stack) { records.add_stack(id, stack); });
  if (!read) return std::unexpected(read.error());
  if (auto added = state.add_blocks(records); !added) return std::unexpected(added.error());
  for (const auto& [id, growing] : state.growing)
    records.note_growing(growing.first, growing.second);
  const auto counters = state.read_counters();
  if (!counters) return std::unexpected(counters.error());
  state.add_counters(*counters, collected);
  state.add_coverage(collected);
  std::move(records).finish(collected);
  return collected;
}

}  // namespace tidemark::sources
