// SPDX-License-Identifier: Apache-2.0
#include "sources/allocators.h"

#include <algorithm>
#include <array>

namespace tidemark::sources {
namespace {

constexpr std::array<ShapeTraits, kCallShapes> kShapes = {{
    ShapeTraits{"heap_malloc", 1, true, false, false},
    ShapeTraits{"heap_malloc", 1, true, false, true},
    ShapeTraits{"heap_calloc", 2, true, false, false},
    ShapeTraits{"heap_calloc", 2, true, false, true},
    ShapeTraits{"heap_realloc", 2, true, false, false},
    ShapeTraits{"heap_realloc", 2, true, false, true},
    ShapeTraits{"heap_reallocf", 2, true, false, false},
    ShapeTraits{"heap_reallocarray", 3, true, false, false},
    ShapeTraits{"heap_memalign", 2, true, false, true},
    ShapeTraits{"heap_posix_memalign", 3, true, false, true},
    ShapeTraits{"heap_resize", 2, true, false, true},
    ShapeTraits{"heap_memalign", 2, true, false, false},
    ShapeTraits{"heap_memalign", 2, true, false, true},
    ShapeTraits{"heap_arena_calloc", 3, true, false, false},
    ShapeTraits{"heap_arena_realloc", 3, true, false, false},
    ShapeTraits{"heap_bulk_free", 1, false, false, false},
    // What these read is said by the probe's note.
    ShapeTraits{"heap_usdt_alloc", 0, false, false, false},
    ShapeTraits{"heap_usdt_free", 0, false, false, false},
    ShapeTraits{"heap_delete", 1, false, true, false},
    ShapeTraits{"heap_free", 1, false, true, false},
}};

using Symbols = std::span<const AllocatorSymbol>;

// C's functions and their relatives, as glibc has them. `free` comes before its other names.
constexpr std::array kGlibcSymbols = {
    AllocatorSymbol{"malloc", CallShape::kMalloc, Need::kRequired},
    AllocatorSymbol{"calloc", CallShape::kCalloc, Need::kRequired},
    AllocatorSymbol{"realloc", CallShape::kRealloc, Need::kRequired},
    AllocatorSymbol{"reallocarray", CallShape::kReallocarray, Need::kOptional},  // glibc 2.26
    AllocatorSymbol{"posix_memalign", CallShape::kPosixMemalign, Need::kRequired},
    AllocatorSymbol{"aligned_alloc", CallShape::kMemalign, Need::kOptional},  // glibc 2.16
    AllocatorSymbol{"memalign", CallShape::kMemalign, Need::kRequired},
    AllocatorSymbol{"valloc", CallShape::kMallocAligned, Need::kOptional},
    AllocatorSymbol{"pvalloc", CallShape::kMallocAligned, Need::kOptional},
    AllocatorSymbol{"free", CallShape::kFree, Need::kRequired},
    AllocatorSymbol{"cfree", CallShape::kDelete, Need::kIfThere},               // until glibc 2.26
    AllocatorSymbol{"free_sized", CallShape::kDelete, Need::kIfThere},          // C23
    AllocatorSymbol{"free_aligned_sized", CallShape::kDelete, Need::kIfThere},  // C23
};

// The same where no more than C's oldest four can be counted on.
constexpr std::array kCSymbols = {
    AllocatorSymbol{"malloc", CallShape::kMalloc, Need::kRequired},
    AllocatorSymbol{"calloc", CallShape::kCalloc, Need::kRequired},
    AllocatorSymbol{"realloc", CallShape::kRealloc, Need::kRequired},
    AllocatorSymbol{"reallocarray", CallShape::kReallocarray, Need::kIfThere},
    AllocatorSymbol{"posix_memalign", CallShape::kPosixMemalign, Need::kIfThere},
    AllocatorSymbol{"aligned_alloc", CallShape::kMemalign, Need::kIfThere},
    AllocatorSymbol{"memalign", CallShape::kMemalign, Need::kIfThere},
    AllocatorSymbol{"valloc", CallShape::kMallocAligned, Need::kIfThere},
    AllocatorSymbol{"pvalloc", CallShape::kMallocAligned, Need::kIfThere},
    AllocatorSymbol{"free", CallShape::kFree, Need::kRequired},
    AllocatorSymbol{"cfree", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"free_sized", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"free_aligned_sized", CallShape::kDelete, Need::kIfThere},
};

// operator new and delete of an allocator that implements them itself: C++17's, without and with
// nothrow, alignment, size. Also those that are said not to throw: a new-handler may.
constexpr std::array kCppSymbols = {
    AllocatorSymbol{"_Znwm", CallShape::kMalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"_Znam", CallShape::kMalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"_ZnwmRKSt9nothrow_t", CallShape::kMalloc, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"_ZnamRKSt9nothrow_t", CallShape::kMalloc, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"_ZnwmSt11align_val_t", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"_ZnamSt11align_val_t", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"_ZnwmSt11align_val_tRKSt9nothrow_t", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"_ZnamSt11align_val_tRKSt9nothrow_t", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"_ZdlPv", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdaPv", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdlPvRKSt9nothrow_t", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdaPvRKSt9nothrow_t", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdlPvm", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdaPvm", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdlPvSt11align_val_t", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdaPvSt11align_val_t", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdlPvSt11align_val_tRKSt9nothrow_t", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdaPvSt11align_val_tRKSt9nothrow_t", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdlPvmSt11align_val_t", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"_ZdaPvmSt11align_val_t", CallShape::kDelete, Need::kIfThere},
};

constexpr std::array kJemallocSymbols = {
    AllocatorSymbol{"mallocx", CallShape::kMallocAligned, Need::kIfThere},
    AllocatorSymbol{"rallocx", CallShape::kReallocAligned, Need::kIfThere},
    AllocatorSymbol{"xallocx", CallShape::kResize, Need::kIfThere},
    AllocatorSymbol{"dallocx", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"sdallocx", CallShape::kDelete, Need::kIfThere},
};

constexpr std::array kTcmallocSymbols = {
    AllocatorSymbol{"malloc_skip_new_handler", CallShape::kMalloc, Need::kIfThere},
    AllocatorSymbol{"new", CallShape::kMalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"newarray", CallShape::kMalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"new_nothrow", CallShape::kMalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"newarray_nothrow", CallShape::kMalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"new_aligned", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"newarray_aligned", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"new_aligned_nothrow", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"newarray_aligned_nothrow", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"delete", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"deletearray", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"delete_sized", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"deletearray_sized", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"delete_nothrow", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"deletearray_nothrow", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"delete_aligned", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"deletearray_aligned", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"delete_aligned_nothrow", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"deletearray_aligned_nothrow", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"delete_sized_aligned", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"deletearray_sized_aligned", CallShape::kDelete, Need::kIfThere},
};

// What mimalloc has beside C's functions.
constexpr std::array kMimallocSymbols = {
    AllocatorSymbol{"malloc_small", CallShape::kMalloc, Need::kIfThere},
    AllocatorSymbol{"zalloc_small", CallShape::kMalloc, Need::kIfThere},
    AllocatorSymbol{"zalloc", CallShape::kMalloc, Need::kIfThere},
    AllocatorSymbol{"mallocn", CallShape::kCalloc, Need::kIfThere},
    AllocatorSymbol{"reallocn", CallShape::kReallocarray, Need::kIfThere},
    AllocatorSymbol{"reallocf", CallShape::kReallocf, Need::kIfThere},
    AllocatorSymbol{"rezalloc", CallShape::kRealloc, Need::kIfThere},
    AllocatorSymbol{"recalloc", CallShape::kReallocarray, Need::kIfThere},
    AllocatorSymbol{"malloc_aligned", CallShape::kMallocAligned, Need::kIfThere},
    AllocatorSymbol{"malloc_aligned_at", CallShape::kMallocAligned, Need::kIfThere},
    AllocatorSymbol{"zalloc_aligned", CallShape::kMallocAligned, Need::kIfThere},
    AllocatorSymbol{"zalloc_aligned_at", CallShape::kMallocAligned, Need::kIfThere},
    AllocatorSymbol{"calloc_aligned", CallShape::kCallocAligned, Need::kIfThere},
    AllocatorSymbol{"calloc_aligned_at", CallShape::kCallocAligned, Need::kIfThere},
    AllocatorSymbol{"realloc_aligned", CallShape::kReallocAligned, Need::kIfThere},
    AllocatorSymbol{"realloc_aligned_at", CallShape::kReallocAligned, Need::kIfThere},
    AllocatorSymbol{"rezalloc_aligned", CallShape::kReallocAligned, Need::kIfThere},
    AllocatorSymbol{"rezalloc_aligned_at", CallShape::kReallocAligned, Need::kIfThere},
    AllocatorSymbol{"heap_malloc", CallShape::kArenaMalloc, Need::kIfThere},
    AllocatorSymbol{"heap_malloc_small", CallShape::kArenaMalloc, Need::kIfThere},
    AllocatorSymbol{"heap_zalloc", CallShape::kArenaMalloc, Need::kIfThere},
    AllocatorSymbol{"heap_calloc", CallShape::kArenaCalloc, Need::kIfThere},
    AllocatorSymbol{"heap_mallocn", CallShape::kArenaCalloc, Need::kIfThere},
    AllocatorSymbol{"heap_realloc", CallShape::kArenaRealloc, Need::kIfThere},
    AllocatorSymbol{"heap_rezalloc", CallShape::kArenaRealloc, Need::kIfThere},
    AllocatorSymbol{"heap_malloc_aligned", CallShape::kArenaAligned, Need::kIfThere},
    AllocatorSymbol{"heap_malloc_aligned_at", CallShape::kArenaAligned, Need::kIfThere},
    AllocatorSymbol{"heap_zalloc_aligned", CallShape::kArenaAligned, Need::kIfThere},
    AllocatorSymbol{"heap_zalloc_aligned_at", CallShape::kArenaAligned, Need::kIfThere},
    AllocatorSymbol{"heap_destroy", CallShape::kBulkFree, Need::kIfThere},
    AllocatorSymbol{"free_size", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"free_size_aligned", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"free_aligned", CallShape::kDelete, Need::kIfThere},
    AllocatorSymbol{"new", CallShape::kMalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"new_nothrow", CallShape::kMalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"new_aligned", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"new_aligned_nothrow", CallShape::kMallocAligned, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"new_n", CallShape::kCalloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"heap_alloc_new", CallShape::kArenaMalloc, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"heap_alloc_new_n", CallShape::kArenaCalloc, Need::kIfThere,
                    Exceptions::kMayThrow},
    AllocatorSymbol{"new_realloc", CallShape::kRealloc, Need::kIfThere, Exceptions::kMayThrow},
    AllocatorSymbol{"new_reallocn", CallShape::kReallocarray, Need::kIfThere,
                    Exceptions::kMayThrow},
};

constexpr std::array<Symbols, 1> kGlibcTables = {kGlibcSymbols};
constexpr std::array<Symbols, 1> kCTables = {kCSymbols};
constexpr std::array<Symbols, 2> kCppTables = {kCSymbols, kCppSymbols};
constexpr std::array<Symbols, 3> kJemallocTables = {kCSymbols, kJemallocSymbols, kCppSymbols};
constexpr std::array<Symbols, 2> kPrefixedJemallocTables = {kCSymbols, kJemallocSymbols};
constexpr std::array<Symbols, 2> kTcmallocTables = {kCSymbols, kTcmallocSymbols};
constexpr std::array<Symbols, 2> kMimallocTables = {kCSymbols, kMimallocSymbols};

constexpr std::array kGlibcFamilies = {SymbolFamily{"", "malloc", "", kGlibcTables}};
constexpr std::array kMuslFamilies = {SymbolFamily{"", "malloc", "", kCTables}};
constexpr std::array kJemallocFamilies = {
    SymbolFamily{"", "mallocx", "", kJemallocTables},
    SymbolFamily{"je_", "je_mallocx", "", kPrefixedJemallocTables},
    SymbolFamily{"_rjem_", "_rjem_mallocx", "", kPrefixedJemallocTables},
    SymbolFamily{"_rjem_je_", "_rjem_je_mallocx", "", kPrefixedJemallocTables},
};
constexpr std::array kTcmallocFamilies = {
    SymbolFamily{"", "malloc", "tc_malloc", kCppTables},
    SymbolFamily{"", "malloc", "TCMallocInternalMalloc", kCppTables},  // Google's own repository
    SymbolFamily{"tc_", "tc_malloc", "", kTcmallocTables},
};
constexpr std::array kMimallocFamilies = {
    SymbolFamily{"", "malloc", "mi_malloc", kCppTables},
    SymbolFamily{"mi_", "mi_malloc", "", kMimallocTables},
};
constexpr std::array kOtherFamilies = {SymbolFamily{"", "malloc", "", kCppTables}};

using Names = std::string_view;
constexpr std::array<Names, 2> kGlibcLibraries = {"libc.so.6", "libc-2.*.so"};
constexpr std::array<Names, 1> kGlibcEvidence = {"_int_malloc"};
constexpr std::array<Names, 2> kMuslLibraries = {"ld-musl-*.so.1", "libc.musl-*.so.1"};
constexpr std::array<Names, 4> kMuslEvidence = {"__dls3", "__libc_malloc_impl", "__malloc_donate",
                                                "__bin_chunk"};
// glibc's dynamic linker: until 2.31 it exported a malloc that served it before libc was there.
constexpr std::array<Names, 2> kLoaderLibraries = {"ld-linux*", "ld-2.*.so"};
constexpr std::array<Names, 1> kAnyEvidence = {"malloc"};
// No function's name: these are found by their notes.
constexpr std::array<Names, 1> kOtelEvidence = {"otel_memory:alloc"};

constexpr std::array kAllocators = {
    Allocator{"glibc", kGlibcLibraries, kGlibcEvidence, kGlibcFamilies, glibc_usable},
    Allocator{"musl", kMuslLibraries, kMuslEvidence, kMuslFamilies},
    Allocator{"jemalloc", {}, {}, kJemallocFamilies, jemalloc_usable},
    Allocator{"tcmalloc", {}, {}, kTcmallocFamilies, tcmalloc_usable},
    Allocator{"mimalloc", {}, {}, kMimallocFamilies, mimalloc_usable},
    Allocator{"the dynamic linker", kLoaderLibraries, {}, {}},
    // Whatever else defines malloc: C says how it is called.
    Allocator{"other", {}, kAnyEvidence, kOtherFamilies},
    Allocator{kOtelProvider, {}, kOtelEvidence, {}},
};

bool matches(std::string_view pattern, std::string_view name) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  const std::string_view head = pattern.substr(0, star);
  const std::string_view tail = pattern.substr(star + 1);
  return name.size() >= head.size() + tail.size() && name.starts_with(head) && name.ends_with(tail);
}

}  // namespace

const ShapeTraits& shape_traits(CallShape shape) {
  return kShapes[static_cast<std::size_t>(shape)];
}

std::span<const Allocator> allocators() {
  return kAllocators;
}

std::size_t otel_allocator() {
  return kAllocators.size() - 1;
}

bool is_for_allocations(std::string_view program) {
  return std::ranges::any_of(kShapes, [&](const ShapeTraits& traits) {
    return traits.program == program && traits.allocates;
  });
}

bool is_for_throwing(std::string_view program) {
  for (const Allocator& allocator : allocators()) {
    for (const SymbolFamily& family : allocator.families) {
      for (const auto& table : family.tables) {
        for (const AllocatorSymbol& symbol : table) {
          if (symbol.exceptions == Exceptions::kMayThrow &&
              shape_traits(symbol.shape).program == program)
            return true;
        }
      }
    }
  }
  return false;
}

bool is_library_of(const Allocator& allocator, std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  for (const std::string_view pattern : allocator.libraries) {
    if (matches(pattern, name)) return true;
  }
  return false;
}

}  // namespace tidemark::sources
