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

TEST_CASE("report_diff_refuses_what_it_cannot_compare_in_one_line") {
  const TempDir directory;
  std::ofstream(directory.file("half.json")) << "{\"schema\":\"tidemark.report/1\",";
  std::ofstream(directory.file("other.json")) << "{\"schema\":\"tidemark.trace/1\"}";
  const std::vector<Words> mistakes = {
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
