// SPDX-License-Identifier: Apache-2.0
#include "audit/process_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace tidemark::audit {
namespace {

constexpr std::size_t kBatch = 512;  // at most IOV_MAX

// Which pages have something in them, in memory or swapped out; read in pieces, for a moment.
// Documentation/admin-guide/mm/pagemap.rst
class TouchedPages {
 public:
  TouchedPages(int pagemap, uint64_t page_bytes) : pagemap_(pagemap), page_bytes_(page_bytes) {}

  bool any_in(uint64_t start, uint64_t size_bytes) {
    const uint64_t behind = (start + size_bytes + page_bytes_ - 1) / page_bytes_;
    for (uint64_t page = start / page_bytes_; page < behind; ++page) {
      if (is_touched(page)) return true;
    }
    return false;
  }

 private:
  static constexpr uint64_t kPresentOrSwapped = uint64_t{3} << 62;
  static constexpr std::size_t kAtOnce = 64;

  // What cannot be told counts as touched.
  bool is_touched(uint64_t page) {
    if (page < first_ || page - first_ >= kAtOnce) {
      first_ = page / kAtOnce * kAtOnce;
      entries_.fill(kPresentOrSwapped);
      const ssize_t got = ::pread(pagemap_, entries_.data(), sizeof(entries_),
                                  static_cast<off_t>(first_ * sizeof(uint64_t)));
      if (got < 0) entries_.fill(kPresentOrSwapped);
    }
    return (entries_[page - first_] & kPresentOrSwapped) != 0;
  }

  int pagemap_;
  uint64_t page_bytes_;
  uint64_t first_ = UINT64_MAX;
  std::array<uint64_t, kAtOnce> entries_{};
};

}  // namespace

Result<std::unique_ptr<ProcessMemory>> ProcessMemory::open(model::Pid pid) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid.value, 0)));
  if (!pidfd.valid()) return fail_errno(errno, "cannot hold on to process {}", pid.value);
  UniqueFd pagemap(
      ::open(fmt::format("/proc/{}/pagemap", pid.value).c_str(), O_RDONLY | O_CLOEXEC));
  return std::unique_ptr<ProcessMemory>(
      new ProcessMemory(pid, std::move(pidfd), std::move(pagemap)));
}

// A pidfd can be read when its process has ended.
bool ProcessMemory::is_gone() const {
  pollfd waiting{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, 0) != 0;
}

Status ProcessMemory::read(std::span<Read> reads) {
  const std::vector<Read*> wanted = without_untouched(reads);
  for (std::span<Read* const> left = wanted; !left.empty();) {
    if (auto done = read_batch(left); !done) return done;
  }
  if (is_gone()) return fail("process {} has ended", pid_.value);
  return {};
}

// To read a page that was never touched would bring in one of zeros. It lasts, and the mapping that
// it is in seems to be in memory there.
std::vector<Read*> ProcessMemory::without_untouched(std::span<Read> reads) const {
  TouchedPages touched(pagemap_.get(), static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)));
  std::vector<Read*> left;
  left.reserve(reads.size());
  for (Read& read : reads) {
    read.done = read.anonymous && pagemap_.valid() && !read.into.empty() &&
                !touched.any_in(read.address, read.into.size());
    if (read.done) {
      std::memset(read.into.data(), 0, read.into.size());
    } else {
      left.push_back(&read);
    }
  }
  return left;
}

// The call ends at the first place that is not mapped: that read is passed over.
Status ProcessMemory::read_batch(std::span<Read* const>& left) {
  const std::size_t count = std::min(left.size(), kBatch);
  std::vector<iovec> ours(count);
  std::vector<iovec> theirs(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Read& read = *left[i];
    ours[i] = {read.into.data(), read.into.size()};
    // An address of the target's: no pointer of ours.
    theirs[i] = {reinterpret_cast<void*>(read.address), read.into.size()};
  }
  const ssize_t result =
      ::process_vm_readv(pid_.value, ours.data(), count, theirs.data(), count, 0);
  if (result < 0 && errno != EFAULT) {
    return fail_errno(errno, "cannot read the memory of process {}", pid_.value);
  }
  auto bytes = static_cast<std::size_t>(std::max<ssize_t>(result, 0));
  bytes_read_ += bytes;
  std::size_t at = 0;
  for (; at < count && bytes >= left[at]->into.size(); ++at) {
    bytes -= left[at]->into.size();
    left[at]->done = true;
  }
  left = left.subspan(std::min(count, at + (at < count ? 1 : 0)));
  return {};
}

}  // namespace tidemark::audit
