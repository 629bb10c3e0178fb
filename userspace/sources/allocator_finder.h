// SPDX-License-Identifier: Apache-2.0
//
// AllocatorFinder: which allocators of the table a mapped file has. Reads each file's symbols once,
// in one pass that keeps the few names it knows; a file that it has seen costs an open and a stat,
// however often its processes call exec. Single-threaded.
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "elf/image.h"
#include "elf/symbol_table.h"
#include "elf/usdt.h"
#include "model/process.h"
#include "sources/allocators.h"
#include "support/result.h"
#include "support/unique_fd.h"

namespace tidemark::sources {

struct FoundFamily {
  std::size_t allocator = 0;  // index into allocators()
  const SymbolFamily* family = nullptr;
};

struct FileFindings {
  std::vector<FoundFamily> families;
  // Of the names that the table has, and of those below.
  elf::SymbolTable functions;
  bool has_functions = false;        // false: stripped, nothing in it has a name
  std::vector<elf::UsdtProbe> usdt;  // of kOtelProvider
};

// Where the C++ runtime makes an exception, before it allocates memory for it.
inline constexpr std::string_view kMakesException = "__cxa_allocate_exception";
// Where the dynamic linker tells debuggers that libraries came or went.
inline constexpr std::string_view kLibrariesChanged = "_dl_debug_state";

// Is this the full name of a function in the table?
[[nodiscard]] bool is_allocator_function(std::string_view name);

// Pure: by the base name of `path` and the functions that the file has.
[[nodiscard]] std::vector<FoundFamily> find_families(std::string_view path,
                                                     const elf::SymbolTable& functions);

class AllocatorFinder {
 public:
  // Errors: not ELF, 32-bit, damaged. What is returned lives as long as the finder.
  [[nodiscard]] Result<const FileFindings*> look_into(const UniqueFd& file, std::string_view path);

 private:
  struct Key {
    uint64_t device = 0;
    uint64_t inode = 0;
    uint64_t size_bytes = 0;
    int64_t modified_ns = 0;
    std::string path;  // the name has a say in what a file is taken for
    auto operator<=>(const Key&) const = default;
  };
  std::map<Key, Result<FileFindings>> seen_;
};

// Functions in pairs that may be an allocator which the table does not have: "pool_alloc and
// pool_free". Of a file's function names; at most `limit`.
[[nodiscard]] std::vector<std::string> guess_allocators(const std::vector<std::string>& names,
                                                        std::size_t limit);

// The same of a process's files, the program first, each with the name of its file.
[[nodiscard]] std::vector<std::string> guess_allocators_of(const model::ProcessImage& process);

// The images of one file can each own a descriptor.
[[nodiscard]] Result<elf::Image> open_image(const UniqueFd& file, std::string_view name);

}  // namespace tidemark::sources
