// SPDX-License-Identifier: Apache-2.0
//
// Image: one ELF file, held open. Answers what a file is (machine, build id), where its code is
// (file offset <-> image address, bytes) and what its functions are called. Knows nothing of
// processes: load addresses are the business of symbolize/.
//
// Owns one file descriptor for as long as it lives: it keeps working when the file has been
// unlinked, replaced or its process has gone. Opening reads the headers and the notes only; symbols
// are read on first use and then kept. Never maps the file, so a file cut off meanwhile gives
// errors and not SIGBUS; what is read is checked, so a hostile file gives errors too. A file
// rewritten in place gives a mixture of old and new.
//
// Symbols come from .symtab and .dynsym alone, but for all_functions(), which knows those in
// .gnu_debugdata and in a separate debug file as well. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "elf/address.h"
#include "elf/symbol_table.h"
#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::elf {

// kShared: libraries and position-independent executables.
enum class ImageType { kExecutable, kShared, kOther };

// The part of a PT_LOAD segment that comes from the file.
struct Segment {
  Vaddr vaddr;
  FileOffset offset;
  uint64_t size_bytes = 0;
};

class Image {
 public:
  // Errors: cannot be opened, not a regular file, not ELF, 32-bit, big-endian, headers damaged.
  [[nodiscard]] static Result<Image> open(const std::string& path);
  // `name` is for messages only. The descriptor's offset is not used.
  [[nodiscard]] static Result<Image> open(UniqueFd file, std::string_view name);

  [[nodiscard]] Machine machine() const { return machine_; }
  [[nodiscard]] ImageType type() const { return type_; }
  // Where its code begins when it is run; 0: it is not to be run.
  [[nodiscard]] Vaddr entry() const { return entry_; }
  // Stays the Image's.
  [[nodiscard]] const UniqueFd& file() const { return file_; }
  // The loader that it asks for; none for what is static, and for most libraries.
  [[nodiscard]] const std::optional<std::string>& interpreter() const { return interpreter_; }
  // Lower-case hex.
  [[nodiscard]] const std::optional<std::string>& build_id() const { return build_id_; }

  // Through the PT_LOAD segments; none for what is not loaded from the file. Where segments overlap
  // the executable one answers.
  [[nodiscard]] std::optional<Vaddr> to_vaddr(FileOffset offset) const;
  [[nodiscard]] std::optional<FileOffset> to_file_offset(Vaddr address) const;

  // Functions by name and by address; see SymbolTable for order and preference. The first of these
  // to be called reads the symbols. Errors: the symbol tables are damaged. Views and pointers live
  // as long as the Image.
  [[nodiscard]] Result<SymbolTable*> symbols();
  [[nodiscard]] Result<std::vector<Symbol>> find(std::string_view name);
  [[nodiscard]] Result<const Symbol*> covering(Vaddr address);  // null: no symbol covers it

  // Only the functions that are wanted, read anew at each call: cheap where all() would be large.
  [[nodiscard]] Result<SymbolTable> select_functions(const NameFilter& wanted) const;

  // For naming addresses: the functions of this file, of what it holds packed, and of its debug
  // file (null: none). Once the full .symtab is met the packed ones are not looked at. Read anew at
  // each call. What of the two others is damaged is left out; errors: this file's own tables are.
  [[nodiscard]] Result<SymbolTable> all_functions(const UniqueFd* debug_file) const;

  // Bytes as in the file (no relocation applied), at most 16 MiB, all within one segment.
  [[nodiscard]] Result<std::vector<uint8_t>> bytes_at(Vaddr address, std::size_t count) const;

 private:
  Image(UniqueFd file, std::string_view name) : file_(std::move(file)), name_(name) {}
  [[nodiscard]] Status read_headers();
  [[nodiscard]] std::optional<std::string> read_path(FileOffset offset, uint64_t size) const;
  [[nodiscard]] Result<std::vector<uint8_t>> read_at(FileOffset offset, std::size_t count) const;

  UniqueFd file_;
  std::string name_;
  Machine machine_ = Machine::kOther;
  ImageType type_ = ImageType::kOther;
  Vaddr entry_;
  std::optional<std::string> interpreter_;
  std::optional<std::string> build_id_;
  std::vector<Segment> segments_;  // executable ones first
  std::optional<Result<SymbolTable>> symbols_;
};

}  // namespace tidemark::elf
