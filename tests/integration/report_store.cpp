// SPDX-License-Identifier: Apache-2.0
//
// Reports on a clock, kept in a store, and compared.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tidemark.h"

using namespace tidemark::test;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kMiB = 1 << 20;

std::vector<fs::path> documents(const std::string& directory) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".json") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

Json diff(const Words& paths) {
  Words words = {"diff", "--json", "-"};
  words.insert(words.end(), paths.begin(), paths.end());
  const Outcome outcome = run_tidemark(words);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return Json::parse(outcome.out);
}

const Json* find_row(const Json& rows, const std::string& area, const std::string& part) {
  for (const Json& row : rows) {
    if (row["area"] == area && row["name"].get<std::string>().find(part) != std::string::npos) {
      return &row;
    }
  }
  return nullptr;
}

}  // namespace

TEST_CASE("report_store_keeps_a_document_for_each_report") {
  const TempDir directory;
  const std::string store = directory.file("store");
  const Outcome outcome =
      run_tidemark({"report", "--every", "300ms", "--for", "1s", "--store", store, "--quiet"});
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out.empty());
  const auto paths = documents(store);
  REQUIRE(paths.size() >= 2);  // the first and the last, however slow the machine is
  uint64_t before = 0;
  for (const fs::path& path : paths) {
    const Json report = read_json(path);
    CHECK(report["schema"] == "tidemark.report/1");
    CHECK(report["taken_unix_ns"].get<uint64_t>() > before);
    before = report["taken_unix_ns"].get<uint64_t>();
  }
  const Json compared = diff({store});
  CHECK(compared["schema"] == "tidemark.diff/1");
  CHECK(compared["after_unix_ns"].get<uint64_t>() == before);
}

TEST_CASE("report_every_writes_one_document_a_line") {
  const TempDir directory;
  const std::string file = directory.file("reports.json");
  REQUIRE(run_tidemark({"report", "--every", "300ms", "--for", "700ms", "--json", file, "--quiet"})
              .exit_code == 0);
  std::ifstream lines(file);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    CHECK(Json::parse(line)["schema"] == "tidemark.report/1");
  }
  CHECK(count >= 2);
}

TEST_CASE("report_store_holds_whole_documents_after_a_crash") {
  const TempDir directory;
  const std::string store = directory.file("store");
  {
    Process process =
        Process::spawn({tidemark_path(), "report", "--every", "100ms", "--store", store});
    // "tidemark: kept PATH" is said for each one.
    for (int kept = 0; kept < 3; ++kept) REQUIRE(process.read_line(Stream::kErr).has_value());
    process.signal(SIGKILL);
    REQUIRE(process.wait_exit().has_value());
  }
  const auto paths = documents(store);
  CHECK(paths.size() >= 3);
  for (const fs::path& path : paths) CHECK_NOTHROW(read_json(path));
}

TEST_CASE("report_signals_end_a_series_with_success") {
  const TempDir directory;
  for (const int number : {SIGINT, SIGTERM}) {
    Process process = Process::spawn(
        {tidemark_path(), "report", "--every", "200ms", "--store", directory.file("store")});
    REQUIRE(process.read_line(Stream::kErr).has_value());
    process.signal(number);
    const auto status = process.wait_exit();
    REQUIRE(status.has_value());
    CHECK(status->code == 0);
  }
}

TEST_CASE("report_diff_ranks_what_grew_and_keeps_who_came_and_went") {
  if (cannot_trace()) return;
  const TempDir directory;
  const std::string store = directory.file("store");
  const auto keep = [&] {
    REQUIRE(run_tidemark({"report", "--store", store, "--quiet"}).exit_code == 0);
  };
  keep();
  pid_t passing = 0;
  {
    Target target("memory_plants", {"memfd", "8"});
    target.run();
    passing = target.pid();
    keep();
  }
  Target grown("memory_plants", {"memfd", "64"});
  grown.run();
  keep();
  const Json compared = diff({store});
  const Json* shmem = find_row(compared["rows"], "memory", "shmem");
  REQUIRE(shmem != nullptr);
  CHECK((*shmem)["change_bytes"].get<int64_t>() >= 56 * kMiB);
  CHECK((*shmem)["bytes_per_hour"].get<double>() > 0);
  CHECK((*shmem)["time_left_ns"].is_number());
  const Json* file = find_row(compared["rows"], "memfd", "(" + grown.pid_text() + ")");
  REQUIRE(file != nullptr);
  CHECK((*file)["before_bytes"] == 0);
  CHECK((*file)["change_bytes"] == 64 * kMiB);
  const std::string name = "memory_plants (" + std::to_string(passing) + ")";
  CHECK(std::ranges::any_of(compared["passing_processes"],
                            [&](const Json& row) { return row["name"] == name; }));
}

// Three programs that no report can have seen, and one that a report has.
TEST_CASE("report_series_keeps_the_names_of_those_who_came_and_went_in_between") {
  if (cannot_trace()) return;
  const TempDir directory;
  const std::string store = directory.file("store");
  Process series = Process::spawn({tidemark_path(), "report", "--every", "2s", "--store", store});
  REQUIRE(series.read_line(Stream::kErr).has_value());  // the first is kept: it watches
  for (int run = 0; run < 3; ++run) {
    Process passing = Process::spawn({target_path("exits_soon")});
    passing.write_line("go");
    REQUIRE(passing.wait_exit().has_value());
  }
  Target seen("memory_plants", {"memfd", "1"});
  REQUIRE(series.read_line(Stream::kErr).has_value());
  REQUIRE(series.read_line(Stream::kErr).has_value());
  series.signal(SIGINT);
  REQUIRE(series.wait_exit().has_value());
  const Json compared = diff({store});
  long count = 0;
  for (const Json& row : compared["passing_processes"]) {
    const auto name = row["name"].get<std::string>();
    CHECK(name.find("memory_plants") == std::string::npos);
    if (name.starts_with("exits_soon")) {
      count += row["count"].get<long>();
      CHECK((row["peak_bytes"].is_null() || row["peak_bytes"].get<int64_t>() > 0));
    }
  }
  CHECK(count == 3);
}

// What --every wrote to one file is compared like a store.
TEST_CASE("report_diff_of_a_file_with_a_document_a_line") {
  const TempDir directory;
  const std::string file = directory.file("series.json");
  REQUIRE(run_tidemark({"report", "--every", "200ms", "--for", "500ms", "--json", file, "--quiet"})
              .exit_code == 0);
  const Json compared = diff({file});
  CHECK(compared["schema"] == "tidemark.diff/1");
  CHECK(compared["after_unix_ns"].get<uint64_t>() > compared["before_unix_ns"].get<uint64_t>());
}

// The second trace sees a place keep more than the first one did.
TEST_CASE("report_diff_of_two_traces_names_the_call_site_that_grew") {
  if (cannot_trace()) return;
  const TempDir directory;
  const auto save = [&](const std::string& name, const std::string& blocks) {
    Target target("many_blocks", {blocks});
    Trace trace({"-p", target.pid_text(), "--quiet"});
    trace.wait_until_tracing();
    target.run();
    const Outcome outcome = trace.finish();
    std::ofstream(directory.file(name)) << outcome.report();
  };
  save("before.json", "100");
  save("after.json", "5000");
  const Json compared = diff({directory.file("before.json"), directory.file("after.json")});
  REQUIRE_FALSE(compared["rows"].empty());
  const Json* site = find_row(compared["rows"], "call_site", "(many_blocks) of many_blocks");
  REQUIRE(site != nullptr);
  CHECK((*site)["before_bytes"].get<int64_t>() > 0);
  CHECK((*site)["change_bytes"].get<int64_t>() > (*site)["before_bytes"].get<int64_t>());
  CHECK((*site)["time_left_ns"].is_null());
}

TEST_CASE("report_diff_refuses_what_it_cannot_compare_in_one_line") {
  const TempDir directory;
  std::ofstream(directory.file("half.json")) << "{\"schema\":\"tidemark.report/1\",";
  std::ofstream(directory.file("other.json")) << "{\"schema\":\"tidemark.trace/1\"}";
  std::ofstream(directory.file("lines.json"))
      << R"({"schema":"tidemark.report/1","taken_unix_ns":1})"
      << "\n{\n";
  std::ofstream(directory.file("report.json"))
      << R"({"schema":"tidemark.report/1","taken_unix_ns":1})";
  std::ofstream(directory.file("trace.json"))
      << R"({"schema":"tidemark.trace/1","started_unix_ns":1,"duration_ns":1})";
  const std::vector<Words> mistakes = {
      {"diff", directory.file("lines.json")},
      {"diff", directory.file("report.json")},
      {"diff", directory.file("report.json"), directory.file("trace.json")},
      {"diff", directory.file("half.json"), directory.file("half.json")},
      {"diff", directory.file("other.json"), directory.file("other.json")},
      {"diff", directory.file("none.json"), directory.file("none.json")},
      {"diff", directory.file("")},
      {"diff", directory.file("none")}};
  for (const Words& words : mistakes) {
    const Outcome outcome = run_tidemark(words);
    CAPTURE(words[1]);
    CHECK(outcome.exit_code == 1);
    CHECK(lines_of(outcome.err).size() == 1);
    CHECK(outcome.out.empty());
  }
}
