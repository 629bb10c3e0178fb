// SPDX-License-Identifier: Apache-2.0
#include "system/pagemap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "support/unique_fd.h"

namespace tidemark::system {
namespace {

// Documentation/admin-guide/mm/pagemap.rst
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kFileOrShared = uint64_t{1} << 61;
constexpr std::size_t kEntriesAtOnce = 65536;

bool add_range(int fd, const model::AddressRange& range, uint64_t page_bytes,
               std::vector<uint64_t>& entries, model::Resident& sum) {
  uint64_t page = range.start / page_bytes;
  const uint64_t behind = range.end / page_bytes;
  while (page < behind) {
    const std::size_t wanted = std::min<uint64_t>(kEntriesAtOnce, behind - page);
    entries.resize(wanted);
    const ssize_t got = ::pread(fd, entries.data(), wanted * sizeof(uint64_t),
                                static_cast<off_t>(page * sizeof(uint64_t)));
    if (got < static_cast<ssize_t>(sizeof(uint64_t))) return false;
    const std::size_t count = static_cast<std::size_t>(got) / sizeof(uint64_t);
    add_pages(sum, std::span(entries).first(count), page_bytes);
    page += count;
  }
  return true;
}

}  // namespace

void add_pages(model::Resident& sum, std::span<const uint64_t> entries, uint64_t page_bytes) {
  for (const uint64_t entry : entries) {
    if ((entry & kPresent) == 0) continue;
    sum.bytes += page_bytes;
    if ((entry & kFileOrShared) == 0) sum.anonymous_bytes += page_bytes;
  }
}

std::optional<model::Resident> read_resident(model::Pid pid,
                                             std::span<const model::AddressRange> ranges) {
  const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const UniqueFd fd(
      ::open(fmt::format("/proc/{}/pagemap", pid.value).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  model::Resident sum;
  std::vector<uint64_t> entries;
  for (const model::AddressRange& range : ranges) {
    if (!add_range(fd.get(), range, page_bytes, entries, sum)) return std::nullopt;
  }
  return sum;
}

std::optional<std::vector<bool>> read_kept(model::Pid pid,
                                           std::span<const model::Address> addresses) {
  const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const UniqueFd fd(
      ::open(fmt::format("/proc/{}/pagemap", pid.value).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  std::vector<bool> kept;
  kept.reserve(addresses.size());
  for (const model::Address address : addresses) {
    uint64_t entry = 0;
    const ssize_t got = ::pread(fd.get(), &entry, sizeof(entry),
                                static_cast<off_t>(address.value / page_bytes * sizeof(entry)));
    if (got < 0) return std::nullopt;
    kept.push_back(got == sizeof(entry) && (entry & (kPresent | kSwapped)) != 0);
  }
  return kept;
}

}  // namespace tidemark::system
