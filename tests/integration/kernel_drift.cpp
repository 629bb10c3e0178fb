// SPDX-License-Identifier: Apache-2.0
//
// Does our count of the kernel's objects stay true? After churn and quiet it is set beside the
// kernel's own, and frees that no hook tells are planted.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "kernel_reports.h"
#include "loopback.h"
#include "tidemark.h"

using namespace tidemark::test;

namespace {

// kfree_rcu() collects for up to 5 s, and waits for a grace period then.
constexpr unsigned kQuietSeconds = 8;
// A machine where others work may move a cache between two readings; a drift does so each time.
constexpr int kAttempts = 3;
constexpr long kSlackObjects = 64;
constexpr double kSlackShare = 0.01;

// And quiet: opening a file of sysfs makes an object that goes by kfree_rcu() itself.
void shrink_caches() {
  std::error_code ignored;
  for (const auto& cache : std::filesystem::directory_iterator("/sys/kernel/slab", ignored)) {
    if (!cache.is_symlink()) std::ofstream(cache.path() / "shrink") << "1\n";
  }
  ::sleep(kQuietSeconds);
}

void fork_children(long count) {
  for (long i = 0; i < count; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) ::_exit(0);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
  }
}

long count_files(const char* directory) {
  long files = 0;
  std::error_code error;
  const auto options = std::filesystem::directory_options::skip_permission_denied;
  for (std::filesystem::recursive_directory_iterator at(directory, options, error), end;
       !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (at->symlink_status(ignored).type() != std::filesystem::file_type::none) ++files;
  }
  return files;
}

void churn() {
  fork_children(scaled(500, 100));
  CHECK(count_files("/usr") > 0);
  for (int i = 0; i < 3; ++i) download_over_loopback(scaled(32, 4) << 20);
}

// Those that peers are wrong about, by what slabinfo counts as active.
using Objects = std::map<std::string, long>;
Objects active_objects() {
  Objects active;
  std::ifstream slabinfo("/proc/slabinfo");
  for (std::string line; std::getline(slabinfo, line);) {
    std::istringstream words(line);
    std::string cache;
    long count = 0;
    if (words >> cache >> count &&
        (cache == "maple_node" || cache == "skbuff_head_cache" || cache == "vm_area_struct"))
      active[cache] = count;
  }
  return active;
}

struct Churned {
  Json report;
  Objects gained;  // by our own reading
};

// A report on the churn, with quiet and shrunk caches at both ends.
Churned report_on_churn(const Words& options) {
  shrink_caches();
  Words arguments = {"--quiet"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  Trace trace("kernel", arguments);
  trace.wait_until_tracing();
  shrink_caches();
  const Objects before = active_objects();
  churn();
  ::sleep(kQuietSeconds);
  shrink_caches();
  Churned churned;
  churned.gained = active_objects();
  for (auto& [cache, count] : churned.gained) count -= before.at(cache);
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  check_kernel_report(outcome.report());
  churned.report = outcome.report();
  return churned;
}

long slack(const Json& row) {
  const double gained = std::abs(row.at("gained_kernel_count").get<double>());
  return std::max(kSlackObjects, std::lround(kSlackShare * gained));
}

// Caches whose gain is not what the kernel says. Where only tracepoints tell, births and frees of
// old objects may go unseen, and are said to be; but what we count as live has to be live.
std::set<std::string> drifted(const Churned& churned) {
  const Json& report = churned.report;
  std::set<std::string> caches;
  const long skipped = skipped_events(report);
  const bool all_seen = sees_functions(report);
  for (const Json& row : report.at("reconcile")) {
    if (row.at("kind") != "slab" || row.at("unseen").is_null()) continue;
    const long unseen = row.at("unseen").get<long>();
    if (unseen < -slack(row) - skipped || (all_seen && unseen > slack(row) + skipped))
      caches.insert(row.at("cache").get<std::string>());
    if (caches.contains(row.at("cache").get<std::string>())) MESSAGE(row.dump());
  }
  // What we say of the kernel's side is what it says itself. Caches that stood still have no row.
  for (const auto& [cache, gained] : churned.gained) {
    const Json* row = reconciled(report, cache);
    const long told = row == nullptr ? 0 : row->at("gained_kernel_count").get<long>();
    if (std::abs(told - gained) <= kSlackObjects + std::lround(kSlackShare * std::abs(gained)))
      continue;
    MESSAGE(cache << " gained " << gained << " by slabinfo, " << told << " by the report");
    caches.insert(cache);
  }
  return caches;
}

// What drifts in each of several attempts.
std::set<std::string> always_drifted(const Words& options) {
  std::set<std::string> caches;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto now = drifted(report_on_churn(options));
    if (attempt == 0) caches = now;
    std::erase_if(caches, [&](const std::string& cache) { return !now.contains(cache); });
    if (caches.empty()) return caches;
  }
  return caches;
}

std::string listed(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// All pages, movable ones too, that left the free lists or came back.
std::optional<long> unseen_pages() {
  const Json report = report_on_churn({"--pages"}).report;
  const Json& row = report.at("reconcile").at(0);
  REQUIRE(row.at("kind") == "page");
  REQUIRE_FALSE(row.at("unseen").is_null());
  MESSAGE(row.dump());
  const long unseen = row.at("unseen").get<long>();
  const bool all_seen = sees_pages_in_bulk(report);
  if (!all_seen || std::abs(unseen) <= slack(row) + skipped_events(report)) return std::nullopt;
  return unseen;
}

struct Planted {
  long missed = 0;  // as the report has them for the cache
  double trust = 0;
};

// Each timerfd's context is freed by kfree_rcu(). What it collects in arrays, which is most, no
// tracepoint tells on any kernel.
Planted plant_missed_frees(long count) {
  const std::vector<std::string> makers = {"__do_sys_timerfd_create", "__x64_sys_timerfd_create"};
  KernelPlant plant("timerfds", count);
  Trace trace("kernel", {"--slab", "--hooks", "tracepoints", "--quiet"});
  trace.wait_until_tracing();
  plant.run();
  plant.end();
  ::sleep(kQuietSeconds);
  const Outcome outcome = trace.finish();
  REQUIRE(outcome.exit_code == 0);
  INFO(outcome.out);
  const Json& report = outcome.report();
  const long skipped = skipped_events(report);
  const Sums sums = made_by(report, "slab", makers);
  CHECK(sums.total_count >= count - skipped);
  CHECK(sums.live_count <= 8);
  Planted found;
  std::string cache;
  for (const Json& row : report.at("call_sites")) {
    if (row.at("kind") == "slab" && (names(row, makers[0], 1) || names(row, makers[1], 1)))
      cache = row.at("cache").get<std::string>();
  }
  const Json* row = reconciled(report, cache);
  REQUIRE(row != nullptr);
  found.missed =
      row->at("missed_frees").get<long>() + row->at("dropped_by_verification").get<long>();
  found.trust = row->at("trust").get<double>();
  INFO(row->dump());
  CHECK(found.missed >= count / 2 - skipped);
  return found;
}

}  // namespace

TEST_CASE("kernel_no_drift_after_churn") {
  if (cannot_trace()) return;
  CHECK(listed(always_drifted({"--slab"})) == "");
}

TEST_CASE("kernel_no_drift_of_pages_after_churn") {
  if (cannot_trace()) return;
  std::optional<long> unseen = 0;
  for (int attempt = 0; attempt < kAttempts && unseen; ++attempt) unseen = unseen_pages();
  CHECK_FALSE(unseen.has_value());
}

TEST_CASE("kernel_planted_missed_frees_are_not_live_and_move_the_trust") {
  if (cannot_trace()) return;
  const long fewer = scaled(1000, 200);
  const long more = 3 * fewer;
  const Planted first = plant_missed_frees(fewer);
  const Planted second = plant_missed_frees(more);
  CHECK(second.missed - first.missed >= (more - fewer) / 2);
  CHECK(second.trust < 0.75);
}
