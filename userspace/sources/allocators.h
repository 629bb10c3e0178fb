// SPDX-License-Identifier: Apache-2.0
//
// The allocators that tidemark knows, as a table: how a file that has one is recognised, which
// function, which call shape. A new allocator symbol is a row here; a new call shape is an
// enumerator here and a program in bpf/user_heap.bpf.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "sources/usable_size.h"

namespace tidemark::sources {

// A way to be called; shape_traits() says which program of user_heap.bpf.c knows it and what its
// probe needs. An arena is whatever argument comes first and says nothing of the size.
enum class CallShape {
  kMalloc,          // void *f(size)
  kMallocAligned,   // void *f(size, ...): alignment or flags behind it, or in the name
  kCalloc,          // void *f(count, size)
  kCallocAligned,   // void *f(count, size, ...)
  kRealloc,         // void *f(block, size)
  kReallocAligned,  // void *f(block, size, ...)
  kReallocf,        // void *f(block, size): frees the block on failure
  kReallocarray,    // void *f(block, count, size)
  kMemalign,        // void *f(alignment, size)
  kPosixMemalign,   // int f(memptr, alignment, size)
  kResize,          // size_t f(block, size, ...): in place; the result is the block's size then
  kArenaMalloc,     // void *f(arena, size)
  kArenaAligned,    // void *f(arena, size, ...)
  kArenaCalloc,     // void *f(arena, count, size)
  kArenaRealloc,    // void *f(arena, block, size)
  kBulkFree,        // void f(arena): all of its blocks
  kUsdtAlloc,       // USDT: (block, size, weight), told of one of several allocations
  kUsdtFree,        // USDT: (block)
  kDelete,          // void f(block, ...): may call another one for the same block
  kFree,            // void f(block); the last one
};
inline constexpr std::size_t kCallShapes = static_cast<std::size_t>(CallShape::kFree) + 1;

// Of an allocating shape there is a second program, of this name behind the first one's, that sees
// entry and return in one (uprobe sessions).
inline constexpr std::string_view kSessionSuffix = "_session";

struct ShapeTraits {
  std::string_view program;  // in user_heap.bpf.c
  uint32_t arguments;        // how many argument registers the program reads
  bool allocates;            // then the function's return is probed as well
  bool null_is_nothing;      // f(NULL, ...) does nothing that we count
  bool aligned;              // the room of a block does not follow from its size alone
};
[[nodiscard]] const ShapeTraits& shape_traits(CallShape shape);

// kRequired: the allocator gets no probe without it. kOptional: the coverage says `missing`.
// kIfThere: versions and builds differ, nothing is said.
enum class Need { kRequired, kOptional, kIfThere };

// kMayThrow: the function gets no return probe, since an exception could not pass it.
enum class Exceptions { kNone, kMayThrow };

struct AllocatorSymbol {
  std::string_view symbol;  // behind the family's prefix
  CallShape shape;
  Need need;
  Exceptions exceptions = Exceptions::kNone;
};

// Functions of one prefix: je_malloc, je_free, ...
struct SymbolFamily {
  std::string_view prefix;
  std::string_view marker;  // the file has the family if it has this function
  // If not empty: and only if `marker` is another name of this one.
  std::string_view alias_of;
  std::span<const std::span<const AllocatorSymbol>> tables;
};

struct Allocator {
  std::string_view name;  // in reports; at most one allocator of a name
  // What tells that a file is of this allocator, where the markers of its families do not: base
  // names ("libc.so.6", or with one '*' for a version), or functions of which it has one.
  std::span<const std::string_view> libraries;
  std::span<const std::string_view> evidence;
  std::span<const SymbolFamily> families;  // none: its malloc serves itself only and is left alone
  UsableSize usable = nullptr;             // null: not known
};

// OpenTelemetry's contract for memory profilers: the provider of the USDT probes `alloc` and
// `free`.
inline constexpr std::string_view kOtelProvider = "otel_memory";
// The index of their row.
[[nodiscard]] std::size_t otel_allocator();

// The index of a row is the allocator's number in the ABI. Where two rows know one function of a
// file, it is the first one's.
[[nodiscard]] std::span<const Allocator> allocators();

// Is this the program of functions that allocate? Is one of its functions one that an exception may
// pass?
[[nodiscard]] bool is_for_allocations(std::string_view program);
[[nodiscard]] bool is_for_throwing(std::string_view program);

// Does the base name of `path` match one of the allocator's libraries?
[[nodiscard]] bool is_library_of(const Allocator& allocator, std::string_view path);

}  // namespace tidemark::sources
