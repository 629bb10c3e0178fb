// SPDX-License-Identifier: Apache-2.0
//
// Memory reports that tests read: of the saved files of a machine, below tests/fixtures.
#pragma once

#include "fixtures.h"
#include "model/memory.h"
#include "report/memory_report.h"
#include "system/reader.h"

inline tidemark::report::MemoryReport report_of(const char* directory,
                                                const tidemark::model::MemoryOwners& owners = {}) {
  tidemark::model::MemorySnapshot snapshot;
  snapshot.kernel_release = "fixture";
  snapshot.taken_unix_ns = 1'600'000'000'000'000'000;
  const tidemark::system::HostRoot root(fixture_path(directory));
  const tidemark::system::ReadPlan plan;
  tidemark::system::read_memory({root, plan}, snapshot);
  // As the machine itself would have named its files.
  for (tidemark::model::Coverage& row : snapshot.coverage) {
    if (!row.reason) continue;
    const std::size_t at = row.reason->find(fixture_path(directory));
    if (at != std::string::npos) row.reason->erase(at, fixture_path(directory).size());
  }
  return tidemark::report::build_memory_report(snapshot, owners);
}
