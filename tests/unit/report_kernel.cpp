// SPDX-License-Identifier: Apache-2.0
//
// The report of kernel memory, in text and in JSON, and the words for page flags.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "model/kernel_analysis.h"
#include "report/gfp_flags.h"
#include "report/kernel_report.h"

using namespace tidemark;
using namespace tidemark::report;
using Json = nlohmann::json;

namespace {

model::Frame named(const char* function, const char* module) {
  model::Frame frame;
  frame.address = model::Address{0xffffffff81000010};
  frame.offset = frame.address.value;
  frame.function = function;
  frame.function_offset = 0x10;
  frame.module = module;
  return frame;
}

// Two call sites of one merged cache, pages without a stack; 10 s.
model::KernelSnapshot sample() {
  model::KernelSnapshot snapshot;
  auto& trace = snapshot.trace;
  trace.started_ns = 1'000'000'000;
  trace.taken_ns = 11'000'000'000;
  trace.coverage = {{"raw_tp/kfree", model::HookState::kOn, std::nullopt},
                    {"kfree_rcu", model::HookState::kOff, "no tracepoint tells it"}};
  trace.counters = {{"missed_frees", model::CounterKind::kLoss, 3, 300, "frees that were missed"},
                    {"unmatched_frees", model::CounterKind::kNote, 7, std::nullopt, "older"}};
  model::CallSite leak;
  leak.kind = model::Kind::kSlab;
  leak.place.cache = "Acpi-ParseExt";
  leak.stack = model::StackId{1};
  leak.total_count = 100'000;
  leak.total_bytes = 7'200'000;
  leak.oldest_birth_ns = 1'500'000'000;
  for (auto& quarter : leak.live_by_quarter) quarter = 25'000;
  model::CallSite calm = leak;
  calm.stack = model::StackId{2};
  calm.total_count = calm.freed_count = 10;
  calm.total_bytes = calm.freed_bytes = 720;
  model::CallSite pages;
  pages.kind = model::Kind::kPage;
  pages.place = {"", 3, 0x40cc0};
  pages.stack = model::StackId{3};
  pages.total_count = 2;
  pages.total_bytes = 65536;
  trace.call_sites = {calm, pages, leak};
  trace.stacks = {{model::StackId{1}, model::StackEnd::kBroken, false, {model::Address{1}}},
                  {model::StackId{2}, model::StackEnd::kBottom, false, {model::Address{2}}},
                  {model::StackId{3}, model::StackEnd::kBroken, false, {}}};
  snapshot.aliases["Acpi-ParseExt"] = {"Acpi-ParseExt", "TSPacket"};
  snapshot.other_stacks[model::StackId{2}] = 4;
  snapshot.stacks_since_ns[model::StackId{1}] = 4'000'000'000;
  model::Reconciled row;
  row.cache = "Acpi-ParseExt";
  row.aliases = snapshot.aliases["Acpi-ParseExt"];
  row.gained_live_count = 100'000;
  row.gained_kernel_count = 100'012;
  row.missed_frees = 3;
  row.trust = 0.75;
  snapshot.reconcile = {model::reconcile_pages({5, 3}, {}, {}), row};
  return snapshot;
}

KernelReport build(const model::KernelSnapshot& snapshot) {
  const auto names = [](model::Generation, model::StackId id) -> std::vector<model::Frame> {
    if (id.value == 1) return {named("ts_packet_alloc", "[ts_filter]")};
    if (id.value == 2) return {named("acpi_ps_alloc_op", "[kernel]")};
    return {};
  };
  return build_kernel_report(snapshot, model::analyse_kernel(snapshot, {}), names, nullptr,
                             {"0.1.0", "6.1.0", {}}, "slab, pages");
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("kernel report: the leaking function and its module first, with all names of the cache") {
  const auto report = build(sample());
  REQUIRE(report.trace.call_sites.size() == 3);
  const auto& first = report.trace.call_sites[0];
  CHECK(first.frames.at(0).function == "ts_packet_alloc");
  CHECK(first.live_count == 100'000);
  CHECK(first.cache == "Acpi-ParseExt");
  CHECK(first.aliases == std::vector<std::string>{"Acpi-ParseExt", "TSPacket"});
  CHECK(first.suspect);
  CHECK(report.trace.call_sites[1].order == 3);
}

TEST_CASE("kernel report: text") {
  const std::string text = write_kernel_text(build(sample()), {});
  CHECK(has(text, "the kernel's slab, pages for 10.0 s"));
  CHECK(has(text, "1 of 2 hooks on; LOSSES"));
  CHECK(has(text, "off: kfree_rcu: no tracepoint tells it"));
  CHECK(has(text, "slab Acpi-ParseExt (merged with TSPacket)"));
  CHECK(has(text, "ts_packet_alloc+0x10 ([ts_filter])"));
  CHECK(has(text, "stacks are taken since 3.0 s after the start"));
  CHECK(has(text, "page of order 3, GFP_KERNEL|__GFP_COMP"));
  CHECK(has(text, "no stack was taken: --stacks always"));
  CHECK(has(text, "+100,012"));
  CHECK(has(text, "+12 "));
  CHECK(has(text, "75.0 %"));
  CHECK(has(text, "Acpi-ParseExt (2 names)"));
  CHECK(has(text, "all pages"));
  CHECK(has(text, "tidemark kernel --cache Acpi-ParseExt --stacks always"));
  CHECK(text.find("coverage") < text.find("totals"));
}

TEST_CASE("kernel report: JSON") {
  const auto document = Json::parse(write_kernel_json(build(sample()), JsonLines::kOne));
  CHECK(document["schema"] == "tidemark.kernel/1");
  for (const char* field :
       {"tool_version", "kernel_release", "started_unix_ns", "duration_ns", "mode", "coverage",
        "losses", "notes", "totals", "reconcile", "verdicts", "call_sites"}) {
    CHECK_MESSAGE(document.contains(field), field);
  }
  const auto& pages = document["reconcile"][0];
  CHECK(pages["cache"].is_null());
  CHECK(pages["kind"] == "page");
  CHECK(pages["gained_live_count"] == 2);
  CHECK(pages["gained_kernel_count"].is_null());
  CHECK(pages["unseen"].is_null());
  CHECK(document["reconcile"][1]["unseen"] == 12);
  CHECK(document["reconcile"][1]["trust"] == 0.75);
  const auto& site = document["call_sites"][0];
  CHECK(site["kind"] == "slab");
  CHECK(site["pid"].is_null());
  CHECK(site["aliases"].size() == 2);
  CHECK(site["frames"][0]["module"] == "[ts_filter]");
  CHECK(document["call_sites"][1]["gfp_flags"] == "GFP_KERNEL|__GFP_COMP");
  CHECK(document["call_sites"][1]["stack"] == "lost");
  uint64_t live = 0;
  for (const auto& row : document["call_sites"]) live += row["live_bytes"].get<uint64_t>();
  CHECK(document["totals"]["live_bytes"] == live);
}

TEST_CASE("kernel report: nothing seen says why") {
  auto snapshot = sample();
  snapshot.trace.call_sites.clear();
  snapshot.reconcile.clear();
  CHECK(has(write_kernel_text(build(snapshot), {}), "no allocation was seen"));
}

TEST_CASE("gfp flags: in the kernel's words") {
  CHECK(gfp_words(0xcc0) == "GFP_KERNEL");
  CHECK(gfp_words(0x40dc0) == "GFP_KERNEL|__GFP_ZERO|__GFP_COMP");
  CHECK(gfp_words(0x820) == "GFP_ATOMIC");
  CHECK(gfp_words(0x800) == "GFP_NOWAIT");
  CHECK(gfp_words(0xc40) == "GFP_NOFS");
  CHECK(gfp_words(0x100cca) == "GFP_HIGHUSER|__GFP_MOVABLE");
  CHECK(gfp_words(0x400cc0) == "GFP_KERNEL|__GFP_ACCOUNT");
  CHECK(gfp_words(0) == "0x0");
  CHECK(gfp_words(0x80000000) == "0x80000000");
}
