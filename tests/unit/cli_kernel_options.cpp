// SPDX-License-Identifier: Apache-2.0
//
// The command line of `kernel`.
#include <doctest/doctest.h>

#include "command_lines.h"

using namespace tidemark;
using namespace tidemark::cli;
using namespace std::chrono_literals;

namespace {

KernelOptions kernel(const Arguments& arguments) {
  return parse<KernelOptions>(arguments);
}

}  // namespace

TEST_CASE("options: kernel alone counts all kinds of memory") {
  const auto plain = kernel({"kernel"});
  CHECK((plain.slab && plain.pages && plain.vmalloc && plain.percpu));
  CHECK(plain.caches.empty());
  CHECK(plain.stacks == KernelStacks::kGrowing);
  CHECK_FALSE(plain.duration.has_value());
  CHECK_FALSE(plain.movable_pages);
  CHECK(plain.max_blocks == 1u << 20);
}

TEST_CASE("options: kernel with kinds counts those") {
  const auto two = kernel({"kernel", "--pages", "--percpu", "--movable"});
  CHECK_FALSE(two.slab);
  CHECK(two.pages);
  CHECK_FALSE(two.vmalloc);
  CHECK(two.percpu);
  CHECK(two.movable_pages);
}

TEST_CASE("options: a cache is slab memory") {
  const auto named = kernel({"kernel", "--cache", "dentry", "--cache", "kmalloc-64"});
  CHECK(named.caches == Arguments{"dentry", "kmalloc-64"});
  CHECK(named.slab);
  CHECK_FALSE(named.pages);
  CHECK_FALSE(named.percpu);
  CHECK(has(error({"kernel", "--cache", "dentry", "--pages"}), "--slab"));
  CHECK(has(error({"kernel", "--cache", ""}), "empty"));
  Arguments many = {"kernel"};
  for (int i = 0; i < 17; ++i) many.insert(many.end(), {"--cache", std::to_string(i)});
  CHECK(has(error(many), "16 times at most"));
}

TEST_CASE("options: kernel with all") {
  const auto all = kernel({"kernel", "--stacks", "always", "--for", "10s", "--every", "2s", "--top",
                           "5", "--min-age", "1s", "--json", "-", "--max-blocks", "4M",
                           "--max-stacks", "64K", "--quiet", "--fail-on-suspect"});
  CHECK(all.stacks == KernelStacks::kAlways);
  CHECK(all.duration == 10s);
  CHECK(all.interval == 2s);
  CHECK(all.text.top == 5);
  CHECK(all.text.min_age_ns == 1'000'000'000);
  CHECK(all.json_path == "-");
  CHECK(all.max_blocks == 4u << 20);
  CHECK(all.max_stacks == 64u << 10);
  CHECK(all.quiet);
  CHECK(all.fail_on_suspect);
  CHECK_FALSE(all.text.explain);
}

TEST_CASE("options: mistakes of kernel are one line that says what to do") {
  CHECK(has(error({"kernel", "--stacks", "sometimes"}), "growing, always, never"));
  CHECK(has(error({"kernel", "--slab", "--movable"}), "--pages"));
  CHECK(has(error({"kernel", "--hooks", "none"}), "auto, tracepoints, tracing, kprobe"));
  CHECK(kernel({"kernel", "--hooks", "tracing"}).hooks == KernelHooks::kTracing);
  CHECK(kernel({"kernel", "--hooks", "kprobe"}).hooks == KernelHooks::kKprobes);
  CHECK(kernel({"kernel", "--hooks", "tracepoints"}).hooks == KernelHooks::kTracepoints);
  CHECK(kernel({"kernel"}).hooks == KernelHooks::kAuto);
  CHECK(has(error({"kernel", "--every", "10s", "--for", "5s"}), "longer than --for"));
  CHECK(has(error({"kernel", "--json", ""}), "file name"));
  CHECK(has(error({"kernel", "4711"}), "whole machine"));
  CHECK(has(error({"kernel", "--cach", "x"}), "did you mean '--cache'"));
  CHECK(has(error({"kernel", "--stacks", "--slab"}), "needs a value"));
  CHECK(has(error({"kernel", "--", "ls"}), "runs no command"));
}
