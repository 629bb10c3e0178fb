// SPDX-License-Identifier: Apache-2.0
#include "elf/vdso.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "support/file.h"
#include "support/unique_fd.h"

namespace tidemark::elf {
namespace {

// To the end of the headers of its sections, which come last. The kernel made it, and maps all of
// it: it needs no doubt.
std::string_view own_vdso() {
  // The auxiliary vector has addresses as numbers.
  const auto* start = reinterpret_cast<const char*>(::getauxval(AT_SYSINFO_EHDR));
  if (start == nullptr) return {};
  Elf64_Ehdr header{};
  std::memcpy(&header, start, sizeof header);
  uint64_t end = header.e_shoff + uint64_t{header.e_shnum} * header.e_shentsize;
  for (uint16_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    std::memcpy(&segment, start + header.e_phoff + uint64_t{i} * header.e_phentsize,
                sizeof segment);
    end = std::max(end, segment.p_offset + segment.p_filesz);
  }
  return {start, end};
}

}  // namespace

Result<Image> open_vdso() {
  const std::string_view vdso = own_vdso();
  if (vdso.empty()) return fail("{}: the kernel gave us none", kVdsoPath);
  UniqueFd file(::memfd_create("tidemark_vdso", MFD_CLOEXEC));
  if (!file.valid()) return fail_errno(errno, "memfd_create");
  if (auto written = write_all(file.get(), vdso, std::string(kVdsoPath)); !written)
    return std::unexpected(written.error());
  return Image::open(std::move(file), kVdsoPath);
}

}  // namespace tidemark::elf
