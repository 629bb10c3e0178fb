// SPDX-License-Identifier: Apache-2.0
//
// The allocators that tidemark knows, as a table: which library, which function, which call shape.
// A new allocator symbol is a row here; a new call shape is an enumerator here and a program in
// bpf/user_heap.bpf.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tidemark::sources {

// A program of user_heap.bpf.c each; shape_traits() says what its probe needs.
enum class CallShape {
  kMalloc,         // void *f(size)
  kCalloc,         // void *f(count, size)
  kRealloc,        // void *f(block, size)
  kReallocarray,   // void *f(block, count, size)
  kMemalign,       // void *f(alignment, size)
  kPosixMemalign,  // int f(memptr, alignment, size)
  kFree,           // void f(block); the last one
};
inline constexpr std::size_t kCallShapes = static_cast<std::size_t>(CallShape::kFree) + 1;

struct ShapeTraits {
  std::string_view program;  // in user_heap.bpf.c
  uint32_t arguments;        // how many argument registers the program reads
  bool allocates;            // then the function's return is probed as well
  bool null_is_nothing;      // f(NULL, ...) does nothing that we count
};
[[nodiscard]] const ShapeTraits& shape_traits(CallShape shape);

enum class Need { kRequired, kOptional };

struct AllocatorSymbol {
  std::string_view symbol;
  CallShape shape;
  Need need;
};

struct Allocator {
  std::string_view name;  // in reports; at most one allocator of a name
  // Base names of the library: "libc.so.6", or with one '*' for a version.
  std::span<const std::string_view> libraries;
  std::span<const AllocatorSymbol> symbols;
};

// The index of a row is the allocator's number in the ABI.
[[nodiscard]] std::span<const Allocator> allocators();

// Does the base name of `path` match one of the allocator's libraries?
[[nodiscard]] bool is_library_of(const Allocator& allocator, std::string_view path);

}  // namespace tidemark::sources
