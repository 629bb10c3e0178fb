// SPDX-License-Identifier: Apache-2.0
#include "audit/process_memory.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tidemark::audit {
namespace {

constexpr std::size_t kBatch = 512;  // at most IOV_MAX

}  // namespace

Result<std::unique_ptr<ProcessMemory>> ProcessMemory::open(model::Pid pid) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid.value, 0)));
  if (!pidfd.valid()) return fail_errno(errno, "cannot hold on to process {}", pid.value);
  return std::unique_ptr<ProcessMemory>(new ProcessMemory(pid, std::move(pidfd)));
}

// A pidfd can be read when its process has ended.
bool ProcessMemory::is_gone() const {
  pollfd waiting{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, 0) != 0;
}

Status ProcessMemory::read(std::span<Read> reads) {
  for (Read& read : reads) read.done = false;
  while (!reads.empty()) {
    if (auto done = read_batch(reads); !done) return done;
  }
  if (is_gone()) return fail("process {} has ended", pid_.value);
  return {};
}

// The call ends at the first place that is not mapped: that read is passed over.
Status ProcessMemory::read_batch(std::span<Read>& left) {
  const std::size_t count = std::min(left.size(), kBatch);
  std::vector<iovec> ours(count);
  std::vector<iovec> theirs(count);
  for (std::size_t i = 0; i < count; ++i) {
    ours[i] = {left[i].into.data(), left[i].into.size()};
    // An address of the target's: no pointer of ours.
    theirs[i] = {reinterpret_cast<void*>(left[i].address), left[i].into.size()};
  }
  const ssize_t result =
      ::process_vm_readv(pid_.value, ours.data(), count, theirs.data(), count, 0);
  if (result < 0 && errno != EFAULT) {
    return fail_errno(errno, "cannot read the memory of process {}", pid_.value);
  }
  auto bytes = static_cast<std::size_t>(std::max<ssize_t>(result, 0));
  bytes_read_ += bytes;
  std::size_t at = 0;
  for (; at < count && bytes >= left[at].into.size(); ++at) {
    bytes -= left[at].into.size();
    left[at].done = true;
  }
  left = left.subspan(std::min(count, at + (at < count ? 1 : 0)));
  return {};
}

}  // namespace tidemark::audit
