// SPDX-License-Identifier: Apache-2.0
//
// RingBuffer: records of one type from BPF to us. Single-threaded: records are delivered inside
// consume(). What BPF could not put in because it was full is counted there, not here.
#pragma once

#include <functional>
#include <memory>

#include "support/result.h"

struct bpf_map;
struct ring_buffer;

namespace tidemark::bpfrt {

class RingBuffer {
 public:
  // `deliver` gets each record's bytes and must not throw.
  using Deliver = std::function<void(const void* record, std::size_t size_bytes)>;
  [[nodiscard]] static Result<RingBuffer> open(const bpf_map* map, Deliver deliver);

  // Readable when records wait. Owned by the RingBuffer.
  [[nodiscard]] int event_fd() const;
  [[nodiscard]] Status consume();

 private:
  struct Destroy {
    void operator()(ring_buffer* buffer) const noexcept;
  };
  RingBuffer() = default;
  std::unique_ptr<Deliver> deliver_;  // first: the buffer holds its address
  std::unique_ptr<ring_buffer, Destroy> buffer_;
};

}  // namespace tidemark::bpfrt
