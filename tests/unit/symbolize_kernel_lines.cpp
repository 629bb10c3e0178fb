// SPDX-License-Identifier: Apache-2.0
//
// tests/unit/objects/leaks.c as a kernel and as a module, below a directory that stands for /.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "elf/image.h"
#include "symbolize/kernel_lines.h"
#include "symbolize/kernel_symbolizer.h"

using namespace tidemark;
using namespace tidemark::symbolize;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kSlide = 0x1e000000;  // of a kernel with KASLR
constexpr const char* kRelease = "6.1.0-test";

class Root {
 public:
  Root() : path_(fs::temp_directory_path() / ("tidemark_lines_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;
  ~Root() { fs::remove_all(path_); }

  void put(const std::string& path, const std::string& content) const {
    fs::create_directories((path_ / path).parent_path());
    std::ofstream(path_ / path, std::ios::binary) << content;
  }
  void copy(const std::string& from, const std::string& path) const {
    fs::create_directories((path_ / path).parent_path());
    fs::copy_file(from, path_ / path, fs::copy_options::overwrite_existing);
  }
  [[nodiscard]] std::string path() const { return path_; }

 private:
  fs::path path_;
};

// A note as /sys/kernel/notes has it.
std::string note_of(const std::string& hex) {
  const uint32_t header[] = {4, static_cast<uint32_t>(hex.size() / 2), 3};
  std::string note(reinterpret_cast<const char*>(header), sizeof(header));
  note.append("GNU\0", 4);
  for (std::size_t i = 0; i < hex.size(); i += 2)
    note.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return note;
}

uint64_t linked_address(const char* function) {
  const auto lines = elf::LoadedLines::open(TIDEMARK_LEAKS_LINKED);
  REQUIRE_MESSAGE(lines.has_value(), lines.error().text);
  const auto address = lines->address_of(function);
  REQUIRE(address.has_value());
  return *address;
}

// The line of leaks.c that holds the text.
uint32_t line_with(const std::string& text) {
  std::ifstream source(TIDEMARK_SOURCE_DIR "/tests/unit/objects/leaks.c");
  std::string line;
  for (uint32_t number = 1; std::getline(source, line); ++number) {
    if (line.find(text) != std::string::npos) return number;
  }
  FAIL("leaks.c has no line with " << text);
  return 0;
}

void put_kernel(const Root& root, const std::string& build_id) {
  root.copy(TIDEMARK_LEAKS_LINKED, std::string("usr/lib/debug/boot/vmlinux-") + kRelease);
  root.put("sys/kernel/notes", note_of(build_id));
}

std::string linked_build_id() {
  auto image = elf::Image::open(TIDEMARK_LEAKS_LINKED);
  REQUIRE(image.has_value());
  REQUIRE(image->build_id().has_value());
  return *image->build_id();
}

}  // namespace

TEST_CASE("kernel lines: of the kernel, wherever KASLR put it") {
  const Root root;
  put_kernel(root, linked_build_id());
  const uint64_t leak = linked_address("leak_here");
  CHECK(leak > 0xffffffff80000000);
  KernelLines lines(kRelease, model::Address{linked_address("_stext") + kSlide}, root.path());
  CHECK(lines.kernel().has_value());
  // The division stands on the line that is looked for, behind the function's first bytes.
  bool found = false;
  for (uint64_t offset = 0; offset < 32; ++offset) {
    const auto line = lines.at("", model::Address{leak + kSlide + offset});
    if (line && line->line == line_with("the line of leak_here")) {
      found = true;
      CHECK(line->file.ends_with("tests/unit/objects/leaks.c"));
    }
  }
  CHECK(found);
  CHECK_FALSE(lines.at("", model::Address{leak}).has_value());
}

TEST_CASE("kernel lines: what was inlined counts as its call, in the function that has the name") {
  const Root root;
  put_kernel(root, linked_build_id());
  KernelLines lines(kRelease, model::Address{linked_address("_stext")}, root.path());
  const uint64_t begin = linked_address("leak_by_wrapper");
  bool at_call = false;
  for (uint64_t address = begin; address < begin + 24; ++address) {
    const auto line = lines.at("", model::Address{address});
    if (!line) continue;
    at_call |= line->line == line_with("the call that was inlined");
    CHECK(line->line != line_with("_stext(value) * 5"));
  }
  CHECK(at_call);
}

TEST_CASE("kernel lines: another build's file is not believed, and a missing one is told") {
  const Root root;
  KernelLines none(kRelease, model::Address{0xffffffff81000000}, root.path());
  REQUIRE_FALSE(none.kernel().has_value());
  CHECK(none.kernel().error().text.find("no debug information of this kernel") == 0);
  put_kernel(root, std::string(40, 'a'));
  KernelLines other(kRelease, model::Address{0xffffffff81000000}, root.path());
  REQUIRE_FALSE(other.kernel().has_value());
  CHECK(other.kernel().error().text.find("is of another build") != std::string::npos);
  CHECK_FALSE(other.at("", model::Address{0xffffffff81000001}).has_value());
  KernelLines hidden(kRelease, std::nullopt, root.path());
  CHECK_FALSE(hidden.kernel().has_value());
}

TEST_CASE("kernel lines: of a module, by where its sections were loaded") {
  const Root root;
  constexpr uint64_t kText = 0xffffffffc0123000;
  root.copy(TIDEMARK_LEAKS_OBJECT, std::string("lib/modules/") + kRelease + "/extra/leaky-one.ko");
  root.put("sys/module/leaky_one/sections/.text", "0xffffffffc0123000\n");
  KernelLines lines(kRelease, std::nullopt, root.path());
  uint32_t first = 0, last = 0;
  for (uint64_t offset = 0; offset < 4096; ++offset) {
    const auto line = lines.at("leaky_one", model::Address{kText + offset});
    if (!line) continue;
    CHECK(line->file.ends_with("leaks.c"));
    if (first == 0) first = line->line;
    if (line->line == line_with("the line of leak_here")) last = line->line;
  }
  CHECK(first == line_with("return value * 3"));
  CHECK(last != 0);
  CHECK_FALSE(lines.at("another", model::Address{kText}).has_value());
  // Loaded anew, elsewhere.
  root.put("sys/module/leaky_one/sections/.text", "0xffffffffc0200000\n");
  lines.forget_modules();
  CHECK_FALSE(lines.at("leaky_one", model::Address{kText}).has_value());
  CHECK(lines.at("leaky_one", model::Address{0xffffffffc0200000}).has_value());
}

TEST_CASE("kernel lines: frames of the kernel and of modules have them") {
  const Root root;
  put_kernel(root, linked_build_id());
  const uint64_t stext = linked_address("_stext"), leak = linked_address("leak_here");
  const std::string kallsyms =
      fmt::format("{:x} T _stext\n{:x} T leak_here\n", stext + kSlide, leak + kSlide);
  auto symbols = KernelSymbols::parse(kallsyms);
  REQUIRE(symbols.has_value());
  KernelSymbolizer symbolizer(std::move(*symbols),
                              KernelLines(kRelease, model::Address{stext + kSlide}, root.path()));
  CHECK_FALSE(symbolizer.why_no_lines().has_value());
  const std::vector addresses = {model::Address{leak + kSlide + 1}};
  const auto frames = symbolizer.frames(model::Generation{0}, addresses);
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].function == "leak_here");
  CHECK(frames[0].line == line_with("int leak_here(int value) {"));
  REQUIRE(frames[0].file.has_value());
  CHECK(frames[0].file->ends_with("leaks.c"));
}
