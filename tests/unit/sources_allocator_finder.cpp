// SPDX-License-Identifier: Apache-2.0
//
// Which allocators a file has, by its name and the functions in it.
#include "sources/allocator_finder.h"

#include <doctest/doctest.h>
#include <fcntl.h>

#include <initializer_list>
#include <string>
#include <vector>

using namespace tidemark;

namespace {

// "name" or "name=address"; names at one address are aliases.
elf::SymbolTable functions(std::initializer_list<std::pair<std::string_view, uint64_t>> list) {
  std::vector<elf::RawSymbol> raw;
  for (const auto& [name, address] : list) {
    raw.push_back({.name = name,
                   .value = elf::Vaddr{address},
                   .size_bytes = 16,
                   .global = true,
                   .ifunc = false,
                   .hidden_version = false,
                   .section_end = {}});
  }
  return elf::SymbolTable(raw);
}

// "glibc:" "jemalloc:je_": the row and the prefix.
std::vector<std::string> families(std::string_view path, const elf::SymbolTable& table) {
  std::vector<std::string> found;
  for (const auto& one : sources::find_families(path, table)) {
    found.push_back(std::string(sources::allocators()[one.allocator].name) + ":" +
                    std::string(one.family->prefix));
  }
  return found;
}

using List = std::vector<std::string>;

}  // namespace

TEST_CASE("finder: a C library by its name, a static one by what only it has") {
  CHECK(families("/lib/libc.so.6", functions({{"malloc", 1}, {"free", 2}})) == List{"glibc:"});
  CHECK(families("/srv/app", functions({{"malloc", 1}, {"_int_malloc", 2}})) == List{"glibc:"});
  CHECK(families("/lib/ld-musl-x86_64.so.1", functions({{"malloc", 1}})) == List{"musl:"});
  CHECK(families("/srv/app", functions({{"malloc", 1}, {"__libc_malloc_impl", 2}})) ==
        List{"musl:"});
}

TEST_CASE("finder: families of every prefix, several in one file") {
  CHECK(families("/srv/libjemalloc.so.2", functions({{"malloc", 1}, {"mallocx", 2}})) ==
        List{"jemalloc:"});
  CHECK(families("/srv/app", functions({{"je_malloc", 1}, {"je_mallocx", 2}})) ==
        List{"jemalloc:je_"});
  CHECK(families("/srv/app", functions({{"_rjem_malloc", 1}, {"_rjem_mallocx", 2}})) ==
        List{"jemalloc:_rjem_"});
  CHECK(
      families(
          "/srv/app",
          functions({{"_int_malloc", 1}, {"malloc", 2}, {"_rjem_mallocx", 3}, {"mi_malloc", 4}})) ==
      List{"glibc:", "jemalloc:_rjem_", "mimalloc:mi_"});
}

TEST_CASE("finder: C's names are an allocator's where they are names of its own functions") {
  CHECK(families("/l.so", functions({{"malloc", 1}, {"tc_malloc", 1}})) ==
        List{"tcmalloc:", "tcmalloc:tc_"});
  CHECK(families("/l.so", functions({{"malloc", 1}, {"mi_malloc", 1}})) ==
        List{"mimalloc:", "mimalloc:mi_"});
  CHECK(families("/l.so", functions({{"malloc", 1}, {"mi_malloc", 2}})) ==
        List{"mimalloc:mi_", "other:"});
}

TEST_CASE("finder: the malloc of glibc's dynamic linker is nobody's allocator") {
  const auto loader = functions({{"malloc", 1}, {"free", 2}, {"calloc", 3}, {"realloc", 4}});
  for (const char* path : {"/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-2.31.so"}) {
    CHECK_MESSAGE(families(path, loader).empty(), path);
  }
  CHECK(families("/srv/libunknown.so", loader) == List{"other:"});
}

TEST_CASE("finder: a file without malloc has none") {
  CHECK(families("/srv/app", functions({})).empty());
  CHECK(families("/srv/app", functions({{"free", 1}, {"my_malloc", 2}})).empty());
}

TEST_CASE("finder: a file is read once, and again when it has changed") {
  sources::AllocatorFinder finder;
  const UniqueFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  REQUIRE(self.valid());
  const auto first = finder.look_into(self, "/proc/self/exe");
  const auto second = finder.look_into(self, "/proc/self/exe");
  REQUIRE(first.has_value());
  REQUIRE(second.has_value());
  CHECK((*first == *second));
  CHECK((*first)->has_functions);
  CHECK((*first)->families.empty());
  const UniqueFd no_program(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  CHECK_FALSE(finder.look_into(no_program, "/etc/passwd").has_value());
}

TEST_CASE("finder: what else may be an allocator comes in pairs") {
  const List names = {"pool_alloc", "pool_free", "xmalloc", "xfree",     "my_alloc",
                      "malloc",     "free",      "calloc",  "je_malloc", "je_free"};
  CHECK(sources::guess_allocators(names, 5) ==
        List{"pool_alloc and pool_free", "xmalloc and xfree"});
  CHECK(sources::guess_allocators(names, 1).size() == 1);
  CHECK(sources::guess_allocators({}, 5).empty());
}
