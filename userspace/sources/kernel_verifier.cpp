// SPDX-License-Identifier: Apache-2.0
#include "sources/kernel_verifier.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <iterator>
#include <string_view>

#include "bpfrt/link.h"
#include "bpfrt/map.h"
#include "bpfrt/skeleton.h"
#include "kernel_memory.skel.h"
#include "support/clock.h"
#include "support/file.h"
#include "support/unique_fd.h"

namespace tidemark::sources {
namespace {

constexpr std::array kPrograms = {
    std::string_view("find_cpu"),      std::string_view("list_caches"),
    std::string_view("look_at_pages"), std::string_view("drop_free_pages"),
    std::string_view("check_objects"), std::string_view("walk_slabs"),
    std::string_view("walk_cpus"),     std::string_view("walk_barns")};

// A list that changed while it was read is read again this often.
constexpr int kWalks = 3;
// A page whose last reference is gone is told some instructions later.
constexpr useconds_t kPageFreeTakesUs = 2000;
// Events of our own, to learn from.
constexpr int kLessons = 2000;
constexpr uint64_t kNever = 0;  // nothing was born before it

// "0-3", "0,2": the largest and one more.
uint32_t count_nodes() {
  const std::string text = read_file("/sys/devices/system/node/online").value_or("0");
  const std::size_t last = text.find_last_of(",-") + 1;  // npos + 1 is 0
  uint32_t node = 0;
  std::from_chars(text.data() + last, text.data() + text.size(), node);
  return node + 1;
}

}  // namespace

bool KernelVerifier::is_program(std::string_view name) {
  return std::ranges::find(kPrograms, name) != kPrograms.end();
}

bool KernelVerifier::knows_direct_map() const {
  return skeleton_->bss->page_base != 0;
}

Status KernelVerifier::learn_kernel(bool with_finder) {
  const auto cpus = bpfrt::possible_cpus();
  if (!cpus) return std::unexpected(cpus.error());
  cpus_ = static_cast<uint32_t>(*cpus);
  nodes_ = count_nodes();
  for (uint64_t cpu = 0; cpu < cpus_; ++cpu) {
    const std::array<uint64_t, 2> arguments = {cpu, 0};
    if (auto ran = bpfrt::run_once(skeleton_->progs.find_cpu, arguments); !ran) return ran;
  }
  if (with_finder) {
    auto link = bpfrt::attach_by_section(skeleton_->progs.find_direct_map);
    if (!link) return std::unexpected(link.error());
    // Each open file is an object of a cache whose slabs are partly free most of the time.
    for (int i = 0; i < kLessons && !knows_direct_map(); ++i) {
      const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      std::array<int, 2> ends{};
      if (::pipe2(ends.data(), O_CLOEXEC) != 0) continue;
      const UniqueFd in(ends[0]);
      const UniqueFd out(ends[1]);
    }
  }
  const std::array<uint64_t, 2> none{};
  return bpfrt::run_once(skeleton_->progs.list_caches, none);
}

// The records of an array map, TM_VERIFY_BATCH at a time.
template <typename Record>
Status KernelVerifier::run(const bpf_program* program, const bpf_map* map,
                           std::span<Record> records, uint64_t before_ns) const {
  while (!records.empty()) {
    const auto batch = records.first(std::min<std::size_t>(records.size(), TM_VERIFY_BATCH));
    if (auto put = bpfrt::put_range<Record>(map, batch); !put) return put;
    const std::array<uint64_t, 2> arguments = {batch.size(), before_ns};
    if (auto ran = bpfrt::run_once(program, arguments); !ran) return ran;
    if (auto got = bpfrt::get_range<Record>(map, batch); !got) return got;
    records = records.subspan(batch.size());
  }
  return {};
}

Status KernelVerifier::look_at_pages(std::span<tm_page_verdict> pages) const {
  return run(skeleton_->progs.look_at_pages, skeleton_->maps.verdicts, pages, kNever);
}

// Twice: between the last reference and the event of a page that is freed right now, it looks free.
Status KernelVerifier::drop_free_pages() const {
  std::vector<tm_page_verdict> pages;
  const uint64_t before_ns = monotonic_now().ns;
  const auto read = bpfrt::for_each_entry<uint64_t, tm_kernel_block>(
      skeleton_->maps.page_blocks, [&](uint64_t page, const tm_kernel_block& block) {
        // Of a block that was freed in part, the first page says nothing about the others.
        if (block.remaining_pages == 1u << block.order)
          pages.push_back({page, 0, TM_PAGE_UNKNOWN, 0});
      });
  if (!read) return read;
  if (auto looked = look_at_pages(pages); !looked) return looked;
  std::erase_if(pages, [](const tm_page_verdict& page) { return page.use != TM_PAGE_FREE; });
  if (pages.empty()) return {};
  ::usleep(kPageFreeTakesUs);
  return run(skeleton_->progs.drop_free_pages, skeleton_->maps.verdicts, std::span(pages),
             before_ns);
}

Status KernelVerifier::check_objects(Slabs& slabs, Caches& caches) const {
  const uint64_t before_ns = monotonic_now().ns;
  std::vector<tm_object_check> objects;
  const auto read = bpfrt::for_each_entry<uint64_t, tm_kernel_block>(
      skeleton_->maps.slab_blocks, [&](uint64_t address, const tm_kernel_block&) {
        objects.push_back({address, 0, 0});
      });
  if (!read) return read;
  const auto checked = run(skeleton_->progs.check_objects, skeleton_->maps.objects_to_check,
                           std::span(objects), before_ns);
  if (!checked) return checked;
  for (const tm_object_check& object : objects) {
    if (object.slab == 0) continue;
    slabs.emplace(object.slab, object.cache);
    caches.insert(object.cache);
  }
  return {};
}

KernelVerifier::FreeLists KernelVerifier::lists_of(const Caches& caches, uint32_t places) const {
  FreeLists lists;
  for (const uint64_t cache : caches) {
    for (uint32_t place = 0; place < places; ++place) lists.push_back({cache, place, 0, 0});
  }
  return lists;
}

Status KernelVerifier::walk(const bpf_program* program, FreeLists& lists) {
  for (int i = 0; i < kWalks && !lists.empty(); ++i) {
    const auto walked =
        run(program, skeleton_->maps.free_lists, std::span(lists), monotonic_now().ns);
    if (!walked) return walked;
    std::erase_if(lists, [](const tm_free_list& list) { return list.cut == 0; });
  }
  cut_lists_ += lists.size();
  return {};
}

// In the order in which objects go from list to list when they are freed.
Status KernelVerifier::drop_free() {
  cut_lists_ = 0;
  if (auto dropped = drop_free_pages(); !dropped) return dropped;
  if (!knows_direct_map()) return {};
  Slabs slabs;
  Caches caches;
  if (auto checked = check_objects(slabs, caches); !checked) return checked;
  FreeLists of_cpus = lists_of(caches, cpus_);
  if (auto walked = walk(skeleton_->progs.walk_cpus, of_cpus); !walked) return walked;
  FreeLists of_nodes = lists_of(caches, nodes_);
  if (auto walked = walk(skeleton_->progs.walk_barns, of_nodes); !walked) return walked;
  FreeLists of_slabs;
  for (const auto& [slab, cache] : slabs) of_slabs.push_back({cache, slab, 0, 0});
  return walk(skeleton_->progs.walk_slabs, of_slabs);
}

Result<std::map<std::string, uint64_t>> KernelVerifier::spare_objects() const {
  std::map<std::string, uint64_t> spare;
  if (!knows_direct_map()) return spare;
  Caches caches;
  std::unordered_map<uint64_t, std::string> names;
  const auto read = bpfrt::for_each_entry<uint64_t, tm_kernel_cache>(
      skeleton_->maps.caches, [&](uint64_t address, const tm_kernel_cache& cache) {
        caches.insert(address);
        names[address].assign(cache.name, ::strnlen(cache.name, sizeof(cache.name)));
      });
  if (!read) return std::unexpected(read.error());
  for (const auto& [program, places] : {std::pair(skeleton_->progs.walk_cpus, cpus_),
                                        std::pair(skeleton_->progs.walk_barns, nodes_)}) {
    FreeLists lists = lists_of(caches, places);
    const auto walked = run(program, skeleton_->maps.free_lists, std::span(lists), kNever);
    if (!walked) return std::unexpected(walked.error());
    for (const tm_free_list& list : lists) spare[names[list.cache]] += list.free_objects;
  }
  return spare;
}

}  // namespace tidemark::sources
