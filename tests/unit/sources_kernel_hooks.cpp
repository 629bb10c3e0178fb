// SPDX-License-Identifier: Apache-2.0
#include "sources/kernel_hooks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "sources/growth.h"

using namespace tidemark;
using namespace tidemark::sources;

namespace {

using Arguments = std::vector<std::string>;
using Kernel = std::map<std::string, Arguments, std::less<>>;

// Arguments as the BTF of 5.10 and of 6.18 have them; those that do not matter are left out.
const Kernel kLinux510 = {
    {"kmalloc", {"long unsigned int", "void *", "size_t", "size_t", "gfp_t"}},
    {"kmalloc_node", {"long unsigned int", "void *", "size_t", "size_t", "gfp_t", "int"}},
    {"kmem_cache_alloc", {"long unsigned int", "void *", "size_t", "size_t", "gfp_t"}},
    {"kmem_cache_alloc_node", {"long unsigned int", "void *", "size_t", "size_t", "gfp_t", "int"}},
    {"kfree", {"long unsigned int", "void *"}},
    {"kmem_cache_free", {"long unsigned int", "void *"}},
    {"mm_page_alloc", {"struct page *", "unsigned int", "gfp_t", "int"}},
    {"mm_page_free", {"struct page *", "unsigned int"}},
    {"percpu_alloc_percpu", {"bool", "bool", "size_t", "size_t", "void *", "int", "void *"}},
    {"percpu_free_percpu", {"void *", "int", "void *"}}};

Kernel linux_6_18() {
  Kernel kernel = kLinux510;
  kernel.erase("kmalloc_node");
  kernel.erase("kmem_cache_alloc_node");
  kernel["kmem_cache_alloc"] = {"long unsigned int", "void *", "struct kmem_cache *", "gfp_t",
                                "int"};
  kernel["percpu_alloc_percpu"] = {"long unsigned int",
                                   "bool",
                                   "bool",
                                   "size_t",
                                   "size_t",
                                   "void *",
                                   "int",
                                   "void *",
                                   "size_t",
                                   "gfp_t"};
  return kernel;
}

// All functions that any kernel has, but for those that are left out.
HookPlan plan(const Kernel& kernel, const Spaces& spaces = {}, const std::string& no_kprobes = "",
              const Arguments& without = {}, HookMode mode = HookMode::kAuto,
              const std::string& no_trampoline = "fentry is refused") {
  HookFacts facts;
  facts.tracepoint = [&](std::string_view name) -> std::optional<Arguments> {
    const auto found = kernel.find(name);
    return found == kernel.end() ? std::nullopt : std::optional(found->second);
  };
  facts.function = [&](std::string_view name) {
    return std::ranges::find(without, name) == without.end();
  };
  facts.no_kprobes = no_kprobes;
  facts.no_trampoline = [&](std::string_view) { return no_trampoline; };
  return plan_hooks(spaces, mode, facts);
}

const HookPlan::Row* row_of(const HookPlan& plan, std::string_view program) {
  const auto found = std::ranges::find(plan.rows, program, &HookPlan::Row::program);
  return found == plan.rows.end() ? nullptr : &*found;
}

const HookPlan::Row* named(const HookPlan& plan, std::string_view hook) {
  const auto found = std::ranges::find(
      plan.rows, hook, [](const auto& row) -> std::string_view { return row.coverage.hook; });
  return found == plan.rows.end() ? nullptr : &*found;
}

bool is_on(const HookPlan& plan, std::string_view program) {
  return std::ranges::any_of(plan.rows,
                             [&](const auto& row) { return row.on && row.program == program; });
}

}  // namespace

TEST_CASE("kernel hooks: layouts of old and new kernels") {
  CHECK_FALSE(plan(kLinux510).layout.alloc_tells_cache);
  CHECK_FALSE(plan(kLinux510).layout.percpu_tells_call_site);
  CHECK(plan(linux_6_18()).layout.alloc_tells_cache);
  CHECK(plan(linux_6_18()).layout.percpu_tells_call_site);
}

TEST_CASE("kernel hooks: events that only old kernels have are not missed on new ones") {
  CHECK(is_on(plan(kLinux510), "on_kmalloc_node"));
  const auto now = plan(linux_6_18());
  CHECK_FALSE(is_on(now, "on_kmalloc_node"));
  CHECK(row_of(now, "on_kmalloc_node") == nullptr);
  CHECK(is_on(now, "on_kmalloc"));
}

TEST_CASE("kernel hooks: a tracepoint that is not there is told") {
  Kernel kernel = linux_6_18();
  kernel.erase("kfree");
  const auto without = plan(kernel);
  const auto* row = row_of(without, "on_kfree");
  REQUIRE(row != nullptr);
  CHECK_FALSE(row->on);
  CHECK(row->coverage.hook == "raw_tp/kfree");
  CHECK(row->coverage.state == model::HookState::kMissing);
  CHECK(row->coverage.reason.has_value());
}

TEST_CASE("kernel hooks: functions by the name that this kernel has") {
  const auto now = plan(linux_6_18());
  CHECK(row_of(now, "on_kernel_vmalloc")->function == "__vmalloc_node_range_noprof");
  CHECK(row_of(now, "on_kernel_vmalloc")->return_program == "on_kernel_vmalloc_return");
  const auto old = plan(kLinux510, {}, "", {"__vmalloc_node_range_noprof", "__kfree_rcu_sheaf"});
  CHECK(row_of(old, "on_kernel_vmalloc")->function == "__vmalloc_node_range");
  // kfree_rcu() ends in bulk frees there.
  CHECK(row_of(old, "on_kfree_rcu_sheaf") == nullptr);
  const auto none = plan(kLinux510, {}, "", {"kmem_cache_free_bulk"});
  CHECK_FALSE(is_on(none, "on_kmem_free_bulk"));
  CHECK(named(none, "function/kmem_cache_free_bulk")->coverage.state == model::HookState::kMissing);
}

TEST_CASE("kernel hooks: without kprobes and fentry functions are off, with both reasons") {
  const auto without = plan(linux_6_18(), {}, "this kernel has no kprobes");
  const auto* row = named(without, "function/vmalloc");
  REQUIRE(row != nullptr);
  CHECK_FALSE(row->on);
  CHECK(row->coverage.state == model::HookState::kOff);
  CHECK(row->coverage.reason ==
        "no tracepoint tells it; fentry is refused; this kernel has no kprobes");
  CHECK(is_on(without, "on_kfree"));
}

TEST_CASE("kernel hooks: fentry where it can be had, else kprobes, else only what --hooks allows") {
  const auto traced = plan(linux_6_18(), {}, "", {}, HookMode::kAuto, "");
  const auto* row = named(traced, "fentry/vmalloc");
  REQUIRE(row != nullptr);
  CHECK(row->tier == HookTier::kTrampoline);
  CHECK(row->program == "trace_kernel_vmalloc");
  CHECK(row->return_program == "trace_kernel_vmalloc_return");
  CHECK(named(plan(linux_6_18()), "kprobe/vmalloc")->program == "on_kernel_vmalloc");
  const auto tracing = plan(linux_6_18(), {}, "", {}, HookMode::kTracing);
  CHECK(named(tracing, "function/vmalloc")->coverage.reason ==
        "no tracepoint tells it; fentry is refused; --hooks tracing leaves kprobes out");
  const auto tracepoints = plan(linux_6_18(), {}, "", {}, HookMode::kTracepoints, "");
  CHECK_FALSE(named(tracepoints, "function/vmalloc")->on);
  CHECK(is_on(tracepoints, "on_kfree"));
}

TEST_CASE("kernel hooks: kprobes alone take the place of tracepoints") {
  const auto now = plan(linux_6_18(), {}, "", {"free_unref_page_list"}, HookMode::kKprobes, "");
  CHECK_FALSE(is_on(now, "on_kfree"));
  CHECK(named(now, "raw_tp/kfree")->coverage.reason == "--hooks kprobe leaves tracepoints out");
  CHECK(named(now, "kprobe/kmem_cache_alloc")->function == "kmem_cache_alloc_noprof");
  CHECK(named(now, "kprobe/alloc_pages")->function == "__alloc_frozen_pages_noprof");
  CHECK(is_on(now, "on_kernel_vmalloc"));
  // There it is called by what is hooked already.
  CHECK(named(now, "kprobe/free_pages of a high order") == nullptr);
  const auto old = plan(kLinux510, {}, "", {"free_unref_folios"}, HookMode::kKprobes, "");
  CHECK(is_on(old, "probe_pages_free"));
  const auto none = plan(kLinux510, {}, "no kprobes here", {}, HookMode::kKprobes, "");
  for (const auto& row : none.rows) CHECK_FALSE(row.on);
}

TEST_CASE("kernel hooks: only the memory that is asked for") {
  const auto pages =
      plan(linux_6_18(), {.slab = false, .pages = true, .vmalloc = false, .percpu = false});
  CHECK(is_on(pages, "on_page_alloc"));
  CHECK(is_on(pages, "on_page_free"));
  CHECK(is_on(pages, "on_pages_bulk"));
  for (const auto& row : pages.rows) CHECK(row.space == HookSpace::kPage);
}

TEST_CASE("growth: three looks in a row and 64 KiB make a growing one, told once") {
  GrowthWatch watch;
  CHECK(watch.look({{1, 100'000}, {2, 5}}).empty());
  CHECK(watch.look({{1, 120'000}, {2, 6}}).empty());
  CHECK(watch.look({{1, 140'000}, {2, 7}}) == std::vector<uint64_t>{1});
  CHECK(watch.look({{1, 240'000}, {2, 8}}).empty());
}

TEST_CASE("growth: one that shrinks begins anew, one that stands still does not") {
  GrowthWatch watch;
  CHECK(watch.look({{1, 100'000}}).empty());
  CHECK(watch.look({{1, 200'000}}).empty());
  CHECK(watch.look({{1, 90'000}}).empty());
  CHECK(watch.look({{1, 100'000}}).empty());
  CHECK(watch.look({{1, 150'000}}).empty());
  CHECK(watch.look({{1, 150'000}}).empty());
  CHECK(watch.look({{1, 160'000}}) == std::vector<uint64_t>{1});
}

TEST_CASE("growth: those that gained most first, and not more than there is room for") {
  GrowthWatch watch({.looks = 1, .least_bytes = 10, .most_growing = 2});
  CHECK(watch.look({{1, 50}, {2, 90}, {3, 70}, {4, 5}}) == std::vector<uint64_t>{2, 3});
  CHECK(watch.look({{1, 500}, {2, 900}, {3, 700}, {4, 800}}).empty());
}
