// SPDX-License-Identifier: Apache-2.0
#include "sources/heap_attachments.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "bpf/abi/heap.h"
#include "bpfrt/map.h"
#include "sources/allocators.h"

namespace tidemark::sources {
namespace {

constexpr const char* kReturnProgram = "heap_return";

uint64_t encode_cookie(uint16_t probe, const HeapProbe& planned) {
  tm_cookie cookie{};
  cookie.probe = probe;
  cookie.allocator = static_cast<uint16_t>(planned.allocator);
  cookie.stack_words = static_cast<uint8_t>(planned.site.stack_bytes / 8);
  cookie.valid = 1;
  return std::bit_cast<uint64_t>(cookie);
}

// By file and program, so that a uprobe_multi link takes as many as it can.
struct Points {
  std::map<std::pair<std::string, std::string_view>, std::vector<bpfrt::UprobePoint>> entries;
  std::map<std::string, std::vector<bpfrt::UprobePoint>> returns;
};

}  // namespace

Status HeapAttachments::attach(const model::ProcessImage& image, model::Generation generation) {
  auto plan = plan_heap_probes(image, choice_);
  if (!plan) return std::unexpected(plan.error());
  if (auto attached = attach_probes(image, *plan, Scope::kAllFiles); !attached) {
    return std::unexpected(attached.error());
  }
  note_coverage(*plan);
  note_addresses(image, generation);
  return {};
}

Status HeapAttachments::follow(const model::ProcessImage& image, const GenerationState& state) {
  auto plan = plan_heap_probes(image, choice_);
  if (!plan) return std::unexpected(plan.error());
  end_shares(image.pid);
  // Lost ones come to life again beside new ones at the same place, and would count everything
  // twice.
  if (state.probes_lost) keeper_.detach(take_links(image.pid));
  const auto attached = attach_probes(image, *plan, Scope::kNewFiles);
  if (!attached) return std::unexpected(attached.error());
  if (*attached > 0) ++late_probes_;
  note_coverage(*plan);
  note_addresses(image, state.generation);
  return {};
}

// What comes to be counted by the probes of this process is another generation's from here on.
void HeapAttachments::end_shares(model::Pid pid) {
  for (auto& [generation, shares] : shares_) {
    for (Share& share : shares) {
      if (placed_[share.probe].pid != pid || share.hits_at_end) continue;
      share.hits_at_end = hits_of(share.probe);
    }
  }
}

// A process of this pid that came since has probes of its own, and a generation behind this one.
void HeapAttachments::release(const GenerationState& state) {
  const bool is_newest = std::ranges::all_of(shares_, [&](const auto& entry) {
    const auto& [generation, shares] = entry;
    return generation <= state.generation || shares.empty() ||
           placed_[shares.front().probe].pid != state.pid;
  });
  if (!is_newest) return;
  end_shares(state.pid);
  keeper_.detach_later(take_links(state.pid));
}

void HeapAttachments::detach() {
  std::vector<bpfrt::ProbeLink> entries, returns;
  for (const Attached& attached : links_) {
    (attached.end == bpfrt::ProbeEnd::kEntry ? entries : returns).push_back(attached.link);
  }
  links_.clear();
  keeper_.detach(entries);
  keeper_.detach(returns);
}

std::vector<bpfrt::ProbeLink> HeapAttachments::take_links(model::Pid pid) {
  std::vector<bpfrt::ProbeLink> taken;
  for (const Attached& attached : links_) {
    if (attached.pid == pid) taken.push_back(attached.link);
  }
  std::erase_if(links_, [&](const Attached& attached) { return attached.pid == pid; });
  for (uint32_t index = 0; index < placed_.size(); ++index) {
    if (placed_[index].pid == pid) lost_.insert(index);
  }
  return taken;
}

bool HeapAttachments::has_probes(model::Pid pid, const model::FileId& file) const {
  for (uint32_t index = 0; index < placed_.size(); ++index) {
    const Placed& placed = placed_[index];
    if (placed.pid == pid && placed.file == file && !lost_.contains(index)) return true;
  }
  return false;
}

// Returns how many probes were set.
Result<uint64_t> HeapAttachments::attach_probes(const model::ProcessImage& image,
                                                const HeapProbePlan& plan, Scope scope) {
  Points points;
  const std::size_t before = placed_.size();
  std::vector<bool> wanted;
  for (const ProbedFile& file : plan.files) {
    wanted.push_back(scope == Scope::kAllFiles || !has_probes(image.pid, file.mapping.file));
  }
  for (const HeapProbe& probe : plan.probes) {
    if (!probe.shared_with.empty() || !wanted[probe.file]) continue;
    if (placed_.size() >= TM_MAX_PROBES) {
      return fail("more than {} probes in one run: trace fewer processes at a time", TM_MAX_PROBES);
    }
    const ProbedFile& file = plan.files[probe.file];
    const ShapeTraits& traits = shape_traits(probe.symbol.shape);
    const std::string reach = fmt::format("/proc/{}/fd/{}", ::getpid(), file.descriptor.get());
    const uint64_t cookie = encode_cookie(static_cast<uint16_t>(placed_.size()), probe);
    const bool carried = plan_.cookies == kernel::Cookies::kAttached;
    points.entries[{reach, traits.program}].push_back({probe.offset.value, carried ? cookie : 0});
    if (traits.allocates) points.returns[reach].push_back({probe.offset.value, 0});
    placed_.push_back(
        {image.pid, file.mapping.file, probe.allocator, file.module, probe.offset.value, cookie});
  }
  for (const auto& [reach, returns] : points.returns) {
    const auto attached =
        attach_points(kReturnProgram, bpfrt::ProbeEnd::kReturn, {reach, image.pid.value}, returns);
    if (!attached) return std::unexpected(attached.error());
  }
  for (const auto& [key, entries] : points.entries) {
    const auto attached =
        attach_points(key.second, bpfrt::ProbeEnd::kEntry, {key.first, image.pid.value}, entries);
    if (!attached) return std::unexpected(attached.error());
  }
  return placed_.size() - before;
}

Status HeapAttachments::attach_points(std::string_view program, bpfrt::ProbeEnd end,
                                      const bpfrt::UprobeTarget& target,
                                      std::span<const bpfrt::UprobePoint> points) {
  const bpf_program* found =
      bpf_object__find_program_by_name(object_, std::string(program).c_str());
  const auto links = keeper_.attach(found, plan_.uprobes, end, target, points);
  if (!links) return within(fmt::format("process {}", target.pid), links.error());
  for (const bpfrt::ProbeLink link : *links) {
    links_.push_back({model::Pid{target.pid}, end, link});
  }
  return {};
}

void HeapAttachments::note_coverage(const HeapProbePlan& plan) {
  static constexpr const char* kUnknown =
      "has malloc and free of its own and is no allocator that tidemark knows: what is allocated "
      "there is not counted";
  const auto add = [this](model::Coverage row) {
    const bool known = std::ranges::any_of(coverage_, [&](const model::Coverage& other) {
      return other.hook == row.hook && other.state == row.state;
    });
    if (!known) coverage_.push_back(std::move(row));
  };
  for (const HeapProbe& probe : plan.probes) {
    add({hook_name(probe.allocator, probe.symbol.symbol), model::HookState::kOn, {}});
  }
  for (const AbsentSymbol& absent : plan.absent) {
    add({hook_name(absent.allocator, absent.symbol.symbol), model::HookState::kMissing,
         absent.reason});
  }
  for (const std::string& path : plan.unknown_allocators) {
    add({fmt::format("allocator of {}", path.substr(path.rfind('/') + 1)),
         model::HookState::kMissing, kUnknown});
  }
}

// Where the probes of this process and the code around them lie in this generation's memory. A
// table that is full shows as unknown_probes, or as interrupting_calls in place of nested ones, in
// the report.
void HeapAttachments::note_addresses(const model::ProcessImage& image,
                                     model::Generation generation) {
  std::vector<Share>& shares = shares_[generation];
  for (uint32_t index = 0; index < placed_.size(); ++index) {
    const Placed& probe = placed_[index];
    if (probe.pid != image.pid || lost_.contains(index)) continue;
    for (const model::Mapping& mapping : image.mappings) {
      const uint64_t start = mapping.start.value;
      const uint64_t size = mapping.end.value - start;
      const uint64_t within = probe.file_offset_bytes - mapping.file_offset_bytes;
      if (!mapping.executable || probe.file != mapping.file || within >= size) continue;
      (void)bpfrt::put(maps_.allocator_text, tm_text_key{generation.value, index},
                       tm_text{start, mapping.end.value});
      if (plan_.cookies == kernel::Cookies::kByAddress) {
        const tm_probe_address key{start + within, static_cast<uint32_t>(image.pid.value), 0};
        (void)bpfrt::put(maps_.cookies_by_address, key, probe.cookie);
      }
      shares.push_back({index, hits_of(index), {}});
    }
  }
}

uint64_t HeapAttachments::hits_of(uint32_t probe) const {
  const auto slots = bpfrt::per_cpu<uint64_t>(maps_.hits, probe);
  if (!slots) return 0;
  uint64_t sum = 0;
  for (const uint64_t hits : *slots) sum += hits;
  return sum;
}

std::vector<Collected::Use> HeapAttachments::read_uses() const {
  std::vector<Collected::Use> uses;
  for (const auto& [generation, shares] : shares_) {
    std::map<std::pair<std::size_t, std::string>, model::AllocatorUse> by_module;
    for (const Share& share : shares) {
      const Placed& probe = placed_[share.probe];
      model::AllocatorUse& use = by_module[{probe.allocator, probe.module}];
      use.name = allocators()[probe.allocator].name;
      use.module = probe.module;
      ++use.probes;
      use.hits += share.hits_at_end.value_or(hits_of(share.probe)) - share.hits_before;
    }
    Collected::Use& use = uses.emplace_back();
    use.generation = generation;
    for (auto& [key, allocator] : by_module) use.allocators.push_back(std::move(allocator));
  }
  return uses;
}

}  // namespace tidemark::sources
