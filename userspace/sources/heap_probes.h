// SPDX-License-Identifier: Apache-2.0
//
// Which probes a process needs: finds the allocators that are mapped in it and chooses a site for
// each of their functions. Reads the target's files, attaches nothing; `doctor` shows the same plan
// that `trace` carries out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "elf/address.h"
#include "elf/probe_site.h"
#include "elf/usdt.h"
#include "kernel/facts.h"
#include "model/process.h"
#include "model/snapshot.h"
#include "sources/allocator_finder.h"
#include "sources/allocators.h"
#include "sources/source.h"
#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::sources {

// Offsets in a file.
struct FileRange {
  uint64_t begin_bytes = 0;
  uint64_t end_bytes = 0;
};

struct HeapProbe {
  std::size_t allocator = 0;  // index into allocators()
  AllocatorSymbol symbol;
  std::string function;    // the symbol with its family's prefix
  std::size_t file = 0;    // index into HeapProbePlan::files
  elf::FileOffset offset;  // of the site in the file
  elf::ProbeSite site;
  FileRange body;  // of the function
  // The code around the function that is nothing but the allocator: see own_code().
  FileRange own;
  // The return instructions of a function that an exception may pass; such a one has no return
  // probe. Empty for all others.
  std::vector<elf::FileOffset> leaves;
  // Where a USDT probe's arguments lie, and its semaphore; empty for functions.
  std::vector<elf::UsdtArgument> arguments;
  std::optional<elf::FileOffset> semaphore;
  // Another function of the same address and way to be called, or one that this is only a jump to:
  // one probe serves both.
  std::string shared_with;
};

struct AbsentSymbol {
  std::size_t allocator = 0;
  AllocatorSymbol symbol;
  std::string function;
  model::HookState state = model::HookState::kMissing;  // kOff: it is there and gets no probe
  std::string reason;
};

// A place that is no allocator's: kMakesException, kLibrariesChanged.
struct RuntimeHook {
  std::string_view function;
  std::size_t file = 0;
  elf::FileOffset offset;
};

// A library with an allocator in it, held open so that it can be reached whatever becomes of its
// name.
struct ProbedFile {
  std::string module;  // path as the target sees it
  model::Mapping mapping;
  UniqueFd descriptor;
};

struct HeapProbePlan {
  std::vector<ProbedFile> files;
  std::vector<HeapProbe> probes;
  std::vector<AbsentSymbol> absent;
  std::vector<RuntimeHook> hooks;
};

// The cheapest sites on a kernel that emulates what `facts` say.
[[nodiscard]] SiteChoice cheapest_sites(const kernel::Facts& facts);

// Takes USDT probes out of the plan, `why` being said in the coverage.
void leave_out_usdt(HeapProbePlan& plan, std::string_view why);

using FileFilter = std::function<bool(const model::Mapping&)>;

// The probes of those files that are wanted (all, by default). May be empty. Errors: the file of a
// C library cannot be read.
[[nodiscard]] Result<HeapProbePlan> plan_files(const model::ProcessImage& process,
                                               SiteChoice choice, AllocatorFinder& finder,
                                               const FileFilter& wanted = nullptr);

// Of all files. An error where no allocator is found in the process: one line with what is there
// instead.
[[nodiscard]] Result<HeapProbePlan> plan_heap_probes(const model::ProcessImage& process,
                                                     SiteChoice choice, AllocatorFinder& finder);

// "glibc malloc", "jemalloc operator new(unsigned long)": how the probe is called in coverage.
[[nodiscard]] std::string hook_name(std::size_t allocator, std::string_view function);

}  // namespace tidemark::sources
