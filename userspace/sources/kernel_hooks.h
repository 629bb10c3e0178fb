// SPDX-License-Identifier: Apache-2.0
//
// The hooks of kernel memory: a row for each, what it needs of the kernel, and which of them are to
// be on. Pure: what the kernel has comes in as functions.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/snapshot.h"

namespace tidemark::sources {

// What `tidemark kernel` may count.
struct Spaces {
  bool slab = true;
  bool pages = true;
  bool vmalloc = true;
  bool percpu = true;
};

enum class HookSpace { kSlab, kPage, kVmalloc, kPercpu };

enum class HookNeed {
  kRequired,  // its absence is told
  kOptional,  // a kernel without it has nothing to tell there
};

struct TracepointHook {
  std::string_view name;
  std::string_view program;
  HookSpace space;
  HookNeed need = HookNeed::kRequired;
};

// A function that no tracepoint tells of, by a kprobe.
struct FunctionHook {
  std::string_view name;
  std::array<std::string_view, 3> functions;  // its names on different kernels
  std::string_view program;
  std::string_view return_program;  // empty: its entry says all
  HookSpace space;
  HookNeed need = HookNeed::kRequired;
};

[[nodiscard]] std::span<const TracepointHook> tracepoint_hooks();
[[nodiscard]] std::span<const FunctionHook> function_hooks();

// What the arguments of the tracepoints are on this kernel.
struct EventLayout {
  bool alloc_tells_cache = false;
  bool percpu_tells_call_site = false;
};

// What a kernel has.
struct HookFacts {
  // Types of a tracepoint's arguments; none where there is no such tracepoint.
  std::function<std::optional<std::vector<std::string>>(std::string_view)> tracepoint;
  std::function<bool(std::string_view)> function;
  std::string no_kprobes;  // why kprobes are not to be had; empty: they are
};

struct HookPlan {
  struct Row {
    HookSpace space = HookSpace::kSlab;
    std::string program;
    std::string return_program;
    std::string function;  // empty: a tracepoint
    bool on = false;
    model::Coverage coverage;
  };
  EventLayout layout;
  std::vector<Row> rows;
};

// A row for each hook of the spaces, and for what no hook can see.
[[nodiscard]] HookPlan plan_hooks(const Spaces& spaces, const HookFacts& facts);

}  // namespace tidemark::sources
