// SPDX-License-Identifier: Apache-2.0
//
// Every byte of MemTotal once: on literal counters, trap by trap.
#include "model/attribution.h"

#include <doctest/doctest.h>

#include <functional>

#include "memory_samples.h"

using namespace tidemark::model;
using namespace memory_samples;

namespace {

int64_t sum_of(const Attribution& attribution) {
  int64_t sum = 0;
  for (const AttributionRow& row : attribution.rows) sum += row.bytes.value_or(0);
  return sum + static_cast<int64_t>(attribution.ghost.bytes.value_or(0));
}

int64_t row(const Attribution& attribution, std::string_view category) {
  const auto bytes = attribution.find(category);
  REQUIRE(bytes.has_value());
  return *bytes;
}

// What a change of the counters does to the ghost and to every row.
Attribution after(const std::function<void(Sample&)>& change) {
  Sample sample;
  change(sample);
  return attribute(sample.snapshot(), sample.owners);
}

}  // namespace

TEST_CASE("attribution: all rows and the ghost are MemTotal") {
  const Sample sample;
  const Attribution result = attribute(sample.snapshot(), sample.owners);
  CHECK(result.mem_total_bytes == kMemTotal);
  CHECK(sum_of(result) == static_cast<int64_t>(kMemTotal));
  CHECK(result.ghost.bytes == kGhost);
  CHECK(result.ghost.unexplained_bytes == kGhost);
  CHECK(result.ghost.error_bytes == 31 * 2 * 4096);
}

TEST_CASE("attribution: each kind of memory moves its own row and nothing else") {
  struct Case {
    const char* category;
    std::vector<const char*> meminfo;  // grow by 64 MiB; MemFree shrinks by as much
  };
  const std::vector<Case> cases = {
      {"anonymous", {"AnonPages", "Active(anon)", "Active"}},
      {"anonymous", {"AnonPages", "Unevictable", "Mlocked"}},  // locked
      {"shmem", {"Shmem", "Cached", "Inactive(anon)", "Inactive"}},
      {"shmem", {"Shmem", "Cached", "Unevictable"}},  // SHM_LOCK
      {"file_cache", {"Cached", "Active(file)", "Active"}},
      {"unevictable", {"Unevictable"}},  // secret memory, ramfs
      {"slab_reclaimable", {"SReclaimable", "Slab", "KReclaimable"}},
      {"slab_unreclaimable", {"SUnreclaim", "Slab"}},
      {"other_reclaimable", {"KReclaimable"}},
      {"vmalloc", {"VmallocUsed"}},
      {"percpu", {"Percpu"}},
      {"page_tables", {"PageTables"}},
      {"secondary_page_tables", {"SecPageTables"}},
      {"hugetlb", {"Hugetlb"}},
      {"gpu", {"GPUActive"}},
      {"gpu", {"GPUReclaim"}},
      {"hardware_corrupted", {"HardwareCorrupted"}},
  };
  const Attribution before = attribute(Sample().snapshot(), {});
  for (const Case& one : cases) {
    CAPTURE(one.category);
    CAPTURE(one.meminfo.front());
    const Attribution grown = after([&](Sample& sample) {
      for (const char* name : one.meminfo) sample.meminfo[name] += kPlant;
      sample.meminfo["MemFree"] -= kPlant;
    });
    CHECK(grown.ghost.bytes == before.ghost.bytes);
    CHECK(sum_of(grown) == static_cast<int64_t>(kMemTotal));
    for (const AttributionRow& now : grown.rows) {
      const bool own = now.category == one.category;
      const int64_t was = before.find(now.category).value_or(0);
      const int64_t moved = now.category == "free" ? -static_cast<int64_t>(kPlant)
                            : own                  ? static_cast<int64_t>(kPlant)
                                                   : 0;
      CAPTURE(now.category);
      CHECK(now.bytes.value_or(-1) - was == moved);
    }
  }
}

TEST_CASE("attribution: swap cache is anonymous, as far as no page is locked") {
  const Attribution grown = after([](Sample& sample) {
    sample.meminfo["Unevictable"] = 0;
    sample.meminfo["MemFree"] -= kPlant - (20 << 20);
    sample.meminfo["Inactive(anon)"] += kPlant;
    sample.meminfo["Inactive"] += kPlant;
    sample.meminfo["SwapCached"] += kPlant;
  });
  CHECK(grown.ghost.bytes == kGhost);
  CHECK(row(grown, "anonymous") == (480 << 20) + static_cast<int64_t>(kPlant));
  CHECK(row(grown, "unevictable") == 0);
}

TEST_CASE("attribution: pages that no line counts are the ghost's") {
  const Attribution grown = after([](Sample& sample) { sample.meminfo["MemFree"] -= kPlant; });
  CHECK(grown.ghost.bytes == kGhost + kPlant);
}

TEST_CASE("attribution: pages on per-CPU lists, isolated pages and zspages are no ghosts") {
  for (const auto& change : std::vector<std::function<void(Sample&)>>{
           [](Sample& sample) { sample.zones.per_cpu_list_pages += kPlant / 4096; },
           [](Sample& sample) { sample.vmstat["nr_isolated_anon"] += kPlant / 4096; },
           [](Sample& sample) { sample.vmstat["nr_isolated_file"] += kPlant / 4096; },
           [](Sample& sample) { sample.vmstat["nr_zspages"] += kPlant / 4096; }}) {
    const Attribution grown = after([&](Sample& sample) {
      sample.meminfo["MemFree"] -= kPlant;
      change(sample);
    });
    CHECK(grown.ghost.bytes == kGhost);
  }
}

TEST_CASE("attribution: stacks inside vmalloc are not counted again; outside they are a row") {
  const Attribution inside = after([](Sample& sample) { sample.stacks_in_vmalloc = true; });
  CHECK_FALSE(inside.find("kernel_stacks").has_value());
  const Attribution outside = after([](Sample& sample) { sample.stacks_in_vmalloc = false; });
  CHECK(row(outside, "kernel_stacks") == 2 << 20);
  CHECK(outside.ghost.bytes == kGhost - (2 << 20));
  const Attribution unknown = after([](Sample& sample) { sample.stacks_in_vmalloc.reset(); });
  CHECK(*unknown.ghost.error_bytes == 31 * 2 * 4096 + (2 << 20));
}

TEST_CASE("attribution: the first percpu chunk is outside MemTotal") {
  CHECK(row(after([](Sample&) {}), "percpu") == (1 << 20) - kFirstChunk);
  const Attribution unknown = after([](Sample& sample) { sample.first_chunk.reset(); });
  CHECK(row(unknown, "percpu") == 1 << 20);
  CHECK(*unknown.ghost.error_bytes == 31 * 2 * 4096 + (1 << 20));
}

TEST_CASE("attribution: VmallocUsed of old kernels") {
  // Always 0 from 4.4 to 5.2: vmallocinfo knows.
  const auto zero = [](Sample& sample) { sample.meminfo["VmallocUsed"] = 0; };
  const Attribution unknown = after(zero);
  CHECK_FALSE(unknown.ghost.bytes.has_value());
  CHECK(unknown.ghost.unknown_because == "vmalloc is not known");
  CHECK_FALSE(unknown.find("vmalloc").has_value());
  const Attribution told = after([&](Sample& sample) {
    zero(sample);
    sample.vmalloc = VmallocInfo{.page_bytes = 16 << 20, .callers = {}};
  });
  CHECK(told.ghost.bytes == kGhost);
  // Address space until 4.3: without vmallocinfo it is all error.
  const Attribution space = after([](Sample& sample) { sample.meminfo["VmallocChunk"] = 1 << 30; });
  CHECK(*space.ghost.error_bytes == 31 * 2 * 4096 + (16 << 20));
}

TEST_CASE("attribution: huge pages before the line Hugetlb") {
  const Attribution result = after([](Sample& sample) {
    sample.meminfo.erase("Hugetlb");
    sample.meminfo["HugePages_Total"] = 3;
    sample.meminfo["MemFree"] -= 3 * (2 << 20);
  });
  CHECK(row(result, "hugetlb") == 3 * (2 << 20));
  CHECK(result.ghost.bytes == kGhost);
}

TEST_CASE("attribution: a balloon is a row only where it is in MemTotal and the kernel counts it") {
  const auto with = [](BalloonPlace place, bool counted) {
    return after([&](Sample& sample) {
      sample.owners.balloon = Balloon{"vmw_balloon", kPlant, place, ""};
      if (counted) sample.meminfo["Balloon"] = kPlant;
      if (place == BalloonPlace::kInMemTotal) sample.meminfo["MemFree"] -= kPlant;
    });
  };
  const Attribution counted = with(BalloonPlace::kInMemTotal, true);
  CHECK(row(counted, "balloon") == static_cast<int64_t>(kPlant));
  CHECK(counted.ghost.bytes == kGhost);
  const Attribution older = with(BalloonPlace::kInMemTotal, false);
  CHECK(older.ghost.bytes == kGhost + kPlant);
  REQUIRE(older.ghost.explained.size() == 1);
  CHECK(older.ghost.explained[0].maker == "balloon");
  CHECK(older.ghost.explained[0].bytes == kPlant);
  const Attribution lowered = with(BalloonPlace::kTakenOffMemTotal, true);
  CHECK(lowered.ghost.bytes == kGhost);
  CHECK(lowered.ghost.explained.empty());
}

TEST_CASE("attribution: counters that are not folded widen the error") {
  const Attribution result = after([](Sample& sample) { sample.folded = false; });
  CHECK(*result.ghost.error_bytes == (31 * 2 + 100) * 4096);
}

TEST_CASE("attribution: the median reading, and the spread in the error") {
  Sample sample;
  MemorySnapshot snapshot = sample.snapshot();
  snapshot.readings.clear();
  for (const uint64_t moved : {0, 9 << 20, 1 << 20}) {
    Sample other;
    other.meminfo["MemFree"] -= moved;
    snapshot.readings.push_back(other.reading());
  }
  const Attribution result = attribute(snapshot, {});
  CHECK(result.reading == 2);
  CHECK(result.ghost.bytes == kGhost + (1 << 20));
  CHECK(*result.ghost.error_bytes == 31 * 2 * 4096 + (9 << 20));
}

TEST_CASE("attribution: a ghost not larger than its error is none, and the rows still add up") {
  for (const int64_t moved :
       {static_cast<int64_t>(kGhost) - 4096, static_cast<int64_t>(kGhost) + 8192}) {
    const Attribution result =
        after([&](Sample& sample) { sample.meminfo["MemFree"] += static_cast<uint64_t>(moved); });
    CHECK(result.ghost.bytes == 0);
    CHECK(row(result, "counting_error") == static_cast<int64_t>(kGhost) - moved);
    CHECK(sum_of(result) == static_cast<int64_t>(kMemTotal));
  }
}

TEST_CASE("attribution: without a file the ghost is unknown, not 0") {
  Sample sample;
  for (const char* missing : {"meminfo", "vmstat", "zoneinfo"}) {
    MemorySnapshot snapshot = sample.snapshot();
    MemoryReading& reading = snapshot.readings.front();
    if (missing == std::string_view("meminfo")) reading.meminfo.reset();
    if (missing == std::string_view("vmstat")) reading.vmstat.reset();
    if (missing == std::string_view("zoneinfo")) reading.zones.reset();
    const Attribution result = attribute(snapshot, {});
    CHECK_FALSE(result.ghost.bytes.has_value());
    CHECK_FALSE(result.ghost.unexplained_bytes.has_value());
    CHECK(result.ghost.unknown_because == std::string(missing) + " could not be read");
  }
  CHECK_FALSE(attribute(MemorySnapshot{}, {}).ghost.bytes.has_value());
}

TEST_CASE("attribution: by hand it comes to the same") {
  const Attribution result = after([](Sample& sample) {
    sample.vmstat["nr_isolated_file"] = 7;
    sample.meminfo["Bounce"] = 8192;
    sample.meminfo["KReclaimable"] += 4096;
  });
  REQUIRE(result.formula.seed_ghost.has_value());
  int64_t rest = *result.formula.seed_ghost;
  for (const FormulaLine& line : result.formula.corrections) rest -= line.bytes.value_or(0);
  CHECK(rest == static_cast<int64_t>(*result.ghost.bytes));
}

TEST_CASE("ghost: owners explain no more than there is, the certain ones first") {
  Sample sample;
  const auto socket = [](uint64_t ring, uint64_t ghost, bool estimated) {
    Socket made;
    made.family = "packet";
    made.ring_bytes = ring;
    made.ghost_bytes = ghost;
    made.ghost_estimated = estimated;
    made.holder = Holder{.pid = Pid{7}, .comm = "capture", .fd = 5, .cgroup = {}};
    return made;
  };
  sample.owners.sockets = {socket(kGhost / 2, kGhost / 2, false), socket(0, kGhost, true)};
  sample.owners.holders = {{.maker = GhostMaker::kPipe,
                            .bytes = kGhost / 4,
                            .ghost_bytes = kGhost / 4,
                            .holder = {},
                            .detail = "pipe 1"}};
  const Attribution result = attribute(sample.snapshot(), sample.owners);
  REQUIRE(result.ghost.explained.size() == 3);
  CHECK(result.ghost.explained[0].maker == "packet_ring");
  CHECK(result.ghost.explained[0].bytes == kGhost / 2);
  CHECK(result.ghost.explained[0].holder->comm == "capture");
  uint64_t explained = 0;
  for (const GhostPart& part : result.ghost.explained) {
    explained += part.bytes;
    if (part.maker == "pipe") CHECK(part.bytes == kGhost / 4);
    if (part.maker == "socket_queue") CHECK(part.bytes == kGhost - kGhost / 2 - kGhost / 4);
  }
  CHECK(explained == kGhost);
  CHECK(result.ghost.unexplained_bytes == 0);
}
