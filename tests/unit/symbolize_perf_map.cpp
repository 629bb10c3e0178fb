// SPDX-License-Identifier: Apache-2.0
//
// Names of code that programs compile: the text of perf maps, and which file is believed.
#include "symbolize/perf_map.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <random>

#include "scratch.h"
#include "symbolize/owner.h"
#include "symbolize/process_symbolizer.h"

using namespace tidemark;
using model::Address;
using symbolize::PerfMap;

namespace {

std::string name_at(const PerfMap& map, uint64_t address) {
  const auto found = map.find(Address{address});
  return found ? fmt::format("{}+{:#x}", found->name, found->offset_bytes) : "";
}

symbolize::Owner owner_below(const std::string& root, int32_t inner_pid) {
  symbolize::Owner owner;
  owner.pid = model::Pid{4711};
  owner.inner_pid = model::Pid{inner_pid};
  owner.user = getuid();
  auto opened = TargetRoot::at(root);
  REQUIRE(opened);
  owner.roots.push_back(std::make_shared<TargetRoot>(*std::move(opened)));
  return owner;
}

}  // namespace

TEST_CASE("functions of a perf map") {
  const auto map = PerfMap::parse(
      "1000 20 LazyCompile:~keep /srv/a b.js:3\n0x2000 0x10 Builtin:Call\n3000 8 last");
  CHECK(name_at(map, 0x1000) == "LazyCompile:~keep /srv/a b.js:3+0x0");
  CHECK(name_at(map, 0x101f) == "LazyCompile:~keep /srv/a b.js:3+0x1f");
  CHECK(name_at(map, 0x1020).empty());
  CHECK(name_at(map, 0xfff).empty());
  CHECK(name_at(map, 0x2008) == "Builtin:Call+0x8");
  CHECK(name_at(map, 0x3007) == "last+0x7");
  CHECK(name_at(map, ~uint64_t{0}).empty());
}

TEST_CASE("whether a range has any functions") {
  const auto map = PerfMap::parse("1000 20 first\n3000 8 last");
  CHECK(map.has_any({0x101f}, {0x1020}));
  CHECK(map.has_any({0x800}, {0x1001}));
  CHECK_FALSE(map.has_any({0x800}, {0x1000}));
  CHECK_FALSE(map.has_any({0x1020}, {0x3000}));
  CHECK_FALSE(map.has_any({0x3008}, {0x4000}));
  CHECK_FALSE(PerfMap().has_any({0}, {~uint64_t{0}}));
}

TEST_CASE("of code that was written over other code the later counts") {
  const auto map = PerfMap::parse("1000 100 old\n1040 20 young\n1060 10 third\n");
  CHECK(name_at(map, 0x1000) == "old+0x0");
  CHECK(name_at(map, 0x1050) == "young+0x10");
  CHECK(name_at(map, 0x1065) == "third+0x5");
  CHECK(name_at(map, 0x1080) == "old+0x80");
  const auto covered = PerfMap::parse("1010 10 a\n1020 10 b\n1000 100 all\n1000 100 again\n");
  CHECK(name_at(covered, 0x1015) == "again+0x15");
  CHECK(name_at(covered, 0x1025) == "again+0x25");
}

TEST_CASE("lines that are none are passed over") {
  const auto map = PerfMap::parse(
      "\n1000\n1000 10\n1000 10 \nxyz 10 odd\n1000 zz odd\n1000 0 empty\n"
      "ffffffffffffffff 10 beyond\n-1 5 odd\n1000 10 right\n20");
  CHECK(name_at(map, 0x1004) == "right+0x4");
  CHECK(name_at(map, ~uint64_t{0} - 1).empty());
  std::mt19937 random(3);
  std::string noise;
  for (int byte = 0; byte < 200'000; ++byte) {
    noise += "0123456789abcdef \n\n  \xff\x01"[random() % 22];
  }
  (void)name_at(PerfMap::parse(noise), 0x1234);
}

TEST_CASE("the map is the process's own, below its root") {
  const Scratch scratch;
  std::ofstream(scratch.file("tmp/perf-7.map")) << "1000 10 mine\n";
  std::ofstream(scratch.file("tmp/perf-4711.map")) << "1000 10 of somebody else\n";
  auto owner = owner_below(scratch.path(), 7);
  CHECK(name_at(owner.compiled_functions(), 0x1001) == "mine+0x1");
  // What was written since is read when the owner was looked at again.
  std::ofstream(scratch.file("tmp/perf-7.map"), std::ios::app) << "2000 10 later\n";
  CHECK(name_at(owner.compiled_functions(), 0x2001).empty());
  owner.compiled_is_stale = true;
  CHECK(name_at(owner.compiled_functions(), 0x2001) == "later+0x1");
}

TEST_CASE("links, pipes and the files of others are no perf maps") {
  const Scratch scratch;
  scratch.run("mkdir tmp && echo '1000 10 secret' > secret && ln -s /secret tmp/perf-7.map");
  CHECK(name_at(owner_below(scratch.path(), 7).compiled_functions(), 0x1001).empty());
  scratch.run("rm tmp/perf-7.map && mkfifo tmp/perf-7.map");
  CHECK(name_at(owner_below(scratch.path(), 7).compiled_functions(), 0x1001).empty());
  if (getuid() == 0) {
    scratch.run("rm tmp/perf-7.map && cp secret tmp/perf-7.map && chown 12345 tmp/perf-7.map");
    CHECK(name_at(owner_below(scratch.path(), 7).compiled_functions(), 0x1001).empty());
  }
}

TEST_CASE("compiled code is a frame of its own module") {
  const std::string path = fmt::format("/tmp/perf-{}.map", getpid());
  std::ofstream(path) << "a010 20 LazyCompile:~keep\n";
  symbolize::ProcessSymbolizer symbolizer;
  model::ProcessImage image{.pid = model::Pid{getpid()}, .comm = {}, .exe = {}, .mappings = {}};
  image.user = getuid();
  image.mappings.push_back({.start = Address{0xa000},
                            .end = Address{0xb000},
                            .file = {},
                            .executable = true,
                            .path = {}});
  symbolizer.learn(model::Generation{1}, image);
  const std::array addresses{Address{0xa015}, Address{0xa101}, Address{0xc001}};
  const auto frames = symbolizer.frames(model::Generation{1}, addresses);
  unlink(path.c_str());
  REQUIRE(frames.size() == 3);
  CHECK(frames[0].module == "[jit]");
  CHECK(frames[0].function == "LazyCompile:~keep");
  CHECK(frames[0].function_offset == 4);
  CHECK(frames[1].module == "[anonymous]");
  CHECK(frames[1].offset == 0x100);
  CHECK_FALSE(frames[1].function);
  CHECK(frames[2].module.empty());
}
