// SPDX-License-Identifier: Apache-2.0
//
// The table of allocators: which files are which, and that the BPF side has what it names.
#include "sources/allocators.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "bpf/abi/heap.h"
#include "sources/source.h"
#include "support/file.h"

using namespace tidemark;
using sources::Allocator;
using sources::CallShape;

namespace {

const Allocator& allocator(std::string_view name) {
  const auto rows = sources::allocators();
  const auto found = std::ranges::find(rows, name, &Allocator::name);
  REQUIRE(found != rows.end());
  return *found;
}

std::vector<CallShape> all_shapes() {
  std::vector<CallShape> shapes;
  for (std::size_t i = 0; i < sources::kCallShapes; ++i)
    shapes.push_back(static_cast<CallShape>(i));
  return shapes;
}

}  // namespace

TEST_CASE("allocators: glibc's files, by the base name alone") {
  const Allocator& glibc = allocator("glibc");
  for (const char* path :
       {"libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/a b/libc.so.6",
        "/lib/x86_64-linux-gnu/libc-2.31.so", "libc-2.17.so", "/srv/libc.so.6/libc-2.9.90.so"}) {
    CHECK_MESSAGE(sources::is_library_of(glibc, path), path);
  }
  for (const char* path : {"",
                           "/",
                           "/libc.so.6/",
                           "libc.so",
                           "libc.so.60",
                           "libc.so.6.1",
                           "xlibc.so.6",
                           "LIBC.SO.6",
                           "/usr/lib/x86_64-linux-gnu/libcap.so.2",
                           "libcap.so",
                           "libc++.so.1",
                           "libc-2.so",
                           "libc-2.31.so.bak",
                           "libc-3.1.so",
                           "libc_malloc_debug.so.0",
                           "ld-2.31.so",
                           "[vdso]",
                           "/lib/ld-musl-x86_64.so.1",
                           "/lib/libc.musl-x86_64.so.1",
                           "/lib/libc-2.31.so/x"}) {
    CHECK_MESSAGE(!sources::is_library_of(glibc, path), path);
  }
}

TEST_CASE("allocators: names and symbols are there once, each family has what it cannot miss") {
  std::set<std::string_view> names;
  for (const Allocator& row : sources::allocators()) {
    CHECK(names.insert(row.name).second);
    for (const auto& family : row.families) {
      std::set<std::string_view> symbols;
      bool frees = false;
      bool allocates = false;
      for (const auto& table : family.tables) {
        for (const auto& symbol : table) {
          CHECK_MESSAGE(symbols.insert(symbol.symbol).second, std::string(symbol.symbol));
          const bool required = symbol.need == sources::Need::kRequired;
          frees |= required && symbol.shape == CallShape::kFree;
          allocates |= required && sources::shape_traits(symbol.shape).allocates;
          const bool is_new = symbol.symbol.starts_with("_Zn") || symbol.symbol.starts_with("new");
          CHECK_MESSAGE(is_new == (symbol.symbol.find("new_handler") == std::string_view::npos &&
                                   symbol.exceptions == sources::Exceptions::kMayThrow &&
                                   !symbol.symbol.starts_with("heap_")),
                        std::string(symbol.symbol));
        }
      }
      CHECK(frees);
      CHECK(allocates);
    }
    for (const std::string_view pattern : row.libraries) {
      CHECK(std::ranges::count(pattern, '*') <= 1);
      CHECK(pattern.find('/') == std::string_view::npos);
    }
  }
  CHECK(sources::allocators().size() < TM_ALLOCATOR_ALIGNED);
}

TEST_CASE("shapes: which programs are for functions that allocate, and that may throw") {
  CHECK(sources::is_for_allocations("heap_malloc"));
  CHECK(sources::is_for_allocations("heap_arena_realloc"));
  CHECK_FALSE(sources::is_for_allocations("heap_free"));
  CHECK_FALSE(sources::is_for_allocations("heap_return"));
  // operator new(size_t), mi_new_realloc()
  CHECK(sources::is_for_throwing("heap_malloc"));
  CHECK(sources::is_for_throwing("heap_realloc"));
  CHECK_FALSE(sources::is_for_throwing("heap_reallocf"));
  CHECK_FALSE(sources::is_for_throwing("heap_delete"));
}

TEST_CASE("shapes: each has traits and a program of that name") {
  const auto text = read_file(TIDEMARK_SOURCE_DIR "/bpf/user_heap.bpf.c");
  REQUIRE(text.has_value());
  std::map<std::string_view, uint32_t> programs;
  for (const CallShape shape : all_shapes()) {
    const auto& traits = sources::shape_traits(shape);
    // Shapes may share a program if they are called alike.
    const auto [known, is_new] = programs.emplace(traits.program, traits.arguments);
    CHECK(known->second == traits.arguments);
    // Where a USDT probe's arguments lie is said by its note.
    const bool is_usdt = shape == CallShape::kUsdtAlloc || shape == CallShape::kUsdtFree;
    CHECK(traits.arguments >= (is_usdt ? 0 : 1));
    CHECK(traits.arguments <= 6);
    if (shape == CallShape::kBulkFree) continue;
    const std::string name(traits.program.substr(std::string_view("heap_").size()));
    const std::string head =
        traits.allocates
            ? "ALLOCATING_CALL(" + name + ","
            : "SEC(\"?uprobe\")\nint " + std::string(traits.program) + "(struct pt_regs *ctx)\n{";
    const auto start = text->find(head);
    REQUIRE_MESSAGE(start != std::string::npos, head);
    const std::string body = text->substr(start, text->find("\n\n", start) - start);
    const bool frees = body.find("track_free") != std::string::npos ||
                       body.find("track_delete") != std::string::npos;
    CHECK(frees == (!traits.allocates && !is_usdt));
    if (frees || is_usdt) continue;
    // It reads the last of its arguments, and none behind it.
    CHECK_MESSAGE(body.find(fmt::format("ARGUMENT({})", traits.arguments - 1)) != std::string::npos,
                  head);
    for (uint32_t beyond = traits.arguments; beyond < 8; ++beyond) {
      CHECK_MESSAGE(body.find(fmt::format("ARGUMENT({})", beyond)) == std::string::npos, head);
    }
  }
  for (const char* other : {"heap_return", "heap_leave", "heap_throw", "heap_library"}) {
    CHECK(text->find(fmt::format("int {}(struct pt_regs *ctx)", other)) != std::string::npos);
  }
}

TEST_CASE("shapes: only a free of NULL is nothing: realloc(NULL, n) allocates") {
  for (const CallShape shape : all_shapes()) {
    const bool frees = shape == CallShape::kFree || shape == CallShape::kDelete;
    CHECK(sources::shape_traits(shape).null_is_nothing == frees);
  }
}

TEST_CASE("registry: every capability once") {
  std::set<std::string_view> names;
  for (const auto& row : sources::registry()) {
    CHECK(names.insert(row.name).second);
    CHECK((row.open != nullptr));
  }
  CHECK(names.contains("user_heap"));
}
