// SPDX-License-Identifier: Apache-2.0
//
// SnapshotStore: a directory with one JSON document for each snapshot, named by its time, so that
// the names sort as the snapshots were taken. A document appears whole or not at all; the oldest go
// when the store is larger than its limit. Other files in the directory are left alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/result.h"

namespace tidemark::collect {

class SnapshotStore {
 public:
  // Makes the directory where it is not there. `limit_bytes` is for all documents together; the
  // newest one stays in any case.
  [[nodiscard]] static Result<SnapshotStore> open(std::string directory, uint64_t limit_bytes);

  // The path of the new document.
  [[nodiscard]] Result<std::string> add(uint64_t taken_unix_ns, std::string_view document);

  // Paths of the documents of a store, oldest first. An error if the directory cannot be read.
  [[nodiscard]] static Result<std::vector<std::string>> list(const std::string& directory);

 private:
  SnapshotStore(std::string directory, uint64_t limit_bytes)
      : directory_(std::move(directory)), limit_bytes_(limit_bytes) {}
  [[nodiscard]] Status drop_oldest();

  std::string directory_;
  uint64_t limit_bytes_;
};

// "tidemark-20261122T035912.123456789Z.json"
[[nodiscard]] std::string snapshot_name(uint64_t taken_unix_ns);

}  // namespace tidemark::collect
