// SPDX-License-Identifier: Apache-2.0
//
// The memory report: text and JSON of saved files and of made ones, the conclusions of the field
// notes, and reports that are read back and compared.
#include "report/memory_report.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "memory_reports.h"
#include "memory_samples.h"
#include "report/memory_diff_report.h"

using namespace tidemark;
using namespace tidemark::report;
using Json = nlohmann::json;

namespace {

const model::Finding* find(const MemoryReport& report, std::string_view area) {
  const auto found = std::ranges::find(report.verdicts, area, &model::Finding::area);
  return found == report.verdicts.end() ? nullptr : &*found;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("field notes: three caches are one object graph, each with all its names") {
  const MemoryReport report = report_of("field_slab");
  const model::Finding* slab = find(report, "slab");
  REQUIRE(slab != nullptr);
  CHECK(slab->severity == model::Severity::kSuspect);
  CHECK(has(slab->what, "kmalloc-2048, kmalloc-256, Acpi-ParseExt move together"));
  CHECK(has(slab->what, "0.04 %"));
  CHECK(has(slab->evidence, "Acpi-Operand|Acpi-ParseExt|TSPacket|eventpoll_pwq"));
  CHECK(has(slab->evidence, "|sgpool-8|skbuff_head_cache"));
  CHECK(has(slab->next, "slab_nomerge"));
  CHECK(has(slab->next, "tidemark kernel --cache kmalloc-2048"));
  const std::string text = write_memory_text(report, {});
  CHECK(has(text, "Acpi-Operand | Acpi-ParseExt | TSPacket | eventpoll_pwq"));
  CHECK_FALSE(report.attribution.ghost.bytes.has_value());
}

TEST_CASE("field notes: 1.1 GiB of ghost, and the balloon driver is named") {
  const MemoryReport report = report_of("field_balloon");
  REQUIRE(report.attribution.ghost.bytes.has_value());
  const double gib = static_cast<double>(*report.attribution.ghost.bytes) / (1 << 30);
  CHECK(gib > 1.05);
  CHECK(gib < 1.15);
  CHECK(*report.attribution.ghost.error_bytes < 16u << 20);
  const model::Finding* balloon = find(report, "balloon");
  REQUIRE(balloon != nullptr);
  CHECK(balloon->severity == model::Severity::kSuspect);
  CHECK(has(balloon->what, "vmw_balloon"));
  CHECK(has(balloon->what, "1.1 GiB"));
  CHECK(find(report, "ghost") != nullptr);
}

TEST_CASE("field notes: without zoneinfo the ghost is unknown, and what is known is said") {
  const MemoryReport report = report_of("field_meminfo");
  CHECK_FALSE(report.attribution.ghost.bytes.has_value());
  CHECK(report.attribution.mem_total_bytes == 1883844ull * 1024);
  CHECK(report.slab.reclaimable_bytes == 52156ull * 1024);
  CHECK(has(write_memory_text(report, {}), "ghost     unknown: vmstat could not be read"));
}

TEST_CASE("report: JSON of Linux 6.18, every byte of MemTotal once") {
  const MemoryReport report = report_of("linux_6_18");
  const Json json = Json::parse(write_memory_json(report, JsonLines::kMany));
  CHECK(json["schema"] == "tidemark.report/1");
  int64_t sum = json["ghost"]["bytes"].get<int64_t>();
  for (const Json& row : json["attribution"]) sum += row["bytes"].get<int64_t>();
  CHECK(sum == json["mem_total_bytes"].get<int64_t>());
  int64_t explained = json["ghost"]["unexplained_bytes"].get<int64_t>();
  for (const Json& part : json["ghost"]["explained"]) explained += part["bytes"].get<int64_t>();
  CHECK(explained == json["ghost"]["bytes"].get<int64_t>());
  CHECK(json["slab"]["caches"].size() > 200);
  CHECK(json["processes"].is_null());
  for (const char* field : {"tool_version", "kernel_release", "taken_unix_ns", "vmalloc", "sockets",
                            "tmpfs", "balloon", "verdicts", "coverage", "cgroups", "swap"}) {
    CAPTURE(field);
    CHECK(json.contains(field));
  }
  CHECK(write_memory_json(report, JsonLines::kOne).find('\n') ==
        write_memory_json(report, JsonLines::kOne).size() - 1);
}

TEST_CASE("report: JSON of a machine that told nothing is whole, and null") {
  const Json json = Json::parse(write_memory_json(build_memory_report({}, {}), JsonLines::kMany));
  CHECK(json["mem_total_bytes"].is_null());
  CHECK(json["ghost"]["bytes"].is_null());
  CHECK(json["ghost"]["unexplained_bytes"].is_null());
  CHECK(json["slab"]["caches"].is_null());
  CHECK(json["cgroups"].is_null());
  CHECK(json["balloon"]["bytes"].is_null());
  CHECK(json["tmpfs"]["unexplained_bytes"].is_null());
  CHECK_FALSE(write_memory_text(build_memory_report({}, {}), {}).empty());
}

TEST_CASE("report: text says the formula line by line, and it ends in the same ghost") {
  const MemoryReport report = report_of("linux_6_18");
  const std::string text = write_memory_text(report, {});
  CHECK(has(text, "kB  MemTotal"));
  CHECK(has(text, "kB  what the usual formula says"));
  CHECK(has(text, "kB  free pages on per-CPU lists (zoneinfo)"));
  CHECK(has(text, "Every byte of MemTotal once"));
  CHECK_FALSE(has(write_memory_text(report, {.explain = false}), "by hand"));
}

TEST_CASE("report: names from the machine cannot drive the terminal") {
  model::MemorySnapshot snapshot = memory_samples::Sample().snapshot();
  model::ProcessMemory process;
  process.comm = "\033[2Jevil";
  process.pid = model::Pid{7};
  snapshot.processes = {process};
  model::MemoryOwners owners;
  model::Socket socket;
  socket.local = "@\033]0;x\007";
  socket.recv_queue_bytes = 64 << 20;
  owners.sockets = {socket};
  const std::string text = write_memory_text(build_memory_report(snapshot, owners), {});
  CHECK(text.find('\033') == std::string::npos);
  CHECK(text.find('\007') == std::string::npos);
}

TEST_CASE("report: --top limits the text and says so") {
  const MemoryReport report = report_of("linux_6_18");
  const std::string text = write_memory_text(report, {.top = 2});
  CHECK(has(text, fmt::format("and {} more: --top {} shows them", report.slab.caches->size() - 2,
                              report.slab.caches->size())));
}

TEST_CASE("summary: a report is read back with all that can grow") {
  const MemoryReport report = report_of("linux_6_18");
  const auto summary = read_summary(write_memory_json(report, JsonLines::kMany));
  REQUIRE(summary.has_value());
  CHECK(summary->taken_unix_ns == report.taken_unix_ns);
  CHECK(summary->available_bytes == report.mem_available_bytes);
  const auto ghost = std::ranges::find_if(summary->quantities, [](const model::Quantity& quantity) {
    return quantity.area == "memory" && quantity.name == "ghost";
  });
  REQUIRE(ghost != summary->quantities.end());
  CHECK(ghost->bytes == *report.attribution.ghost.bytes);
  CHECK(std::ranges::count(summary->quantities, "slab", &model::Quantity::area) ==
        static_cast<int64_t>(report.slab.caches->size()));
  CHECK(std::ranges::count(summary->quantities, "vmalloc", &model::Quantity::area) > 0);
}

TEST_CASE("summary: what is no report is refused in one line") {
  const std::string whole = write_memory_json(report_of("field_slab"), JsonLines::kOne);
  for (const std::string& bad :
       {std::string(), std::string("{}"), std::string("[]"), std::string("{\"schema\":7}"),
        std::string("{\"schema\":\"tidemark.trace/1\"}"), whole.substr(0, whole.size() / 2),
        whole + whole}) {
    const auto summary = read_summary(bad);
    REQUIRE_FALSE(summary.has_value());
    CHECK(summary.error().text.find('\n') == std::string::npos);
  }
  // Rows of a wrong shape are passed over.
  const auto odd = read_summary(
      R"({"schema":"tidemark.report/1","taken_unix_ns":1,"processes":[7,{"rss_bytes":"x"}],"ghost":3})");
  REQUIRE(odd.has_value());
  CHECK(odd->quantities.empty());
}

TEST_CASE("diff: text and JSON") {
  const model::MemoryDiff diff = model::compare_memory(
      {{0, 1ull << 30, {{"slab", "kmalloc-256", "", 1 << 20, {}}}, model::Saved::kReport, {}},
       {3'600'000'000'000,
        1ull << 30,
        {{"slab", "kmalloc-256", "", 3 << 20, {}}},
        model::Saved::kReport,
        {}}});
  const std::string text = write_diff_text(diff, {});
  CHECK(has(text, "over 1h00m"));
  CHECK(has(text, "+2.0 MiB"));
  CHECK(has(text, "+2.0 MiB/h"));
  CHECK(has(text, "kmalloc-256"));
  const Json json = Json::parse(write_diff_json(diff));
  CHECK(json["schema"] == "tidemark.diff/1");
  CHECK(json["rows"][0]["change_bytes"] == 2 << 20);
  CHECK(json["rows"][0]["time_left_ns"].get<uint64_t>() == 512 * 3'600'000'000'000ull);
  CHECK(has(write_diff_text({}, {}), "nothing changed"));
}
