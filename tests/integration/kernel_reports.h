// SPDX-License-Identifier: Apache-2.0
//
// What the tests of `tidemark kernel` share: a program that makes the kernel keep memory, and
// questions to a report of "tidemark.kernel/1".
#pragma once

#include <string>
#include <vector>

#include "tidemark.h"

namespace tidemark::test {

// memory_plants KIND AMOUNT.
struct KernelPlant {
  Target target;
  Json ledger;
  KernelPlant(const std::string& kind, long amount)
      : target("memory_plants", {kind, std::to_string(amount)}) {}
  void run() { ledger = target.run(); }
  void end();
};

// Sums of the rows of a kind that one of these functions made, by the first frames.
Sums made_by(const Json& report, const std::string& kind, const std::vector<std::string>& functions,
             std::size_t depth = 1);

// The row of `reconcile` for a cache, by any of its names; null where there is none.
const Json* reconciled(const Json& report, const std::string& cache);

void check_kernel_report(const Json& report);

// Events that the kernel ran no program for: a slow machine interrupts many.
long skipped_events(const Json& report);

// Are functions traced beside tracepoints, by fentry or kprobes?
bool sees_functions(const Json& report);
// Are pages told that come in bulk, or does this kernel have no such call?
bool sees_pages_in_bulk(const Json& report);

}  // namespace tidemark::test
