// SPDX-License-Identifier: Apache-2.0
//
// PerfMap: the names of code that a program compiled at run time, as it writes them down for
// profilers: /tmp/perf-PID.map, lines of "START SIZE NAME" with hex numbers. Pure: text in. The
// text is the target's, and may be cut or nonsense: lines that are none are passed over. Of code
// that was written over other code the later line counts.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "model/ids.h"

namespace tidemark::symbolize {

struct CompiledFunction {
  std::string_view name;  // a view into the map
  uint64_t offset_bytes = 0;
};

class PerfMap {
 public:
  PerfMap() = default;
  // At most a million of functions; what comes behind them is not read.
  [[nodiscard]] static PerfMap parse(std::string_view text);

  [[nodiscard]] std::optional<CompiledFunction> find(model::Address address) const;
  // Does it name any of the code from `start` to before `end`?
  [[nodiscard]] bool has_any(model::Address start, model::Address end) const;

 private:
  struct Code {
    uint64_t end = 0;
    uint64_t function_start = 0;
    std::size_t name_at = 0;
    std::size_t name_size = 0;
  };
  void add(uint64_t start, uint64_t end, std::string_view name);
  void cut_out(uint64_t start, uint64_t end);

  std::string names_;
  std::map<uint64_t, Code> code_;  // by start; disjoint
};

}  // namespace tidemark::symbolize
