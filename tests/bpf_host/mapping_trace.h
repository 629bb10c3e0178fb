// SPDX-License-Identifier: Apache-2.0
//
// A traced process that makes system calls: MappingTrace plays the kernel's part of them and says
// what userspace was told.
#pragma once

#include <asm/unistd.h>

#include <string>
#include <vector>

#include "bpf/abi/mapping.h"
#include "trace.h"

namespace tidemark::bpf_host {

using Lines = std::vector<std::string>;

class MappingTrace : public Trace {
 public:
  // A call of the main thread, from its beginning to its end.
  void call(long number, const Arguments& arguments, uint64_t result);
  void begin(long number, const Arguments& arguments) { begin(main, number, arguments); }
  void end(long number, const Arguments& arguments, uint64_t result) {
    end(main, number, arguments, result);
  }
  void begin(const Thread& thread, long number, const Arguments& arguments);
  void end(const Thread& thread, long number, const Arguments& arguments, uint64_t result);

  struct Told {
    tm_mapping_record record;
    std::vector<std::byte> behind;
  };
  // What was told since the last time.
  [[nodiscard]] std::vector<Told> take();
  // The same, a line each: what happened and those of its numbers that are not 0, in hex.
  [[nodiscard]] Lines told();
};

// What a failed system call returns.
[[nodiscard]] constexpr uint64_t failed(int error) {
  return static_cast<uint64_t>(-static_cast<int64_t>(error));
}

}  // namespace tidemark::bpf_host
