// SPDX-License-Identifier: Apache-2.0
//
// What a trace of kernel memory says about itself: the verdicts on call sites that every trace has
// (analysis.h), and those on slab caches that grow together. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "model/analysis.h"
#include "model/kernel_snapshot.h"

namespace tidemark::model {

struct KernelPolicy {
  Policy sites;
  // Call sites whose live counts are the same to this share are one graph of objects.
  double spread = 0.001;
  uint64_t least_objects = 1000;  // below it, equal counts are chance
  // A call site is no suspect where frees of its cache went unseen, as many as this share of what
  // it seems to keep (Reconciled::unseen).
  double most_unseen = 0.5;
};

// Suspects first.
[[nodiscard]] std::vector<Finding> analyse_kernel(const KernelSnapshot& snapshot,
                                                  const KernelPolicy& policy);

}  // namespace tidemark::model
