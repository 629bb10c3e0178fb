// SPDX-License-Identifier: Apache-2.0
//
// What `tidemark report` says of planted memory on whatever kernel this is, out of one series, so
// that the iterators are loaded once: an emulated processor takes seconds to load them.
#include <doctest/doctest.h>
#include <time.h>

#include <stdexcept>

#include "report_plants.h"

using namespace tidemark::test;

namespace {

uint64_t wall_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// A running series of documents, one a line. While nobody reads it waits at the full pipe.
class Series {
 public:
  // The first report begun after the call.
  Json look() {
    const uint64_t asked = wall_ns();
    while (const auto line = process_.read_line(Stream::kOut)) {
      Json report = Json::parse(*line);
      if (report["taken_unix_ns"].get<uint64_t>() > asked) return report;
    }
    throw std::runtime_error("the series ended: " + process_.said(Stream::kErr));
  }

 private:
  Process process_ = Process::spawn(
      {tidemark_path(), "report", "--every", "100ms", "--json", "-", "--quiet", "--top", "1"});
};

}  // namespace

TEST_CASE("report_series_five_quiet_baselines_differ_by_one_mib") {
  if (cannot_look()) return;
  Series series;
  CHECK(spread_of_five([&] { return series.look(); }) <= kMiB);
}

TEST_CASE("report_series_finds_each_plant_with_its_owner") {
  if (cannot_look()) return;
  Series series;
  const Look look = [&] { return series.look(); };
  check_ghost_plant(look, "packet_ring", 64, "packet_ring");
  check_ghost_plant(look, "pipes", 32, "pipe");
  check_ghost_plant(look, "perf_ring", 8, "perf_ring");
  check_ghost_plant(look, "bpf_ringbuf", 16, "bpf");
  check_other_plant(look, "bpf_array", 64, "vmalloc");
  check_other_plant(look, "memfd", 64, "shmem");
  check_other_plant(look, "tmpfs_file", 32, "shmem");
  check_unix_queues(look, 32);
}
