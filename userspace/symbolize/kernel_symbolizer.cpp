// SPDX-License-Identifier: Apache-2.0
#include "symbolize/kernel_symbolizer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <ranges>
#include <string_view>
#include <utility>

namespace tidemark::symbolize {
namespace {

// Beginnings of the names between a tracepoint and the allocator's caller.
constexpr std::array<std::string_view, 31> kInner = {"bpf_",
                                                     "__bpf_",
                                                     "__traceiter_",
                                                     "trace_event_raw_",
                                                     "perf_",
                                                     "perf_trace_",
                                                     "post_alloc_hook",
                                                     "prep_new_page",
                                                     "get_page_from_",
                                                     "rmqueue",
                                                     "__alloc_pages",
                                                     "__alloc_frozen_pages",
                                                     "alloc_frozen_",
                                                     "alloc_pages",
                                                     "__get_free_pages",
                                                     "get_free_pages_noprof",
                                                     "get_zeroed_",
                                                     "__folio_alloc",
                                                     "folio_alloc",
                                                     "vma_alloc_folio",
                                                     "___kmalloc_large",
                                                     "__kmalloc",
                                                     "kmalloc_",
                                                     "kmem_cache_alloc",
                                                     "slab_alloc",
                                                     "pcpu_alloc",
                                                     "__alloc_percpu",
                                                     "__vmalloc_",
                                                     "vmalloc",
                                                     "vzalloc",
                                                     "kvmalloc"};

bool is_inner(const model::Frame& frame) {
  if (!frame.function) return frame.module.empty();  // the BPF program itself may have no name
  if (frame.module == "[bpf]") return true;
  return std::ranges::any_of(
      kInner, [&](std::string_view start) { return frame.function->starts_with(start); });
}

}  // namespace

KernelSymbolizer::KernelSymbolizer(KernelSymbols symbols, std::optional<KernelLines> lines)
    : lines_(std::move(lines)) {
  tables_.push_back(std::move(symbols));
}

void KernelSymbolizer::learn(KernelSymbols symbols) {
  tables_.push_back(std::move(symbols));
  if (lines_) lines_->forget_modules();
  // A module may come where one was that had no lines.
  std::erase_if(known_lines_, [](const auto& known) { return !known.second; });
}

std::optional<std::string> KernelSymbolizer::why_no_lines() {
  if (!lines_) return "nobody asked for them";
  const auto there = lines_->kernel();
  return there ? std::nullopt : std::optional(there.error().text);
}

const std::optional<elf::SourceLine>& KernelSymbolizer::line_of(const KernelFunction& function,
                                                                model::Address call) {
  const auto [known, is_new] = known_lines_.try_emplace(call.value);
  if (is_new && lines_) known->second = lines_->at(function.module, call);
  return known->second;
}

std::vector<model::Frame> KernelSymbolizer::frames(
    model::Generation, std::span<const model::Address> return_addresses) {
  std::vector<model::Frame> frames;
  for (const model::Address address : return_addresses) {
    model::Frame frame;
    frame.address = address;
    frame.offset = address.value;
    // The call is in front of where it returns to.
    const model::Address call{address.value - 1};
    // Where a module is gone, the newest list has whatever lies in front of it: the nearest is
    // right.
    std::optional<KernelFunction> nearest;
    for (const KernelSymbols& table : tables_ | std::views::reverse) {
      const auto function = table.find(call);
      if (function && (!nearest || function->offset < nearest->offset)) nearest = function;
    }
    if (nearest) {
      frame.module =
          nearest->module.empty() ? "[kernel]" : "[" + std::string(nearest->module) + "]";
      frame.function = std::string(nearest->name);
      frame.function_offset = nearest->offset;
      if (const auto& source = line_of(*nearest, call)) {
        frame.file = source->file;
        frame.line = source->line;
      }
    }
    frames.push_back(std::move(frame));
  }
  return frames;
}

std::vector<model::Frame> from_caller(std::vector<model::Frame> frames) {
  // What is further in than this is the hook's own, whatever it is called: programs lie among the
  // modules, and those that are younger than the list of symbols are taken for one.
  const auto entered = std::ranges::find_if(frames, [](const model::Frame& frame) {
    return frame.function && frame.function->starts_with("bpf_trace_run");
  });
  const auto first = entered == frames.end() ? frames.begin() : entered;
  const auto caller = std::find_if_not(first, frames.end(), is_inner);
  if (caller != frames.end()) frames.erase(frames.begin(), caller);
  return frames;
}

}  // namespace tidemark::symbolize
