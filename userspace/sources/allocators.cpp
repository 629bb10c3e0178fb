// SPDX-License-Identifier: Apache-2.0
#include "sources/allocators.h"

#include <array>

namespace tidemark::sources {
namespace {

constexpr std::array<ShapeTraits, kCallShapes> kShapes = {{
    {"heap_malloc", 1, true, false},
    {"heap_calloc", 2, true, false},
    {"heap_realloc", 2, true, false},
    {"heap_reallocarray", 3, true, false},
    {"heap_memalign", 2, true, false},
    {"heap_posix_memalign", 3, true, false},
    {"heap_free", 1, false, true},
}};

constexpr std::array<std::string_view, 2> kGlibcLibraries = {"libc.so.6", "libc-2.*.so"};
constexpr std::array kGlibcSymbols = {
    AllocatorSymbol{"malloc", CallShape::kMalloc, Need::kRequired},
    AllocatorSymbol{"calloc", CallShape::kCalloc, Need::kRequired},
    AllocatorSymbol{"realloc", CallShape::kRealloc, Need::kRequired},
    AllocatorSymbol{"reallocarray", CallShape::kReallocarray, Need::kOptional},  // glibc 2.26
    AllocatorSymbol{"posix_memalign", CallShape::kPosixMemalign, Need::kRequired},
    AllocatorSymbol{"aligned_alloc", CallShape::kMemalign, Need::kOptional},  // glibc 2.16
    AllocatorSymbol{"memalign", CallShape::kMemalign, Need::kRequired},
    AllocatorSymbol{"valloc", CallShape::kMalloc, Need::kOptional},
    AllocatorSymbol{"pvalloc", CallShape::kMalloc, Need::kOptional},
    AllocatorSymbol{"free", CallShape::kFree, Need::kRequired},
};

constexpr std::array kAllocators = {
    Allocator{"glibc", kGlibcLibraries, kGlibcSymbols},
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

bool is_library_of(const Allocator& allocator, std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  for (const std::string_view pattern : allocator.libraries) {
    if (matches(pattern, name)) return true;
  }
  return false;
}

}  // namespace tidemark::sources
