// SPDX-License-Identifier: Apache-2.0
//
// The hooks of kernel memory: a row for each, what it needs of the kernel, and which of them are to
// be on, by which tier. Pure: what the kernel has comes in as functions.
//
// Tracepoints tell most. What they do not tell is a function, hooked by a BPF trampoline (fentry,
// fexit) where the kernel accepts that, else by kprobes. Kprobes alone are for kernels without
// either.
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

// Which kinds of hooks may be used, where the kernel has them.
enum class HookMode { kAuto, kTracepoints, kTracing, kKprobes };

enum class HookTier { kTracepoint, kTrampoline, kKprobe };

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

// At a function's entry and where it returns; either may be empty.
struct ProgramPair {
  std::string_view entry;
  std::string_view exit;
};

// A function that no tracepoint tells of.
struct FunctionHook {
  std::string_view name;
  std::array<std::string_view, 4> functions;  // its names on different kernels
  ProgramPair trampoline;
  ProgramPair kprobe;
  HookSpace space;
  HookNeed need = HookNeed::kRequired;
};

// What a tracepoint tells, by a kprobe.
struct SubstituteHook {
  std::string_view name;
  std::array<std::string_view, 4> functions;
  ProgramPair kprobe;
  HookSpace space;
  HookNeed need = HookNeed::kOptional;
  // Only where the kernel has this function, too; empty: always.
  std::string_view beside = {};
};

// What the arguments are on this kernel.
struct EventLayout {
  bool alloc_tells_cache = false;
  bool percpu_tells_call_site = false;
};

// What a kernel has.
struct HookFacts {
  // Types of a tracepoint's arguments; none where there is no such tracepoint.
  std::function<std::optional<std::vector<std::string>>(std::string_view)> tracepoint;
  std::function<bool(std::string_view)> function;
  // Why no trampoline can be attached to a function; empty: it can. Found by trying.
  std::function<std::string(std::string_view)> no_trampoline;
  std::string no_kprobes;  // why kprobes are not to be had; empty: they are
};

struct HookPlan {
  struct Row {
    HookSpace space = HookSpace::kSlab;
    HookTier tier = HookTier::kTracepoint;
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
[[nodiscard]] HookPlan plan_hooks(const Spaces& spaces, HookMode mode, const HookFacts& facts);

}  // namespace tidemark::sources
