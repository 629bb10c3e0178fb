// SPDX-License-Identifier: Apache-2.0
#include "elf/frame_entries.h"

#include <dwarf.h>
#include <elfutils/libdw.h>

#include <map>
#include <optional>
#include <string_view>

#include "elf/byte_reader.h"
#include "elf/named_sections.h"

namespace tidemark::elf {
namespace {

// How .eh_frame writes its pointers: the Linux Standard Base's DW_EH_PE_*. The lower four bits say
// how wide, the others from where.
constexpr uint8_t kAbsolute = 0x00;
constexpr uint8_t kUnsigned2 = 0x02;
constexpr uint8_t kUnsigned4 = 0x03;
constexpr uint8_t kUnsigned8 = 0x04;
constexpr uint8_t kSigned2 = 0x0a;
constexpr uint8_t kSigned4 = 0x0b;
constexpr uint8_t kSigned8 = 0x0c;
constexpr uint8_t kWidth = 0x0f;
constexpr uint8_t kFromHere = 0x10;
constexpr uint8_t kFrom = 0x70;

std::optional<uint64_t> read_encoded(ByteReader& bytes, uint8_t encoding) {
  const auto widened = [](auto number) -> std::optional<uint64_t> {
    if (!number) return std::nullopt;
    return static_cast<uint64_t>(static_cast<int64_t>(*number));
  };
  switch (encoding & kWidth) {
    case kAbsolute:
    case kUnsigned8:
    case kSigned8:
      return widened(bytes.number<int64_t>());
    case kUnsigned4:
      return widened(bytes.number<uint32_t>());
    case kSigned4:
      return widened(bytes.number<int32_t>());
    case kUnsigned2:
      return widened(bytes.number<uint16_t>());
    case kSigned2:
      return widened(bytes.number<int16_t>());
    default:
      return std::nullopt;
  }
}

struct Augmentation {
  bool sized = false;  // its data is preceded by its length, in each entry too
  bool signal_frame = false;
  uint8_t pointers = kAbsolute;
};

// None: a letter that we do not know, so that what follows it cannot be told.
std::optional<Augmentation> read_augmentation(const Dwarf_CIE& common) {
  Augmentation augmentation;
  const std::string_view letters = common.augmentation;
  ByteReader data(common.augmentation_data == nullptr
                      ? std::span<const uint8_t>()
                      : std::span(common.augmentation_data, common.augmentation_data_size));
  for (const char letter : letters) {
    if (letter == 'z') {
      augmentation.sized = true;
    } else if (letter == 'S') {
      augmentation.signal_frame = true;
    } else if (letter == 'R') {
      const auto encoding = data.number<uint8_t>();
      if (!encoding) return std::nullopt;
      augmentation.pointers = *encoding;
    } else if (letter == 'L') {
      if (!data.number<uint8_t>()) return std::nullopt;
    } else if (letter == 'P') {
      const auto encoding = data.number<uint8_t>();
      if (!encoding || !read_encoded(data, *encoding)) return std::nullopt;
    } else {
      return std::nullopt;
    }
  }
  return augmentation;
}

struct SectionBytes {
  std::vector<uint8_t> bytes;
  uint64_t vaddr = 0;
  bool exceptions = true;  // .eh_frame, not .debug_frame
};

std::optional<SectionBytes> copy_section(const NamedSection& section) {
  if (section.header.sh_type == SHT_NOBITS) return std::nullopt;
  if ((section.header.sh_flags & SHF_COMPRESSED) != 0 && elf_compress(section.section, 0, 0) < 0) {
    return std::nullopt;
  }
  const auto bytes = raw_bytes(section.section);
  // Four bytes are the mark of the end alone.
  if (bytes.size() <= 4) return std::nullopt;
  return SectionBytes{{bytes.begin(), bytes.end()}, section.header.sh_addr, true};
}

std::optional<SectionBytes> find_section(Elf* elf) {
  std::optional<SectionBytes> exceptions, debugging;
  const Status walked = for_each_section(elf, [&](const NamedSection& section) {
    if (section.name == ".eh_frame") {
      // A file of debug information alone has it without contents.
      exceptions = copy_section(section);
    } else if (section.name == ".debug_frame") {
      debugging = copy_section(section);
      if (debugging) debugging->exceptions = false;
    }
    return !exceptions;
  });
  if (!walked) return std::nullopt;
  return exceptions ? exceptions : debugging;
}

}  // namespace

class FrameSectionReader {
 public:
  explicit FrameSectionReader(SectionBytes section)
      : exceptions_(section.exceptions), vaddr_(section.vaddr) {
    read_.section_ = std::move(section.bytes);
    ident_[EI_CLASS] = ELFCLASS64;
    ident_[EI_DATA] = ELFDATA2LSB;
    ident_[EI_VERSION] = EV_CURRENT;
    data_.d_buf = read_.section_.data();
    data_.d_size = read_.section_.size();
    data_.d_type = ELF_T_BYTE;
    data_.d_version = EV_CURRENT;
  }

  FrameEntries run() {
    Dwarf_Off offset = 0;
    while (true) {
      Dwarf_CFI_Entry entry{};
      Dwarf_Off next = offset;
      const int outcome = dwarf_next_cfi(ident_, &data_, exceptions_, offset, &next, &entry);
      if (outcome > 0) break;
      if (outcome == 0 && !dwarf_cfi_cie_p(&entry)) add(entry.fde);
      if (outcome < 0) ++read_.damaged_;
      if (next <= offset) break;  // it cannot be told where the next one begins
      offset = next;
    }
    return std::move(read_);
  }

 private:
  struct Common {
    uint32_t index = 0;
    Augmentation augmentation;
  };

  // The common part at this offset of the section.
  const std::optional<Common>& common_at(Dwarf_Off offset) {
    const auto known = commons_.find(offset);
    if (known != commons_.end()) return known->second;
    std::optional<Common>& common = commons_[offset];
    Dwarf_CFI_Entry entry{};
    Dwarf_Off next = 0;
    if (offset >= read_.section_.size() ||
        dwarf_next_cfi(ident_, &data_, exceptions_, offset, &next, &entry) != 0 ||
        !dwarf_cfi_cie_p(&entry)) {
      return common;
    }
    const auto augmentation = read_augmentation(entry.cie);
    if (!augmentation) return common;
    common = Common{static_cast<uint32_t>(read_.commons_.size()), *augmentation};
    read_.commons_.push_back(
        {entry.cie.code_alignment_factor, entry.cie.data_alignment_factor,
         entry.cie.return_address_register, augmentation->signal_frame,
         Instructions(entry.cie.initial_instructions, entry.cie.initial_instructions_end)});
    return common;
  }

  void add(const Dwarf_FDE& fde) {
    const auto& common = common_at(fde.CIE_pointer);
    auto entry = common ? read_entry(fde, *common) : std::nullopt;
    if (!entry) {
      ++read_.damaged_;
    } else if (entry->size_bytes != 0) {  // what a linker dropped has none
      read_.entries_.push_back(*entry);
    }
  }

  std::optional<FrameEntry> read_entry(const Dwarf_FDE& fde, const Common& common) const {
    ByteReader bytes(std::span(fde.start, fde.end));
    const uint8_t encoding = exceptions_ ? common.augmentation.pointers : kAbsolute;
    auto start = read_encoded(bytes, encoding);
    const auto size = read_encoded(bytes, encoding & (kWidth & ~kSignedBit));
    if (!start || !size) return std::nullopt;
    if ((encoding & kFrom) == kFromHere) {
      *start += vaddr_ + static_cast<uint64_t>(fde.start - read_.section_.data());
    } else if ((encoding & kFrom) != kAbsolute) {
      return std::nullopt;
    }
    if (common.augmentation.sized) {
      const auto length = bytes.unsigned_leb();
      if (!length || !bytes.bytes(*length)) return std::nullopt;
    }
    if (*start + *size < *start) return std::nullopt;
    return FrameEntry{Vaddr{*start}, *size, common.index, bytes.left()};
  }

  // A length is not negative, however the start beside it is written.
  static constexpr uint8_t kSignedBit = 0x08;

  bool exceptions_;
  uint64_t vaddr_;
  unsigned char ident_[EI_NIDENT] = {};
  Elf_Data data_{};
  std::map<Dwarf_Off, std::optional<Common>> commons_;
  FrameEntries read_;
};

Result<FrameEntries> FrameEntries::read(const Image& image) {
  auto elf = begin_elf(image.file());
  if (!elf) return std::unexpected(elf.error());
  auto section = find_section(elf->get());
  if (!section) return FrameEntries();
  return FrameSectionReader(std::move(*section)).run();
}

}  // namespace tidemark::elf
