// SPDX-License-Identifier: Apache-2.0
//
// Which probes a process needs: finds the allocators that are mapped in it and chooses a site for
// each of their functions. Reads the target's files, attaches nothing; `doctor` shows the same plan
// that `trace` carries out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "elf/address.h"
#include "elf/probe_site.h"
#include "model/process.h"
#include "sources/allocators.h"
#include "sources/source.h"
#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::sources {

struct HeapProbe {
  std::size_t allocator = 0;  // index into allocators()
  AllocatorSymbol symbol;
  std::size_t file = 0;    // index into HeapProbePlan::files
  elf::FileOffset offset;  // of the site in the file
  elf::ProbeSite site;
  std::string shared_with;  // another symbol of the same address and shape: one probe serves both
};

struct AbsentSymbol {
  std::size_t allocator = 0;
  AllocatorSymbol symbol;
  std::string reason;
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
  // Paths of mapped files that define malloc and free and are no allocator of the table.
  std::vector<std::string> unknown_allocators;
};

// An error where no allocator that we know is mapped in the process: one line with what is there
// instead.
[[nodiscard]] Result<HeapProbePlan> plan_heap_probes(const model::ProcessImage& process,
                                                     SiteChoice choice);

// "glibc malloc": how the probe is called in coverage.
[[nodiscard]] std::string hook_name(std::size_t allocator, std::string_view symbol);

}  // namespace tidemark::sources
