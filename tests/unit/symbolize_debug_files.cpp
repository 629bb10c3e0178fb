// SPDX-License-Identifier: Apache-2.0
//
// Names of stripped libraries: from separate debug files in the places where gdb looks, and from
// what .gnu_debugdata holds. The files are made of named_library.c by objcopy, below a directory
// that stands for a target's root.
#include "symbolize/debug_files.h"

#include <doctest/doctest.h>
#include <elf.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "scratch.h"
#include "symbolize/module.h"

using namespace tidemark;
using symbolize::debug_paths;

namespace {

const std::string kLibrary = TIDEMARK_NAMED_LIBRARY;
const std::string kLibraryWithoutId = TIDEMARK_NAMED_LIBRARY_WITHOUT_ID;

elf::Vaddr address_of(const std::string& path, const char* function) {
  auto image = elf::Image::open(path);
  REQUIRE(image);
  const auto found = image->find(function);
  REQUIRE((found && found->size() == 1));
  return elf::Vaddr{found->front().value.value + 3};
}

std::string build_id_of(const std::string& path) {
  const auto image = elf::Image::open(path);
  REQUIRE((image && image->build_id()));
  return *image->build_id();
}

// What a root has: /lib/named.so without symbols, made of `library`.
struct Root {
  Scratch scratch;
  std::string library;

  explicit Root(std::string made_of) : library(std::move(made_of)) {
    scratch.run("mkdir -p lib && strip -o lib/named.so '" + library + "'");
  }
  void keep_debug(const std::string& at) const {
    scratch.run("objcopy --only-keep-debug '" + library + "' '" + scratch.file(at) + "'");
  }
  // To a debug file of this name, and of this content for the CRC.
  void link_to(const std::string& at) const {
    scratch.run("objcopy --add-gnu-debuglink='" + scratch.file(at) + "' lib/named.so");
  }
  [[nodiscard]] std::string by_build_id() const {
    const std::string id = build_id_of(library);
    return "usr/lib/debug/.build-id/" + id.substr(0, 2) + "/" + id.substr(2) + ".debug";
  }
  [[nodiscard]] symbolize::Module module() const {
    auto image = elf::Image::open(scratch.file("lib/named.so"));
    REQUIRE(image);
    auto root = TargetRoot::at(scratch.path());
    REQUIRE(root);
    std::vector<symbolize::SharedRoot> roots{std::make_shared<TargetRoot>(*std::move(root))};
    return symbolize::Module(*std::move(image), 0, "/lib/named.so", std::move(roots));
  }
  [[nodiscard]] std::string hidden_name() const {
    auto named = module();
    const auto& name = named.name_at(address_of(library, "tidemark_hidden_place"));
    return name ? name->function : "";
  }
};

}  // namespace

TEST_CASE("debug files are looked for where gdb does") {
  const elf::DebugLink link{.name = "foo.debug", .crc = 1};
  CHECK(debug_paths("abcdef", link, "/opt/lib/foo.so") ==
        std::vector<std::string>{"/usr/lib/debug/.build-id/ab/cdef.debug", "/opt/lib/foo.debug",
                                 "/opt/lib/.debug/foo.debug", "/usr/lib/debug/opt/lib/foo.debug"});
  CHECK(debug_paths(std::nullopt, std::nullopt, "/opt/lib/foo.so").empty());
  CHECK(debug_paths("ab", std::nullopt, "/foo.so").empty());
  CHECK(debug_paths(std::nullopt, link, "[vdso]").empty());
  // A link to the file itself leads nowhere.
  const elf::DebugLink same{.name = "foo", .crc = 1};
  CHECK(debug_paths(std::nullopt, same, "/bin/foo") ==
        std::vector<std::string>{"/bin/.debug/foo", "/usr/lib/debug/bin/foo"});
}

TEST_CASE("without a debug file only exported functions have names") {
  const Root root(kLibrary);
  CHECK(root.hidden_name() != "tidemark_hidden_place");
  auto named = root.module();
  const auto& exported = named.name_at(address_of(kLibrary, "tidemark_exported_place"));
  REQUIRE(exported);
  CHECK(exported->function == "tidemark_exported_place");
  CHECK(exported->offset_bytes == 3);
  CHECK(named.debug_file() == nullptr);
}

TEST_CASE("a debug file is found by build id") {
  const Root root(kLibrary);
  root.keep_debug(root.by_build_id());
  CHECK(root.hidden_name() == "tidemark_hidden_place");
  auto named = root.module();
  REQUIRE(named.debug_file() != nullptr);
  CHECK(named.debug_file()->path == "/" + root.by_build_id());
}

TEST_CASE("a debug file is found by link, in each of its places") {
  for (const std::string place :
       {"lib/named.debug", "lib/.debug/named.debug", "usr/lib/debug/lib/named.debug"}) {
    for (const std::string& library : {kLibrary, kLibraryWithoutId}) {
      CAPTURE(place);
      CAPTURE(library);
      const Root root(library);
      root.keep_debug(place);
      CHECK(root.hidden_name() != "tidemark_hidden_place");  // not without the link
      root.link_to(place);
      CHECK(root.hidden_name() == "tidemark_hidden_place");
    }
  }
}

TEST_CASE("a debug file of another build is passed over") {
  const Root root(kLibraryWithoutId);
  root.keep_debug("lib/named.debug");
  root.link_to("lib/named.debug");
  std::ofstream(root.scratch.file("lib/named.debug"), std::ios::app) << "x";  // the CRC is another
  CHECK(root.hidden_name() != "tidemark_hidden_place");

  const Root other(kLibrary);
  other.scratch.run("objcopy --only-keep-debug '" + kLibraryWithoutId + "' " +
                    other.scratch.file(other.by_build_id()));
  CHECK(other.hidden_name() != "tidemark_hidden_place");
}

TEST_CASE("a root's links stay in the root") {
  const Root root(kLibrary);
  root.keep_debug("elsewhere/hidden.debug");
  const std::string place = root.scratch.file(root.by_build_id());
  root.scratch.run("ln -s /elsewhere/hidden.debug '" + place + "'");
  CHECK(root.hidden_name() == "tidemark_hidden_place");
  root.scratch.run("rm '" + place + "' && mkfifo '" + place + "'");
  CHECK(root.hidden_name() != "tidemark_hidden_place");  // and does not wait for a writer
}

TEST_CASE("a small symbol table inside of the file has names") {
  const Root root(kLibrary);
  root.scratch.run("objcopy -S --keep-symbol=tidemark_hidden_place '" + kLibrary +
                   "' mini && xz -9 mini");
  root.scratch.run("objcopy --add-section .gnu_debugdata=mini.xz lib/named.so");
  CHECK(root.hidden_name() == "tidemark_hidden_place");
  // Where there is a whole table it is not asked.
  root.keep_debug(root.by_build_id());
  CHECK(root.hidden_name() == "tidemark_hidden_place");
}

TEST_CASE("the symbol source is the best that there is") {
  using Kind = symbolize::SymbolSource::Kind;
  const Root root(kLibrary);
  CHECK(root.module().symbol_source().kind == Kind::kExported);
  root.scratch.run("xz -c lib/named.so > packed");
  root.scratch.run("objcopy --add-section .gnu_debugdata=packed lib/named.so");
  CHECK(root.module().symbol_source().kind == Kind::kPacked);
  root.keep_debug(root.by_build_id());
  const symbolize::SymbolSource separate = root.module().symbol_source();
  CHECK(separate.kind == Kind::kDebugFile);
  CHECK(separate.path == "/" + root.by_build_id());
  root.scratch.run("cp '" + kLibrary + "' lib/named.so");
  CHECK(root.module().symbol_source().kind == Kind::kSymtab);
  CHECK_FALSE(root.module().symbol_source().path);
}

TEST_CASE("packed symbols that are cut, no archive or endless are an error") {
  const Root root(kLibrary);
  const auto unpack = [&](const std::string& make) {
    root.scratch.run(make);
    root.scratch.run("cp lib/named.so with && objcopy --add-section .gnu_debugdata=packed with");
    const UniqueFd file(::open(root.scratch.file("with").c_str(), O_RDONLY | O_CLOEXEC));
    return elf::unpack_symbols(file);
  };
  CHECK_FALSE(unpack("xz -c lib/named.so | head -c 200 > packed"));
  CHECK_FALSE(unpack("head -c 5000 /dev/urandom > packed"));
  CHECK_FALSE(unpack("head -c 70M /dev/zero | xz -c -0 > packed"));
  CHECK(unpack("xz -c lib/named.so > packed"));
  const UniqueFd bare(::open(kLibrary.c_str(), O_RDONLY | O_CLOEXEC));
  CHECK_FALSE(elf::unpack_symbols(bare));
}

TEST_CASE("damaged debug files cost their names and nothing else") {
  const Root root(kLibrary);
  root.keep_debug(root.by_build_id());
  const std::string path = root.scratch.file(root.by_build_id());
  std::ifstream whole(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(whole), {}};
  std::mt19937 random(8);
  const auto exported = address_of(kLibrary, "tidemark_exported_place");
  for (int round = 0; round < 300; ++round) {
    std::string damaged = content;
    if (round % 3 == 0) damaged.resize(random() % damaged.size());
    for (int change = 0; change < 8 && !damaged.empty(); ++change) {
      // Most of the bytes that matter stand in the headers: at the beginning and at the end.
      const std::size_t at = random() % 2 == 0
                                 ? random() % std::min<std::size_t>(64, damaged.size())
                                 : random() % damaged.size();
      damaged[at] = static_cast<char>(random());
    }
    std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
    auto named = root.module();
    const auto& name = named.name_at(exported);
    REQUIRE(name);
    CHECK(name->function == "tidemark_exported_place");
  }
}

TEST_CASE("a debug file whose symbols' names are elsewhere than it says is like none") {
  const Root root(kLibrary);
  root.keep_debug(root.by_build_id());
  const std::string path = root.scratch.file(root.by_build_id());
  std::ifstream whole(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(whole), {}};
  Elf64_Ehdr header;
  std::memcpy(&header, content.data(), sizeof(header));
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  std::memcpy(sections.data(), content.data() + header.e_shoff,
              sections.size() * sizeof(Elf64_Shdr));
  const auto symbols = std::ranges::find(sections, uint32_t{SHT_SYMTAB}, &Elf64_Shdr::sh_type);
  REQUIRE(symbols != sections.end());
  const auto at = static_cast<std::size_t>(symbols - sections.begin());
  const std::vector<Elf64_Shdr> good = sections;
  const uint32_t names = good[at].sh_link;
  const auto name_after = [&](auto damage) {
    sections = good;
    damage();
    std::string damaged = content;
    std::memcpy(damaged.data() + header.e_shoff, sections.data(),
                sections.size() * sizeof(Elf64_Shdr));
    std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
    auto named = root.module();
    return named.name_at(address_of(kLibrary, "tidemark_exported_place")).value().function;
  };
  CHECK(name_after([&] { sections[names].sh_offset += 3; }) == "tidemark_exported_place");
  CHECK(name_after([&] { sections[names].sh_size -= 3; }) == "tidemark_exported_place");
  CHECK(name_after([&] { sections[at].sh_link = header.e_shstrndx; }) == "tidemark_exported_place");
  CHECK(name_after([&] { sections[at].sh_link = 1; }) == "tidemark_exported_place");
}

TEST_CASE("Debian's own debug files give the C library's local functions names") {
  auto image = elf::Image::open("/lib/x86_64-linux-gnu/libc.so.6");
  auto root = TargetRoot::at("/");
  REQUIRE((image && root));
  const TargetRoot* roots[] = {&*root};
  const auto debug = symbolize::find_debug_file(*image, "/lib/x86_64-linux-gnu/libc.so.6", roots);
  if (!debug) {
    MESSAGE("skipped: no debug file of this C library is here (libc6-dbg)");
    return;
  }
  auto table = image->all_functions(&debug->file);
  REQUIRE(table);
  CHECK(table->find("ptmalloc_init").size() + table->find("sysmalloc").size() > 0);
  CHECK_FALSE(table->find("malloc").empty());
  const auto copy = table->find("memcpy");
  REQUIRE_FALSE(copy.empty());
  CHECK(copy.front().ifunc);
}
