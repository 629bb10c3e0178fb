// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/iterator.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "support/unique_fd.h"

namespace tidemark::bpfrt {
namespace {

struct DestroyLink {
  void operator()(bpf_link* link) const noexcept { bpf_link__destroy(link); }
};

}  // namespace

Result<std::string> read_iterator(const bpf_program* program) {
  const std::unique_ptr<bpf_link, DestroyLink> link(bpf_program__attach_iter(program, nullptr));
  if (!link) return fail_errno(errno, "cannot start the iterator {}", bpf_program__name(program));
  const UniqueFd fd(bpf_iter_create(bpf_link__fd(link.get())));
  if (!fd.valid()) {
    return fail_errno(errno, "cannot run the iterator {}", bpf_program__name(program));
  }
  std::string content;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    // EAGAIN: the kernel passed a million objects that were of no interest, and takes a breath.
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) {
      return fail_errno(errno, "cannot read the iterator {}", bpf_program__name(program));
    }
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace tidemark::bpfrt
