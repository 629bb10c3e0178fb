// SPDX-License-Identifier: Apache-2.0
#include "elf/build_id.h"

#include <elf.h>
#include <fmt/format.h>

#include <cstring>
#include <string_view>

namespace tidemark::elf {
namespace {

constexpr std::size_t kMaxBuildIdBytes = 64;  // SHA-1 is 20; lld's --build-id=0x... may be longer
constexpr std::string_view kGnuName{"GNU\0", 4};

uint64_t padded(uint64_t size, NoteAlignment alignment) {
  const auto unit = static_cast<uint64_t>(alignment);
  return (size + unit - 1) / unit * unit;
}

}  // namespace

std::string lower_hex(std::span<const uint8_t> bytes) {
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) fmt::format_to(std::back_inserter(hex), "{:02x}", byte);
  return hex;
}

std::optional<std::string> build_id_in_notes(std::span<const uint8_t> notes,
                                             NoteAlignment alignment) {
  Elf64_Nhdr header;
  while (notes.size() >= sizeof header) {
    std::memcpy(&header, notes.data(), sizeof header);
    // The sizes are 32 bits wide and added in 64: nothing overflows.
    const uint64_t description_at = padded(sizeof header + uint64_t{header.n_namesz}, alignment);
    const uint64_t end = description_at + header.n_descsz;
    if (end > notes.size()) return std::nullopt;

    const bool is_build_id =
        header.n_type == NT_GNU_BUILD_ID && header.n_namesz == kGnuName.size() &&
        std::memcmp(notes.data() + sizeof header, kGnuName.data(), kGnuName.size()) == 0;
    if (is_build_id && header.n_descsz > 0 && header.n_descsz <= kMaxBuildIdBytes) {
      return lower_hex(notes.subspan(description_at, header.n_descsz));
    }
    const uint64_t next = padded(end, alignment);
    if (next >= notes.size()) return std::nullopt;
    notes = notes.subspan(next);
  }
  return std::nullopt;
}

}  // namespace tidemark::elf
