// SPDX-License-Identifier: Apache-2.0
#include "elf/debug_sections.h"

#include <lzma.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "elf/named_sections.h"
#include "support/file.h"

namespace tidemark::elf {
namespace {

constexpr std::size_t kMaxLinkName = 255;  // NAME_MAX
constexpr std::size_t kMaxPackedBytes = 64u << 20;
constexpr uint64_t kMaxUnpackedBytes = 64u << 20;
constexpr uint64_t kMaxUnpackMemory = 128u << 20;
constexpr std::size_t kStepBytes = 256 * 1024;

// The name with its 0, room up to a multiple of four, the CRC.
std::optional<DebugLink> parse_link(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto end = text.find('\0');
  if (end == std::string_view::npos || end == 0 || end > kMaxLinkName) return std::nullopt;
  DebugLink link;
  link.name = text.substr(0, end);
  if (link.name.find('/') != std::string::npos || link.name == "." || link.name == "..")
    return std::nullopt;
  const std::size_t crc_at = (end + 4) / 4 * 4;
  if (bytes.size() < crc_at + sizeof link.crc) return std::nullopt;
  std::memcpy(&link.crc, bytes.data() + crc_at, sizeof link.crc);
  return link;
}

class Decoder {
 public:
  Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { lzma_end(&stream_); }

  Status unpack(std::span<const uint8_t> packed, int to) {
    if (lzma_stream_decoder(&stream_, kMaxUnpackMemory, 0) != LZMA_OK)
      return fail("the decoder of .gnu_debugdata does not start");
    stream_.next_in = packed.data();
    stream_.avail_in = packed.size();
    std::vector<uint8_t> step(kStepBytes);
    for (lzma_ret result = LZMA_OK; result != LZMA_STREAM_END;) {
      stream_.next_out = step.data();
      stream_.avail_out = step.size();
      result = lzma_code(&stream_, LZMA_FINISH);
      if (result != LZMA_OK && result != LZMA_STREAM_END)
        return fail(".gnu_debugdata cannot be unpacked (lzma error {})", static_cast<int>(result));
      if (stream_.total_out > kMaxUnpackedBytes)
        return fail(".gnu_debugdata takes more than {} bytes unpacked", kMaxUnpackedBytes);
      const std::string_view filled(reinterpret_cast<const char*>(step.data()),
                                    step.size() - stream_.avail_out);
      if (auto kept = write_all(to, filled, "unpacked symbols"); !kept) return kept;
    }
    return {};
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
};

}  // namespace

Result<DebugSections> read_debug_sections(const UniqueFd& file) {
  const auto elf = begin_elf(file);
  if (!elf) return std::unexpected(elf.error());
  DebugSections found;
  const Status walked = for_each_section(elf->get(), [&](const NamedSection& section) {
    const bool filled = section.header.sh_type != SHT_NOBITS && section.header.sh_size > 0;
    found.symbols |= filled && section.header.sh_type == SHT_SYMTAB;
    found.lines |= filled && (section.name == ".debug_info" || section.name == ".zdebug_info");
    found.packed_symbols |= filled && section.name == ".gnu_debugdata";
    if (filled && section.name == ".gnu_debuglink") {
      found.link = parse_link(raw_bytes(section.section));
    }
    return true;
  });
  if (!walked) return std::unexpected(walked.error());
  return found;
}

Result<uint32_t> crc_of(const UniqueFd& file) {
  std::vector<uint8_t> step(kStepBytes);
  uLong crc = ::crc32(0, nullptr, 0);
  for (off_t offset = 0;;) {
    const ssize_t got = ::pread(file.get(), step.data(), step.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "reading at {:#x}", offset);
    if (got == 0) return static_cast<uint32_t>(crc);
    crc = ::crc32(crc, step.data(), static_cast<uInt>(got));
    offset += got;
  }
}

Result<UniqueFd> unpack_symbols(const UniqueFd& file) {
  const auto elf = begin_elf(file);
  if (!elf) return std::unexpected(elf.error());
  std::span<const uint8_t> packed;
  const Status walked = for_each_section(elf->get(), [&](const NamedSection& section) {
    if (section.name != ".gnu_debugdata" || section.header.sh_type == SHT_NOBITS) return true;
    if (section.header.sh_size <= kMaxPackedBytes) packed = raw_bytes(section.section);
    return false;
  });
  if (!walked) return std::unexpected(walked.error());
  if (packed.empty()) return fail(".gnu_debugdata is not there, cut off or too large");
  UniqueFd unpacked(::memfd_create("tidemark_symbols", MFD_CLOEXEC));
  if (!unpacked.valid()) return fail_errno(errno, "memfd_create");
  if (auto done = Decoder().unpack(packed, unpacked.get()); !done)
    return std::unexpected(done.error());
  return unpacked;
}

}  // namespace tidemark::elf
