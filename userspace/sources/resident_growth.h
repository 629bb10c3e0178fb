// SPDX-License-Identifier: Apache-2.0
//
// ResidentGrowth: watches the resident sets of all processes from the kernel's own tracepoints: how
// much each touches for the first time, and samples of the stacks that do. No probe, nothing in any
// process. Owns its BPF object, maps and links. Where the kernel lacks a hook it says so in its
// coverage and tells less. Single-threaded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernel/facts.h"
#include "model/growth.h"
#include "model/process.h"
#include "sources/growth_book.h"
#include "support/result.h"

namespace tidemark::sources {

// What the kernel told of a process.
struct GrowthRow {
  GrowthIdentity identity;
  std::string comm;
  uint64_t touched_bytes = 0;
  uint64_t events = 0;  // it rises with each change that the process made
  int64_t heap_growth_bytes = 0;
  int64_t private_growth_bytes = 0;
};

class ResidentGrowth {
 public:
  // Loads and attaches; nothing is told before open_gate(). An error where nothing can be traced at
  // all on this machine; a kernel without rss_stat is none.
  [[nodiscard]] static Result<std::unique_ptr<ResidentGrowth>> open(const kernel::Facts& facts);
  virtual ~ResidentGrowth() = default;

  virtual void open_gate() = 0;
  // Nothing is told any more; what waits can still be read.
  virtual void stop() = 0;
  // Readable when samples wait.
  [[nodiscard]] virtual std::vector<int> event_fds() const = 0;
  [[nodiscard]] virtual Status serve() = 0;
  // Of every process that has changed; none where the kernel does not tell who does.
  [[nodiscard]] virtual Result<std::optional<std::vector<GrowthRow>>> rows() const = 0;
  // This process has ended: its row gives its room back.
  virtual void erase(const GrowthIdentity& identity) = 0;
  // Code of a process whose samples wait for it.
  virtual void learn(model::Generation owner, const model::ProcessImage& image) = 0;
  [[nodiscard]] virtual GrowthBook& book() = 0;
  [[nodiscard]] virtual Result<std::vector<model::Counter>> counters() const = 0;
  [[nodiscard]] virtual std::vector<model::Coverage> coverage() const = 0;

 protected:
  ResidentGrowth() = default;
};

}  // namespace tidemark::sources
