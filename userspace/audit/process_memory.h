// SPDX-License-Identifier: Apache-2.0
//
// ProcessMemory: a running process, read by process_vm_readv. It is not stopped and runs nothing
// for it; pages that were swapped out come back in. Bound to the process by a pidfd, so that
// another one that got its number is not taken for it.
#pragma once

#include <memory>

#include "audit/memory_reader.h"
#include "model/ids.h"
#include "support/unique_fd.h"

namespace tidemark::audit {

class ProcessMemory final : public MemoryReader {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ProcessMemory>> open(model::Pid pid);
  [[nodiscard]] Status read(std::span<Read> reads) override;

 private:
  ProcessMemory(model::Pid pid, UniqueFd pidfd, UniqueFd pagemap)
      : pid_(pid), pidfd_(std::move(pidfd)), pagemap_(std::move(pagemap)) {}
  [[nodiscard]] std::vector<Read*> without_untouched(std::span<Read> reads) const;
  [[nodiscard]] Status read_batch(std::span<Read* const>& left);
  [[nodiscard]] bool is_gone() const;

  model::Pid pid_;
  UniqueFd pidfd_;
  UniqueFd pagemap_;  // invalid: where the kernel has none, all pages are read
};

}  // namespace tidemark::audit
