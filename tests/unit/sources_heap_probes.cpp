// SPDX-License-Identifier: Apache-2.0
//
// The probes that this very process would get, against what its dynamic linker says of it.
#include "sources/heap_probes.h"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "system/process.h"

using namespace tidemark;
using sources::SiteChoice;

namespace {

model::ProcessImage own_image() {
  auto image = system::read_process(model::Pid{::getpid()});
  REQUIRE(image.has_value());
  return *std::move(image);
}

sources::HeapProbePlan own_plan(SiteChoice choice) {
  sources::AllocatorFinder finder;
  auto plan = sources::plan_heap_probes(own_image(), choice, finder);
  REQUIRE_MESSAGE(plan.has_value(), plan.error().text);
  return *std::move(plan);
}

// Where in this process the function begins that the probe is in.
uint64_t function_address(const sources::HeapProbePlan& plan, const sources::HeapProbe& probe) {
  const model::Mapping& code = plan.files.at(probe.file).mapping;
  return code.start.value + (probe.offset.value - code.file_offset_bytes) - probe.site.offset_bytes;
}

uint64_t linked_address(std::string_view symbol) {
  void* const libc = ::dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  REQUIRE(libc != nullptr);
  const auto address = reinterpret_cast<uintptr_t>(::dlsym(libc, std::string(symbol).c_str()));
  ::dlclose(libc);
  return address;
}

}  // namespace

TEST_CASE("probes: every symbol of glibc, each in the function that the linker calls so") {
  SiteChoice choice = SiteChoice::kCheapest;
  SUBCASE("the cheapest site") {}
  SUBCASE("the entry") {
    choice = SiteChoice::kEntry;
  }
  const auto plan = own_plan(choice);
  CHECK(std::ranges::all_of(plan.files, [](const auto& file) { return file.descriptor.valid(); }));
  const auto& glibc = sources::allocators()[0].families[0].tables[0];
  for (const auto& symbol : glibc) {
    const bool planned = std::ranges::any_of(plan.probes, [&](const sources::HeapProbe& probe) {
      return probe.function == symbol.symbol;
    });
    const bool needed = symbol.need == sources::Need::kRequired;
    if (needed) CHECK_MESSAGE(planned, std::string(symbol.symbol));
  }
  for (const auto& probe : plan.probes) {
    const std::string& name = probe.function;
    const std::string module = plan.files[probe.file].module;
    CHECK(std::filesystem::path(module).filename() == "libc.so.6");
    if (name == "cfree") continue;  // of an old version, dlsym() does not give it
    CHECK_MESSAGE(function_address(plan, probe) == linked_address(name), name);
    CHECK_MESSAGE(!probe.site.verdict.empty(), name);
    const model::Mapping& code = plan.files[probe.file].mapping;
    CHECK(probe.offset.value >= code.file_offset_bytes);
    CHECK(probe.offset.value - code.file_offset_bytes < code.end.value - code.start.value);
    const bool returns = sources::shape_traits(probe.symbol.shape).allocates;
    if (returns) CHECK_MESSAGE(probe.site.stack_bytes == 0, name);
    if (choice == SiteChoice::kEntry) {
      CHECK_MESSAGE(probe.site.offset_bytes == 0, name);
      CHECK(probe.site.stack_bytes == 0);
    }
  }
  for (const auto& absent : plan.absent) {
    CHECK(absent.symbol.need == sources::Need::kOptional);
    CHECK_FALSE(absent.reason.empty());
  }
}

TEST_CASE("probes: no two are put on one place, and a name for the same place says whose it is") {
  const auto plan = own_plan(SiteChoice::kCheapest);
  for (const auto& probe : plan.probes) {
    const auto same_place = [&](const sources::HeapProbe& other) {
      return other.file == probe.file && other.offset == probe.offset;
    };
    CHECK(std::ranges::count_if(plan.probes, [&](const sources::HeapProbe& other) {
            return same_place(other) && other.shared_with.empty();
          }) == 1);
    if (probe.shared_with.empty()) continue;
    const auto owner = std::ranges::find_if(plan.probes, [&](const sources::HeapProbe& other) {
      return other.function == probe.shared_with;
    });
    REQUIRE(owner != plan.probes.end());
    CHECK(same_place(*owner));
    CHECK(sources::shape_traits(owner->symbol.shape).null_is_nothing ==
          sources::shape_traits(probe.symbol.shape).null_is_nothing);
  }
}

TEST_CASE("probes: a process without an allocator that we know is one line that says so") {
  auto image = own_image();
  std::erase_if(image.mappings,
                [](const model::Mapping& mapping) { return mapping.path.ends_with("/libc.so.6"); });
  sources::AllocatorFinder finder;
  const auto plan = sources::plan_heap_probes(image, SiteChoice::kCheapest, finder);
  REQUIRE_FALSE(plan.has_value());
  const std::string& text = plan.error().text;
  CHECK(text.find(std::to_string(::getpid())) != std::string::npos);
  CHECK(text.find("no allocator that tidemark knows") != std::string::npos);
  CHECK(text.find('\n') == std::string::npos);
}

TEST_CASE("probes: a library of that name that is not code, or no file, is none") {
  model::ProcessImage image;
  image.pid = model::Pid{::getpid()};
  model::Mapping mapping;
  mapping.start = {0x1000};
  mapping.end = {0x2000};
  mapping.path = "/lib/libc.so.6";
  SUBCASE("data only") {
    mapping.file = {1, 2, 3};
  }
  SUBCASE("no file") {
    mapping.executable = true;
  }
  image.mappings = {mapping};
  sources::AllocatorFinder finder;
  CHECK_FALSE(sources::plan_heap_probes(image, SiteChoice::kCheapest, finder).has_value());
}

TEST_CASE("probes: a library that cannot be opened is named") {
  model::ProcessImage image;
  image.pid = model::Pid{::getpid()};
  model::Mapping mapping;
  mapping.start = {0x1000};
  mapping.end = {0x2000};
  mapping.path = "/no/such/dir/libc.so.6";
  mapping.file = {1, 2, 3};
  mapping.executable = true;
  image.mappings = {mapping};
  sources::AllocatorFinder finder;
  const auto plan = sources::plan_heap_probes(image, SiteChoice::kCheapest, finder);
  REQUIRE_FALSE(plan.has_value());
  CHECK(plan.error().text.find("/no/such/dir/libc.so.6") != std::string::npos);
}

TEST_CASE("probes: names for coverage") {
  CHECK(sources::hook_name(0, "malloc") == "glibc malloc");
  CHECK(sources::hook_name(0, "_ZdlPvm") == "glibc operator delete(void*, unsigned long)");
}
