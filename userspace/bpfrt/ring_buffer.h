// SPDX-License-Identifier: Apache-2.0
//
// RingBuffer: records of one type from BPF to us. Single-threaded: records are delivered inside
// consume(). What BPF could not put in because it was full is counted there, not here.
#pragma once

#include <functional>
#include <memory>
#include <utility>

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
  // What waits now. Of what comes meanwhile no more than 4,096 records.
  [[nodiscard]] Status consume();

 private:
  struct Destroy {
    void operator()(ring_buffer* buffer) const noexcept;
  };
  struct Reader {
    explicit Reader(Deliver to) : deliver(std::move(to)) {}
    Deliver deliver;
    uint32_t read = 0;  // in this call of consume()
  };
  RingBuffer() = default;
  std::unique_ptr<Reader> reader_;  // first: the buffer holds its address
  std::unique_ptr<ring_buffer, Destroy> buffer_;
};

}  // namespace tidemark::bpfrt
