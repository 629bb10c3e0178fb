// SPDX-License-Identifier: Apache-2.0
#include "kernel_reports.h"

#include <doctest/doctest.h>

#include <algorithm>

namespace tidemark::test {
namespace {

bool begins_with_one_of(const std::string& name, const std::vector<std::string>& starts) {
  return std::ranges::any_of(starts,
                             [&](const std::string& start) { return name.starts_with(start); });
}

}  // namespace

void KernelPlant::end() {
  target.say("quit");
  REQUIRE(target.process().wait_exit().has_value());
}

Sums made_by(const Json& report, const std::string& kind, const std::vector<std::string>& functions,
             std::size_t depth) {
  Sums sums;
  for (const Json& row : report.at("call_sites")) {
    if (row.at("kind") != kind) continue;
    const Json& frames = row.at("frames");
    for (std::size_t i = 0; i < std::min(depth, frames.size()); ++i) {
      if (!begins_with_one_of(frame_name(frames.at(i)), functions)) continue;
      const Sums part = sums_of(row);
      sums.live_bytes += part.live_bytes;
      sums.live_count += part.live_count;
      sums.total_bytes += part.total_bytes;
      sums.total_count += part.total_count;
      break;
    }
  }
  return sums;
}

const Json* reconciled(const Json& report, const std::string& cache) {
  for (const Json& row : report.at("reconcile")) {
    if (row.at("cache") == cache) return &row;
    for (const Json& alias : row.at("aliases")) {
      if (alias == cache) return &row;
    }
  }
  return nullptr;
}

void check_kernel_report(const Json& report) {
  CHECK(report.at("schema") == "tidemark.kernel/1");
  check_sums_add_up(report);
  for (const Json& row : report.at("call_sites")) {
    CHECK(row.at("pid").is_null());
    CHECK(row.at("live_count").get<long>() >= 0);
    CHECK(row.at("live_bytes").get<long>() >= 0);
  }
}

long skipped_events(const Json& report) {
  for (const Json& loss : report.at("losses")) {
    if (loss.at("counter") == "recursion_misses") return loss.at("count").get<long>();
  }
  return 0;
}

bool sees_functions(const Json& report) {
  return std::ranges::any_of(report.at("coverage"), [](const Json& row) {
    const auto hook = row.at("hook").get<std::string>();
    return row.at("state") == "on" && hook.ends_with("/kmem_cache_free_bulk");
  });
}

bool sees_pages_in_bulk(const Json& report) {
  return std::ranges::none_of(report.at("coverage"), [](const Json& row) {
    return row.at("state") != "on" &&
           row.at("hook").get<std::string>().ends_with("/alloc_pages_bulk");
  });
}

}  // namespace tidemark::test
