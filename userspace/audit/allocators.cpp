// SPDX-License-Identifier: Apache-2.0
//
// Which allocators' own books can be read, and how far.
#include <algorithm>
#include <array>

#include "audit/books.h"
#include "audit/openers.h"

namespace tidemark::audit {
namespace {

constexpr std::array kBooks = {
    AllocatorBooks{"glibc", open_glibc, ""},
    AllocatorBooks{"musl", open_musl, ""},
    AllocatorBooks{"jemalloc", open_jemalloc, ""},
    AllocatorBooks{"tcmalloc", nullptr,
                   "its page map has no symbol in a stripped library, and its books do not tell "
                   "blocks in thread caches from live ones"},
    AllocatorBooks{"mimalloc", nullptr, "the layout of its pages differs from version to version"},
};

constexpr AllocatorBooks kOthers{"", nullptr, "nobody has told tidemark how it keeps its books"};

}  // namespace

std::span<const AllocatorBooks> allocator_books() {
  return kBooks;
}

const AllocatorBooks& books_of(std::string_view allocator) {
  const auto found = std::ranges::find(kBooks, allocator, &AllocatorBooks::allocator);
  return found == kBooks.end() ? kOthers : *found;
}

}  // namespace tidemark::audit
