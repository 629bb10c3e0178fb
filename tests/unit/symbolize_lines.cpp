// SPDX-License-Identifier: Apache-2.0
//
// Source lines and inlined calls of lined_library.cpp, as different compilers and options describe
// them; and what becomes of lookups whose file is hostile, or whose time or memory is over.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fcntl.h>

#include <array>
#include <fstream>
#include <iterator>
#include <random>

#include "scratch.h"
#include "support/clock.h"
#include "support/strings.h"
#include "symbolize/module.h"

using namespace tidemark;
using symbolize::LineBudget;
using symbolize::LineEnd;

namespace {

constexpr std::string_view kSource = TIDEMARK_SOURCE_DIR "/tests/unit/lined_library.cpp";

LineBudget budget_of(uint64_t seconds) {
  return {.deadline = {monotonic_now().ns + seconds * 1'000'000'000}, .memory_bytes = 512ull << 20};
}

uint32_t marked_line(const std::string& mark) {
  std::ifstream source{std::string(kSource)};
  uint32_t number = 0;
  for (std::string line; std::getline(source, line);) {
    ++number;
    if (line.ends_with("// mark: " + mark)) return number;
  }
  FAIL("no such mark");
  return 0;
}

// Of the call of leaf(), as its program would find it.
elf::Vaddr call_in(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW);
  REQUIRE(handle != nullptr);
  using Ask = void* (*)();
  const auto ask = reinterpret_cast<Ask>(dlsym(handle, "lined_return_address"));
  REQUIRE((ask != nullptr));
  const auto address = reinterpret_cast<uint64_t>(ask());
  Dl_info info{};
  REQUIRE(dladdr(reinterpret_cast<void*>(ask), &info) != 0);
  dlclose(handle);
  return elf::Vaddr{address - reinterpret_cast<uint64_t>(info.dli_fbase) - 1};
}

symbolize::Module module_of(const std::string& path, std::vector<symbolize::SharedRoot> roots) {
  auto image = elf::Image::open(path);
  REQUIRE(image);
  return symbolize::Module(*std::move(image), 0, path, std::move(roots));
}

void check_frames(std::span<const elf::SourceFrame> frames) {
  REQUIRE(frames.size() == 3);
  CHECK(frames[0].function.value_or("").starts_with("lined::middle"));
  CHECK(frames[1].function.value_or("").starts_with("lined::Box::Box"));
  CHECK(frames[2].function == "lined::outer(int)");
  const std::array marks{"middle", "Box", "outer"};
  for (std::size_t at = 0; at < 3; ++at) {
    CHECK(frames[at].line == marked_line(marks[at]));
    CHECK(frames[at].file == kSource);
    CHECK(frames[at].inlined == (at < 2));
  }
}

std::vector<std::string> variants() {
  std::vector<std::string> libraries;
  for_each_line(TIDEMARK_LINED_LIBRARIES, [&](std::string_view line) {
    if (!line.empty()) libraries.emplace_back(line);
  });
  REQUIRE(libraries.size() == 5);
  return libraries;
}

}  // namespace

TEST_CASE("a call has its line, and the calls that were inlined there") {
  for (const std::string& library : variants()) {
    CAPTURE(library);
    auto module = module_of(library, {});
    const std::array addresses{call_in(library)};
    CHECK(module.wants_lines(addresses[0]));
    CHECK(module.lines_at(addresses[0]).empty());
    const auto trouble = module.learn_lines(addresses, budget_of(60));
    CHECK_FALSE(trouble);
    check_frames(module.lines_at(addresses[0]));
    CHECK_FALSE(module.wants_lines(addresses[0]));
  }
}

TEST_CASE("lines come from a separate debug file as well") {
  const std::string library = variants().front();
  const Scratch scratch;
  scratch.run("mkdir lib && objcopy --only-keep-debug '" + library + "' lib/lined.debug");
  scratch.run("strip -o lib/lined.so '" + library +
              "' && objcopy --add-gnu-debuglink=lib/lined.debug lib/lined.so");
  auto root = TargetRoot::at(scratch.path());
  REQUIRE(root);
  auto image = elf::Image::open(scratch.file("lib/lined.so"));
  REQUIRE(image);
  symbolize::Module module(*std::move(image), 0, "/lib/lined.so",
                           {std::make_shared<TargetRoot>(*std::move(root))});
  const std::array addresses{call_in(library)};
  CHECK_FALSE(module.learn_lines(addresses, budget_of(60)));
  check_frames(module.lines_at(addresses[0]));
}

TEST_CASE("split DWARF is read beside the objects") {
  const Scratch scratch;
  scratch.run("chmod 755 .");  // the reader has no rights of ours
  scratch.run(TIDEMARK_CXX " -O2 -g -gsplit-dwarf -fPIC -c '" + std::string(kSource) +
              "' -o one.o && " + TIDEMARK_CXX " -shared one.o -o lined.so");
  const std::string library = scratch.file("lined.so");
  auto module = module_of(library, {});
  const std::array addresses{call_in(library)};
  CHECK_FALSE(module.learn_lines(addresses, budget_of(60)));
  check_frames(module.lines_at(addresses[0]));
}

TEST_CASE("addresses that no unit has cost nothing") {
  const std::string library = variants().front();
  auto module = module_of(library, {});
  const std::array addresses{elf::Vaddr{0}, elf::Vaddr{1}, elf::Vaddr{~uint64_t{0}},
                             call_in(library)};
  CHECK_FALSE(module.learn_lines(addresses, budget_of(60)));
  CHECK(module.lines_at(addresses[0]).empty());
  CHECK(module.lines_at(addresses[2]).empty());
  check_frames(module.lines_at(addresses[3]));
}

TEST_CASE("a file without lines is not asked again") {
  auto module = module_of(TIDEMARK_NAMED_LIBRARY, {});
  const Scratch scratch;
  scratch.run("strip -o bare.so '" TIDEMARK_NAMED_LIBRARY "'");
  auto bare = module_of(scratch.file("bare.so"), {});
  const std::array addresses{elf::Vaddr{0x1100}};
  CHECK_FALSE(bare.learn_lines(addresses, budget_of(60)));
  CHECK_FALSE(bare.wants_lines(addresses[0]));
}

TEST_CASE("time that is over is said, and the rest may be asked for later") {
  const std::string library = variants().front();
  auto module = module_of(library, {});
  const std::array addresses{call_in(library)};
  const auto trouble = module.learn_lines(addresses, budget_of(0));
  REQUIRE(trouble);
  CHECK(trouble->find("time") != std::string::npos);
  CHECK(module.wants_lines(addresses[0]));
  CHECK_FALSE(module.learn_lines(addresses, budget_of(60)));
  check_frames(module.lines_at(addresses[0]));
}

TEST_CASE("memory that is not enough is said, and not tried again") {
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  std::vector<elf::Vaddr> addresses;
  for (uint64_t page = 0; page < 1000; ++page)
    addresses.push_back(elf::Vaddr{0x1000 + page * 0x1000});
  LineBudget budget = budget_of(60);
  budget.memory_bytes = 0;
  const auto answers = symbolize::ask_lines(file, addresses, budget);
  CHECK(answers.end == LineEnd::kFailed);
  CHECK_FALSE(answers.reason.empty());
}

TEST_CASE("a damaged file costs its lines and nothing else") {
  const std::string library = variants().front();
  const std::array addresses{call_in(library), elf::Vaddr{0x1010}};
  std::ifstream whole(library, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(whole), {}};
  const Scratch scratch;
  const std::string path = scratch.file("damaged.so");
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    std::string damaged = content;
    for (int change = 0; change < 40; ++change) {
      // What libdw reads: behind the code.
      const std::size_t at = damaged.size() / 3 + random() % (damaged.size() * 2 / 3);
      damaged[at] = static_cast<char>(random());
    }
    if (round % 5 == 0) damaged.resize(damaged.size() / 2 + random() % (damaged.size() / 2));
    std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto answers = symbolize::ask_lines(file, addresses, budget_of(2));
    CHECK(answers.frames.size() == addresses.size());
    CHECK((answers.end == LineEnd::kDone || !answers.reason.empty()));
  }
}
