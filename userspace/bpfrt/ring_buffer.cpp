// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/ring_buffer.h"

#include <bpf/libbpf.h>

#include <cerrno>

namespace tidemark::bpfrt {

namespace {

// Where records come as fast as they are read there is no end: others want to be served, too. No
// fewer than a ring of ours holds, so that what waited when consume() was called is read.
constexpr uint32_t kMostAtOnce = 4096;

}  // namespace

void RingBuffer::Destroy::operator()(ring_buffer* buffer) const noexcept {
  ring_buffer__free(buffer);
}

Result<RingBuffer> RingBuffer::open(const bpf_map* map, Deliver deliver) {
  RingBuffer ring;
  ring.reader_ = std::make_unique<Reader>(std::move(deliver));
  // The record counts as read also where the callback asks for an end.
  const auto callback = [](void* context, void* record, std::size_t size) noexcept -> int {
    auto& reader = *static_cast<Reader*>(context);
    reader.deliver(record, size);
    return ++reader.read < kMostAtOnce ? 0 : -ECANCELED;
  };
  ring.buffer_.reset(ring_buffer__new(bpf_map__fd(map), callback, ring.reader_.get(), nullptr));
  if (!ring.buffer_) return fail_errno(errno, "cannot read the ring buffer {}", bpf_map__name(map));
  return ring;
}

int RingBuffer::event_fd() const {
  return ring_buffer__epoll_fd(buffer_.get());
}

Status RingBuffer::consume() {
  reader_->read = 0;
  const int result = ring_buffer__consume(buffer_.get());
  if (result < 0 && result != -ECANCELED) return fail_errno(-result, "cannot read a ring buffer");
  return {};
}

}  // namespace tidemark::bpfrt
