// SPDX-License-Identifier: Apache-2.0
#include "elf/image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "elf/build_id.h"
#include "elf/debug_sections.h"
#include "elf/libelf_handle.h"
#include "elf/symbol_reader.h"

namespace tidemark::elf {
namespace {

// Far above what real files have; they only bound what a hostile one can cost.
constexpr std::size_t kMaxProgramHeaders = 4096;
constexpr std::size_t kMaxNoteRanges = 64;
constexpr std::size_t kMaxNoteBytes = 64 * 1024;
constexpr std::size_t kMaxCodeBytes = 16 * 1024 * 1024;

struct NoteRange {
  FileOffset offset;
  std::size_t size_bytes = 0;
  NoteAlignment alignment = NoteAlignment::kFour;
};

NoteRange note_range(uint64_t offset, uint64_t size, uint64_t alignment) {
  return {FileOffset{offset}, static_cast<std::size_t>(std::min<uint64_t>(size, kMaxNoteBytes)),
          alignment == 8 ? NoteAlignment::kEight : NoteAlignment::kFour};
}

Result<std::vector<GElf_Phdr>> program_headers(Elf* elf) {
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return fail("program headers: {}", elf_errmsg(-1));
  if (count > kMaxProgramHeaders) return fail("{} program headers are too many", count);
  std::vector<GElf_Phdr> headers(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (gelf_getphdr(elf, static_cast<int>(i), &headers[i]) == nullptr) {
      return fail("program header {}: {}", i, elf_errmsg(-1));
    }
  }
  return headers;
}

std::vector<NoteRange> note_segments(const std::vector<GElf_Phdr>& headers) {
  std::vector<NoteRange> ranges;
  for (const GElf_Phdr& header : headers) {
    if (header.p_type != PT_NOTE || ranges.size() == kMaxNoteRanges) continue;
    ranges.push_back(note_range(header.p_offset, header.p_filesz, header.p_align));
  }
  return ranges;
}

// For files without note segments: relocatable and debug files, and those of odd linker scripts.
std::vector<NoteRange> note_sections(Elf* elf) {
  std::vector<NoteRange> ranges;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_NOTE) continue;
    if (ranges.size() == kMaxNoteRanges) break;
    ranges.push_back(note_range(header.sh_offset, header.sh_size, header.sh_addralign));
  }
  return ranges;
}

// The loaded segments, executable ones first.
std::vector<Segment> file_segments(const std::vector<GElf_Phdr>& headers) {
  std::vector<Segment> segments;
  for (const bool executable : {true, false}) {
    for (const GElf_Phdr& header : headers) {
      if (header.p_type != PT_LOAD || ((header.p_flags & PF_X) != 0) != executable) continue;
      // A sum that wraps around could not have been loaded.
      if (header.p_offset + header.p_filesz < header.p_offset) continue;
      if (header.p_vaddr + header.p_filesz < header.p_vaddr) continue;
      segments.push_back({Vaddr{header.p_vaddr}, FileOffset{header.p_offset}, header.p_filesz});
    }
  }
  return segments;
}

Machine machine_of(const GElf_Ehdr& header) {
  switch (header.e_machine) {
    case EM_X86_64:
      return Machine::kX86_64;
    case EM_AARCH64:
      return Machine::kArm64;
    default:
      return Machine::kOther;
  }
}

ImageType type_of(const GElf_Ehdr& header) {
  switch (header.e_type) {
    case ET_EXEC:
      return ImageType::kExecutable;
    case ET_DYN:
      return ImageType::kShared;
    default:
      return ImageType::kOther;
  }
}

// Reads until `count` bytes or the end of the file. Returns a negative errno value on failure.
ssize_t read_fully(int fd, uint8_t* to, std::size_t count, uint64_t offset) {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t got = pread(fd, to + done, count - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return static_cast<ssize_t>(done);
}

}  // namespace

Result<Image> Image::open(const std::string& path) {
  // Not blocking: the name may turn out to be a FIFO.
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.valid()) return fail_errno(errno, "{}", path);
  return open(std::move(file), path);
}

Result<Image> Image::open(UniqueFd file, std::string_view name) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return fail_errno(errno, "{}", name);
  if (!S_ISREG(status.st_mode)) return fail("{}: not a regular file", name);

  Image image(std::move(file), name);
  if (const Status read = image.read_headers(); !read) return within(name, read.error());
  return image;
}

Status Image::read_headers() {
  const auto elf = begin_elf(file_);
  if (!elf) return std::unexpected(elf.error());
  if (gelf_getclass(elf->get()) == ELFCLASS32) {
    return fail("a 32-bit ELF file; only 64-bit programs can be traced");
  }
  GElf_Ehdr header;
  if (gelf_getehdr(elf->get(), &header) == nullptr) return fail("ELF header: {}", elf_errmsg(-1));
  if (header.e_ident[EI_DATA] != ELFDATA2LSB) {
    return fail("a big-endian ELF file; only little-endian programs can be traced");
  }
  machine_ = machine_of(header);
  type_ = type_of(header);
  entry_ = Vaddr{header.e_entry};

  const auto program = program_headers(elf->get());
  if (!program) return std::unexpected(program.error());
  segments_ = file_segments(*program);
  for (const GElf_Phdr& one : *program) {
    if (one.p_type == PT_INTERP) interpreter_ = read_path(FileOffset{one.p_offset}, one.p_filesz);
  }
  const auto build_id_in = [this](const std::vector<NoteRange>& ranges) {
    std::optional<std::string> found;
    for (const NoteRange& range : ranges) {
      const auto notes = read_at(range.offset, range.size_bytes);
      if (notes) found = build_id_in_notes(*notes, range.alignment);
      if (found) break;
    }
    return found;
  };
  build_id_ = build_id_in(note_segments(*program));
  if (!build_id_) build_id_ = build_id_in(note_sections(elf->get()));
  return {};
}

// Up to its 0; none where it is longer than a path can be, or cut off.
std::optional<std::string> Image::read_path(FileOffset offset, uint64_t size) const {
  if (size > PATH_MAX) return std::nullopt;
  const auto bytes = read_at(offset, static_cast<std::size_t>(size));
  if (!bytes) return std::nullopt;
  const auto end = std::ranges::find(*bytes, 0);
  if (end == bytes->end() || end == bytes->begin()) return std::nullopt;
  return std::string(bytes->begin(), end);
}

std::optional<Vaddr> Image::to_vaddr(FileOffset offset) const {
  for (const Segment& segment : segments_) {
    if (offset < segment.offset) continue;
    const uint64_t inside = offset.value - segment.offset.value;
    if (inside < segment.size_bytes) return Vaddr{segment.vaddr.value + inside};
  }
  return std::nullopt;
}

std::optional<FileOffset> Image::to_file_offset(Vaddr address) const {
  for (const Segment& segment : segments_) {
    if (address < segment.vaddr) continue;
    const uint64_t inside = address.value - segment.vaddr.value;
    if (inside < segment.size_bytes) return FileOffset{segment.offset.value + inside};
  }
  return std::nullopt;
}

Result<SymbolTable*> Image::symbols() {
  if (!symbols_) symbols_ = read_symbols(file_);
  if (!*symbols_) return within(name_, symbols_->error());
  return &**symbols_;
}

Result<std::vector<Symbol>> Image::find(std::string_view name) {
  const auto table = symbols();
  if (!table) return std::unexpected(table.error());
  return (*table)->find(name);
}

Result<const Symbol*> Image::covering(Vaddr address) {
  const auto table = symbols();
  if (!table) return std::unexpected(table.error());
  return (*table)->covering(address);
}

Result<SymbolTable> Image::select_functions(const NameFilter& wanted) const {
  auto table = read_symbols(file_, wanted);
  if (!table) return within(name_, table.error());
  return table;
}

Result<SymbolTable> Image::all_functions(const UniqueFd* debug_file) const {
  std::vector<const UniqueFd*> files{&file_};
  if (debug_file != nullptr) files.push_back(debug_file);
  const auto has_symbols = [](const UniqueFd* file) {
    const auto sections = read_debug_sections(*file);
    return sections && sections->symbols;
  };
  UniqueFd unpacked;
  if (std::ranges::none_of(files, has_symbols)) {
    if (auto symbols = unpack_symbols(file_)) {
      unpacked = *std::move(symbols);
      files.push_back(&unpacked);
    }
  }
  auto table = read_symbols(files);
  if (!table) return within(name_, table.error());
  return table;
}

Result<std::vector<uint8_t>> Image::bytes_at(Vaddr address, std::size_t count) const {
  const auto offset = to_file_offset(address);
  if (!offset) return fail("{}: nothing is loaded at {:#x}", name_, address.value);
  if (count > kMaxCodeBytes)
    return fail("{}: {} bytes at {:#x} are too many", name_, count, address.value);
  const uint64_t last_byte = count == 0 ? 0 : count - 1;
  const auto last = to_file_offset(Vaddr{address.value + last_byte});
  if (!last || last->value - offset->value != last_byte) {
    return fail("{}: {} bytes at {:#x} reach beyond their segment", name_, count, address.value);
  }
  auto bytes = read_at(*offset, count);
  if (!bytes) return within(name_, bytes.error());
  return bytes;
}

Result<std::vector<uint8_t>> Image::read_at(FileOffset offset, std::size_t count) const {
  std::vector<uint8_t> bytes(count);
  const ssize_t got = read_fully(file_.get(), bytes.data(), count, offset.value);
  if (got < 0) return fail_errno(static_cast<int>(-got), "reading at {:#x}", offset.value);
  if (static_cast<std::size_t>(got) != count) {
    return fail("the file ends before {:#x}", offset.value + count);
  }
  return bytes;
}

}  // namespace tidemark::elf
