// SPDX-License-Identifier: Apache-2.0
#include "report_plants.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace tidemark::test {
namespace {

// Which rows a plant may move besides its own, and what the machine moves by itself: tasks that
// come and go take page tables, slab and vmalloc (stacks). The stated noise of a kernel row.
constexpr int64_t kNoise = 8 * kMiB;
constexpr std::array kKernelRows = {"vmalloc", "percpu",      "secondary_page_tables", "hugetlb",
                                    "zspages", "unevictable", "hardware_corrupted",    "balloon"};

bool others_are_still(const Move& move, const std::string& own) {
  return std::ranges::all_of(kKernelRows, [&](const char* name) {
    return name == own || std::abs(move.of(name)) <= kNoise;
  });
}

// Plants until `is_right`; the last move is returned either way, for the checks to judge.
Move plant_until(const Look& look, const std::string& kind, long amount,
                 const std::function<bool(const Move&)>& is_right) {
  Move move;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    move.before = look();
    const Plant plant(kind, amount);
    move.after = look();
    move.bytes = plant.bytes();
    move.pid = plant.target.pid();
    if (is_right(move)) break;
  }
  return move;
}

}  // namespace

bool cannot_look() {
  return ::geteuid() != 0 && skip_because("looking into other processes needs root");
}

int64_t ghost_of(const Json& report) {
  return report["ghost"]["bytes"].get<int64_t>();
}

int64_t error_of(const Json& report) {
  return report["ghost"]["error_bytes"].get<int64_t>();
}

int64_t category_of(const Json& report, const std::string& name) {
  if (name == "ghost") return ghost_of(report);
  for (const Json& row : report["attribution"]) {
    if (row["category"] == name) return row["bytes"].get<int64_t>();
  }
  return 0;
}

int64_t sum_of(const Json& rows, pid_t pid, const char* field) {
  int64_t sum = 0;
  for (const Json& row : rows) {
    if (row["pid"] == pid) sum += row[field].get<int64_t>();
  }
  return sum;
}

Plant::Plant(const std::string& kind, long amount)
    : target("memory_plants", {kind, std::to_string(amount)}), ledger(target.run()) {}

int64_t spread_of_five(const Look& look) {
  int64_t spread = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    int64_t least = INT64_MAX, most = 0;
    for (int at = 0; at < 5; ++at) {
      const int64_t bytes = ghost_of(look());
      least = std::min(least, bytes);
      most = std::max(most, bytes);
    }
    spread = most - least;
    if (spread <= kMiB) break;
  }
  return spread;
}

void check_ghost_plant(const Look& look, const std::string& kind, long amount,
                       const std::string& maker) {
  CAPTURE(kind);
  const auto is_right = [](const Move& move) {
    return std::abs(move.of("ghost") - move.bytes) <= move.allowed() &&
           others_are_still(move, "ghost");
  };
  const Move move = plant_until(look, kind, amount, is_right);
  CAPTURE(move.bytes);
  CAPTURE(move.before["ghost"].dump());
  CAPTURE(move.after["ghost"].dump());
  CHECK(std::abs(move.of("ghost") - move.bytes) <= move.allowed());
  CHECK(others_are_still(move, "ghost"));
  int64_t explained = 0;
  for (const Json& part : move.after["ghost"]["explained"]) {
    if (part["pid"] == move.pid && part["maker"] == maker)
      explained += part["bytes"].get<int64_t>();
  }
  CHECK(std::abs(explained - move.bytes) <= kMiB / 4);
}

void check_other_plant(const Look& look, const std::string& kind, long amount,
                       const std::string& own) {
  CAPTURE(kind);
  const auto is_right = [&](const Move& move) {
    return std::abs(move.of(own) - move.bytes) <= kNoise &&
           std::abs(move.of("ghost")) <= move.allowed() && others_are_still(move, own);
  };
  const Move move = plant_until(look, kind, amount, is_right);
  CAPTURE(move.bytes);
  CAPTURE(move.before["attribution"].dump());
  CAPTURE(move.after["attribution"].dump());
  CHECK(std::abs(move.of(own) - move.bytes) <= kNoise);
  CHECK(std::abs(move.of("ghost")) <= move.allowed());
  CHECK(others_are_still(move, own));
}

void check_unix_queues(const Look& look, long mib) {
  const auto said = [](const Move& move) {
    return sum_of(move.after["sockets"]["sockets"], move.pid, "ghost_bytes");
  };
  const auto is_right = [&](const Move& move) {
    return std::abs(move.of("ghost") - said(move)) <= move.allowed();
  };
  const Move move = plant_until(look, "unix", mib, is_right);
  CAPTURE(move.before["ghost"].dump());
  CAPTURE(move.after["ghost"].dump());
  CHECK(said(move) > mib * kMiB * 3 / 4);
  CHECK(std::abs(move.of("ghost") - said(move)) <= move.allowed());
  CHECK(sum_of(move.after["ghost"]["explained"], move.pid, "bytes") > mib * kMiB * 3 / 4);
}

}  // namespace tidemark::test
