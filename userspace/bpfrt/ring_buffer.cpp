// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/ring_buffer.h"

#include <bpf/libbpf.h>

#include <cerrno>

namespace tidemark::bpfrt {

void RingBuffer::Destroy::operator()(ring_buffer* buffer) const noexcept {
  ring_buffer__free(buffer);
}

Result<RingBuffer> RingBuffer::open(const bpf_map* map, Deliver deliver) {
  RingBuffer ring;
  ring.deliver_ = std::make_unique<Deliver>(std::move(deliver));
  const auto callback = [](void* context, void* record, std::size_t size) noexcept -> int {
    (*static_cast<Deliver*>(context))(record, size);
    return 0;
  };
  ring.buffer_.reset(ring_buffer__new(bpf_map__fd(map), callback, ring.deliver_.get(), nullptr));
  if (!ring.buffer_) return fail_errno(errno, "cannot read the ring buffer {}", bpf_map__name(map));
  return ring;
}

int RingBuffer::event_fd() const {
  return ring_buffer__epoll_fd(buffer_.get());
}

Status RingBuffer::consume() {
  const int result = ring_buffer__consume(buffer_.get());
  if (result < 0) return fail_errno(-result, "cannot read a ring buffer");
  return {};
}

}  // namespace tidemark::bpfrt
