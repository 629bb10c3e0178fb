// SPDX-License-Identifier: Apache-2.0
//
// Whose kernel memory is, refills, and what the kernel has kept itself: in text and in JSON.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "report/kernel_owners.h"
#include "report/kernel_refills.h"
#include "report/kernel_report.h"

using namespace tidemark;
using namespace tidemark::report;
using Json = nlohmann::json;

namespace {

std::vector<model::Frame> stack(std::initializer_list<const char*> functions) {
  std::vector<model::Frame> frames;
  for (const char* function : functions) {
    model::Frame frame;
    frame.address = model::Address{0xffffffff81000010 + frames.size()};
    frame.module = "[kernel]";
    frame.function = function;
    frames.push_back(std::move(frame));
  }
  return frames;
}

KernelReport sample() {
  model::KernelSnapshot snapshot;
  snapshot.trace.taken_ns = 1'000'000'000;
  model::CallSite pages;
  pages.kind = model::Kind::kPage;
  pages.place = {"", 3, 0x40cc0};
  pages.stack = model::StackId{1};
  pages.total_count = 2;
  pages.total_bytes = 65536;
  pages.owners.cgroups = {{7, "web.service", "/system.slice/web.service", 32768, 1},
                          {9, "gone.service", std::nullopt, 32768, 1}};
  pages.owners.packets = {{0x0800, "eth0", 2}, {0, "", 1}};
  snapshot.trace.call_sites = {pages};
  snapshot.trace.stacks = {{model::StackId{1}, model::StackEnd::kBottom, false, {}}};
  const auto names = [](model::Generation, model::StackId) {
    return stack({"__page_pool_alloc_netmems_slow", "napi_poll"});
  };
  auto built =
      build_kernel_report(snapshot, {}, names, nullptr,
                          {.tool_version = "0", .kernel_release = "6.12", .mode = {}}, "pages");
  built.older = {{model::RecordSource::kAllocTraces,
                  "filp",
                  4608,
                  18,
                  "ep_insert+0x5d/0x8f0",
                  "",
                  std::nullopt,
                  std::nullopt,
                  {"ep_insert+0x5d/0x8f0"}},
                 {model::RecordSource::kAllocinfo,
                  "",
                  4096,
                  1,
                  "leak_by_kmalloc",
                  "leak",
                  "drivers/leak.c",
                  80,
                  {}}};
  return built;
}

}  // namespace

TEST_CASE("refills are named by what is near the page allocator, and nothing else is") {
  CHECK(refill_of(stack({"page_pool_alloc_pages", "driver_poll"})) == "page pool");
  CHECK(refill_of(stack({"__page_frag_cache_refill", "__page_frag_alloc_align"})) ==
        "page fragments");
  CHECK(refill_of(stack({"skb_page_frag_refill", "tcp_sendmsg"})) == "page fragments");
  CHECK_FALSE(refill_of(stack({"pipe_write", "vfs_write"})).has_value());
  CHECK_FALSE(
      refill_of(stack({"a", "b", "c", "driver_makes_pages", "page_pool_create"})).has_value());
  CHECK_FALSE(refill_of({}).has_value());
}

TEST_CASE("owners of kernel memory in text") {
  const auto built = sample();
  const auto lines = owner_lines(built.trace.call_sites.at(0));
  REQUIRE(lines.size() == 4);
  CHECK(lines[0] == "refill of page pool: who got the parts is not known");
  CHECK(lines[1] ==
        "charged to cgroup /system.slice/web.service: 32.0 KiB in 1 block; to 1 other 32.0 KiB");
  CHECK(lines[2] == "packets: 2 ip at eth0");
  CHECK(lines[3] == "packets: 1 no protocol yet");
  CallSiteRow gone;
  gone.owners.cgroups = {{9, "gone.service", std::nullopt, 32768, 1}};
  CHECK(owner_lines(gone).at(0).find("gone.service (gone)") != std::string::npos);
  CHECK(owner_lines(CallSiteRow{}).empty());
  const std::string text = write_kernel_text(built, {});
  CHECK(text.find("charged to cgroup /system.slice/web.service") != std::string::npos);
  CHECK(text.find("ep_insert+0x5d/0x8f0 in filp (alloc_traces)") != std::string::npos);
  CHECK(text.find("leak_by_kmalloc ([leak]) drivers/leak.c:80 (allocinfo)") != std::string::npos);
}

TEST_CASE("owners of kernel memory in JSON; unknown is null") {
  const Json json = Json::parse(write_kernel_json(sample(), JsonLines::kMany));
  const Json& site = json.at("call_sites").at(0);
  CHECK(site.at("refill") == "page pool");
  CHECK(site.at("cgroups").at(0).at("path") == "/system.slice/web.service");
  CHECK(site.at("cgroups").at(0).at("live_bytes") == 32768);
  CHECK(site.at("cgroups").at(1).at("path").is_null());
  CHECK(site.at("cgroups").at(1).at("name") == "gone.service");
  CHECK(site.at("packets").at(0).at("protocol") == "ip");
  CHECK(site.at("packets").at(0).at("device") == "eth0");
  CHECK(site.at("packets").at(1).at("protocol").is_null());
  CHECK(site.at("packets").at(1).at("device").is_null());
  const Json& older = json.at("older");
  REQUIRE(older.size() == 2);
  CHECK(older.at(0).at("source") == "alloc_traces");
  CHECK(older.at(0).at("cache") == "filp");
  CHECK(older.at(0).at("live_bytes") == 4608);
  CHECK(older.at(0).at("file").is_null());
  CHECK(older.at(1).at("module") == "[leak]");
  CHECK(older.at(1).at("line") == 80);
}
