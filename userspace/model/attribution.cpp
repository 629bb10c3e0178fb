// SPDX-License-Identifier: Apache-2.0
#include "model/attribution.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "model/ghost_parts.h"

namespace tidemark::model {
namespace {

// Pages that a CPU may hold in its batch before they get onto an LRU list (PAGEVEC_SIZE; it was 15
// before Linux 6.8).
constexpr uint64_t kLruBatchPages = 31;

// Everything that a term may look at.
struct Inputs {
  const MemorySnapshot& snapshot;
  const MemoryOwners& owners;
  const Counters& meminfo;
  const Counters& vmstat;
  const ZoneTotals& zones;

  [[nodiscard]] uint64_t pages(std::string_view name) const {
    return vmstat.find(name).value_or(0) * snapshot.page_bytes;
  }
  [[nodiscard]] uint64_t bytes(std::string_view name) const {
    return meminfo.find(name).value_or(0);
  }
  [[nodiscard]] bool has(std::string_view name) const { return meminfo.find(name).has_value(); }
};

// What a term comes to. kNotHere: this kernel does not have it, the row is left out. kUnknown: it
// does, and it could not be read.
enum class Presence { kKnown, kNotHere, kUnknown };
struct Amount {
  Presence presence = Presence::kNotHere;
  uint64_t bytes = 0;
};
Amount known(uint64_t bytes) {
  return {Presence::kKnown, bytes};
}
Amount known_if(bool here, uint64_t bytes) {
  return here ? known(bytes) : Amount{};
}

uint64_t minus(uint64_t from, uint64_t what) {
  return from > what ? from - what : 0;
}

// --- the LRU lists: each page of a process or of a file once. Active, Inactive and Unevictable say
// how the pages are kept, AnonPages and Shmem what they are; a locked page is in Unevictable
// whatever it is. So the lists give the sum, and the kinds share it out.

uint64_t file_lists(const Inputs& in) {
  return in.bytes("Active(file)") + in.bytes("Inactive(file)") + in.pages("nr_isolated_file");
}
uint64_t other_lists(const Inputs& in) {
  return in.bytes("Active(anon)") + in.bytes("Inactive(anon)") + in.pages("nr_isolated_anon") +
         in.bytes("Unevictable");
}
uint64_t shmem_of_lists(const Inputs& in) {
  return std::min(in.bytes("Shmem"), other_lists(in));
}
uint64_t anonymous_of_lists(const Inputs& in) {
  return std::min(in.bytes("AnonPages"), other_lists(in) - shmem_of_lists(in));
}
// What is neither shared nor anonymous and locked: secret memory, ramfs, locked files. Beyond that
// it is swap cache or the unmapped rest of huge pages: anonymous.
uint64_t unevictable_of_lists(const Inputs& in) {
  const uint64_t rest = other_lists(in) - shmem_of_lists(in) - anonymous_of_lists(in);
  return std::min(rest, in.bytes("Unevictable"));
}

Amount file_cache(const Inputs& in) {
  return known(file_lists(in));
}
Amount shmem(const Inputs& in) {
  return known(shmem_of_lists(in));
}
Amount anonymous(const Inputs& in) {
  return known(other_lists(in) - shmem_of_lists(in) - unevictable_of_lists(in));
}
Amount unevictable(const Inputs& in) {
  return known(unevictable_of_lists(in));
}

// --- the kernel's own

// Until Linux 4.3 VmallocUsed was address space (VmallocChunk is then not 0), and until 5.2 it was
// always 0: both times vmallocinfo knows better, where it may be read.
bool vmalloc_is_address_space(const Inputs& in) {
  return in.bytes("VmallocChunk") > 0;
}
Amount vmalloc(const Inputs& in) {
  const uint64_t said = in.bytes("VmallocUsed");
  if (said > 0 && !vmalloc_is_address_space(in)) return known(said);
  if (in.snapshot.vmalloc) return known(in.snapshot.vmalloc->page_bytes);
  return said > 0 ? known(said) : Amount{Presence::kUnknown, 0};
}

// The first chunk is memory from before MemTotal was counted.
Amount percpu(const Inputs& in) {
  return known_if(in.has("Percpu"),
                  minus(in.bytes("Percpu"), in.snapshot.percpu_first_chunk_bytes.value_or(0)));
}

Amount kernel_stacks(const Inputs& in) {
  return known_if(!in.snapshot.stacks_in_vmalloc.value_or(true), in.bytes("KernelStack"));
}

Amount hugetlb(const Inputs& in) {
  if (in.has("Hugetlb")) return known(in.bytes("Hugetlb"));
  // Before Linux 4.19: pages of the default size only.
  return known_if(in.has("HugePages_Total"),
                  in.bytes("HugePages_Total") * in.bytes("Hugepagesize"));
}

// Since 6.18 the kernel counts what drivers inflated; it is a part of MemTotal only with those that
// leave MemTotal alone.
Amount balloon(const Inputs& in) {
  const bool inside = in.owners.balloon && in.owners.balloon->place == BalloonPlace::kInMemTotal;
  return known_if(in.has("Balloon") && inside, in.bytes("Balloon"));
}

Amount gpu(const Inputs& in) {
  return known_if(in.has("GPUActive") || in.has("GPUReclaim"),
                  in.bytes("GPUActive") + in.bytes("GPUReclaim"));
}

template <const char* kName>
Amount field(const Inputs& in) {
  return known_if(in.has(kName), in.bytes(kName));
}
constexpr char kMemFree[] = "MemFree";
constexpr char kSReclaimable[] = "SReclaimable";
constexpr char kSUnreclaim[] = "SUnreclaim";
constexpr char kPageTables[] = "PageTables";
constexpr char kSecPageTables[] = "SecPageTables";
constexpr char kHardwareCorrupted[] = "HardwareCorrupted";

struct Term {
  std::string_view category;
  std::string_view source;
  Amount (*amount)(const Inputs& in);
};

// A kernel that counts more gets a row here.
constexpr std::array kTerms = {
    Term{"free", "MemFree", field<kMemFree>},
    Term{"percpu_free_lists", "zoneinfo: sum of count",
         [](const Inputs& in) {
           return known(in.zones.per_cpu_list_pages * in.snapshot.page_bytes);
         }},
    Term{"file_cache", "Active(file) + Inactive(file) + nr_isolated_file", file_cache},
    Term{"shmem", "Shmem", shmem},
    Term{"anonymous", "(anon) lists + Unevictable + isolated - shmem - unevictable", anonymous},
    Term{"unevictable", "Unevictable, as far as neither Shmem nor AnonPages", unevictable},
    Term{"slab_reclaimable", "SReclaimable", field<kSReclaimable>},
    Term{"slab_unreclaimable", "SUnreclaim", field<kSUnreclaim>},
    Term{"other_reclaimable", "KReclaimable - SReclaimable",
         [](const Inputs& in) {
           return known_if(in.has("KReclaimable"),
                           minus(in.bytes("KReclaimable"), in.bytes("SReclaimable")));
         }},
    Term{"vmalloc", "VmallocUsed (kernel stacks included, where they are mapped)", vmalloc},
    Term{"percpu", "Percpu - first chunk", percpu},
    Term{"page_tables", "PageTables", field<kPageTables>},
    Term{"secondary_page_tables", "SecPageTables", field<kSecPageTables>},
    Term{"kernel_stacks", "KernelStack", kernel_stacks},
    Term{"hugetlb", "Hugetlb", hugetlb},
    Term{"zspages", "vmstat: nr_zspages",
         [](const Inputs& in) {
           return known_if(in.vmstat.find("nr_zspages").has_value(), in.pages("nr_zspages"));
         }},
    Term{"balloon", "Balloon, where the driver leaves MemTotal alone", balloon},
    Term{"gpu", "GPUActive + GPUReclaim", gpu},
    Term{"hardware_corrupted", "HardwareCorrupted", field<kHardwareCorrupted>},
};

// --- one reading

struct Sums {
  std::vector<AttributionRow> rows;
  std::optional<int64_t> ghost;  // MemTotal minus all rows
  std::optional<std::string> unknown_because;
};

Sums add_up(const Inputs& in) {
  Sums sums;
  auto rest = static_cast<int64_t>(in.bytes("MemTotal"));
  for (const Term& term : kTerms) {
    const Amount amount = term.amount(in);
    if (amount.presence == Presence::kNotHere) continue;
    AttributionRow row{std::string(term.category), std::nullopt, std::string(term.source)};
    if (amount.presence == Presence::kKnown) {
      row.bytes = static_cast<int64_t>(amount.bytes);
      rest -= *row.bytes;
    } else {
      sums.unknown_because = fmt::format("{} is not known", term.category);
    }
    sums.rows.push_back(std::move(row));
  }
  if (!sums.unknown_because) sums.ghost = rest;
  return sums;
}

const char* missing_part(const MemoryReading& reading) {
  if (!reading.meminfo) return "meminfo";
  if (!reading.vmstat) return "vmstat";
  return reading.zones ? nullptr : "zoneinfo";
}

Inputs inputs_of(const MemorySnapshot& snapshot, const MemoryOwners& owners,
                 const MemoryReading& reading) {
  return {snapshot, owners, *reading.meminfo, *reading.vmstat, *reading.zones};
}

// --- the error

std::vector<ErrorPart> errors_of(const Inputs& in, uint64_t spread) {
  const MemorySnapshot& snapshot = in.snapshot;
  std::vector<ErrorPart> parts;
  const auto add = [&](std::string_view why, uint64_t bytes) {
    if (bytes > 0) parts.push_back({why, bytes});
  };
  const uint64_t cpus = snapshot.online_cpus.value_or(snapshot.possible_cpus.value_or(1));
  add("pages in the CPUs' batches, not yet on a list", kLruBatchPages * cpus * snapshot.page_bytes);
  add("how much it moved between the readings", spread);
  if (!snapshot.counters_folded) {
    add("counts that the CPUs hold back (root folds them)",
        in.zones.vmstat_threshold_pages * snapshot.page_bytes);
  }
  if (in.has("Percpu") && !snapshot.percpu_first_chunk_bytes) {
    add("the first percpu chunk is not known", in.bytes("Percpu"));
  }
  if (!snapshot.stacks_in_vmalloc) {
    add("it is not known whether stacks are in vmalloc", in.bytes("KernelStack"));
  }
  if (vmalloc_is_address_space(in) && !snapshot.vmalloc) {
    add("VmallocUsed is address space on this kernel", in.bytes("VmallocUsed"));
  }
  return parts;
}

// --- by hand

HandFormula formula_of(const Inputs& in) {
  HandFormula formula;
  const auto signed_bytes = [&](std::string_view name) {
    return static_cast<int64_t>(in.bytes(name));
  };
  for (const std::string_view name :
       {"MemFree", "Active", "Inactive", "Unevictable", "Slab", "VmallocUsed", "PageTables",
        "KernelStack", "HardwareCorrupted", "Bounce"}) {
    formula.seed.push_back({name, signed_bytes(name)});
  }
  formula.seed.push_back({"HugePages_Total * Hugepagesize",
                          signed_bytes("HugePages_Total") * signed_bytes("Hugepagesize")});
  int64_t rest = signed_bytes("MemTotal");
  for (const FormulaLine& line : formula.seed) rest -= line.bytes.value_or(0);
  formula.seed_ghost = rest;
  return formula;
}

// What our rows subtract beyond the seed formula, as far as it comes to something.
void add_corrections(const Inputs& in, const Sums& sums, HandFormula& formula) {
  const auto row = [&](std::string_view category) -> int64_t {
    for (const AttributionRow& candidate : sums.rows) {
      if (candidate.category == category) return candidate.bytes.value_or(0);
    }
    return 0;
  };
  const auto of = [&](std::string_view name) { return static_cast<int64_t>(in.bytes(name)); };
  const std::array<FormulaLine, 11> lines = {{
      {"free pages on per-CPU lists (zoneinfo)", row("percpu_free_lists")},
      {"pages taken off the lists (nr_isolated_*)",
       static_cast<int64_t>(in.pages("nr_isolated_anon") + in.pages("nr_isolated_file"))},
      {"Percpu without its first chunk", row("percpu")},
      {"SecPageTables", row("secondary_page_tables")},
      {"zspages", row("zspages")},
      {"reclaimable beyond slab", row("other_reclaimable")},
      {"Balloon and GPU", row("balloon") + row("gpu")},
      {"huge pages of other sizes", row("hugetlb") - of("HugePages_Total") * of("Hugepagesize")},
      {"KernelStack, which VmallocUsed holds already", row("kernel_stacks") - of("KernelStack")},
      {"Bounce, which is in no list of ours", -of("Bounce")},
      {"VmallocUsed corrected", row("vmalloc") - of("VmallocUsed")},
  }};
  for (const FormulaLine& line : lines) {
    if (line.bytes.value_or(0) != 0) formula.corrections.push_back(line);
  }
}

int64_t naive_ghost(const Inputs& in) {
  auto rest = static_cast<int64_t>(in.bytes("MemTotal"));
  for (const std::string_view name :
       {"MemFree", "Buffers", "Cached", "AnonPages", "Slab", "KernelStack", "PageTables",
        "VmallocUsed", "Percpu", "Hugetlb"}) {
    rest -= static_cast<int64_t>(in.bytes(name));
  }
  return rest;
}

// --- all readings

struct Choice {
  std::size_t reading = 0;
  uint64_t spread = 0;
};

// The reading with the median ghost, and how far they are apart.
Choice choose(const std::vector<std::optional<int64_t>>& ghosts) {
  std::vector<std::pair<int64_t, std::size_t>> known_ghosts;
  for (std::size_t at = 0; at < ghosts.size(); ++at) {
    if (ghosts[at]) known_ghosts.emplace_back(*ghosts[at], at);
  }
  if (known_ghosts.empty()) return {};
  std::ranges::sort(known_ghosts);
  const int64_t spread = known_ghosts.back().first - known_ghosts.front().first;
  return {known_ghosts[known_ghosts.size() / 2].second, static_cast<uint64_t>(spread)};
}

void settle_ghost(Attribution& result, int64_t raw) {
  uint64_t error = 0;
  for (const ErrorPart& part : result.ghost.error_parts) error += part.bytes;
  result.ghost.error_bytes = error;
  const bool visible = raw > 0 && static_cast<uint64_t>(raw) > error;
  result.ghost.bytes = visible ? static_cast<uint64_t>(raw) : 0;
  if (!visible && raw != 0) {
    result.rows.push_back({"counting_error", raw, "what remains, not larger than the error"});
  }
}

}  // namespace

std::optional<int64_t> Attribution::find(std::string_view category) const {
  const auto row = std::ranges::find(rows, category, &AttributionRow::category);
  return row == rows.end() ? std::nullopt : row->bytes;
}

Attribution attribute(const MemorySnapshot& snapshot, const MemoryOwners& owners) {
  Attribution result;
  std::vector<std::optional<int64_t>> ghosts;
  for (const MemoryReading& reading : snapshot.readings) {
    const bool whole = missing_part(reading) == nullptr;
    ghosts.push_back(whole ? add_up(inputs_of(snapshot, owners, reading)).ghost : std::nullopt);
  }
  const Choice choice = choose(ghosts);
  result.reading = choice.reading;
  if (choice.reading >= snapshot.readings.size()) {
    result.ghost.unknown_because = "nothing was read";
    return result;
  }
  const MemoryReading& reading = snapshot.readings[choice.reading];
  if (reading.meminfo) result.mem_total_bytes = reading.meminfo->find("MemTotal");
  if (const char* missing = missing_part(reading)) {
    result.ghost.unknown_because = fmt::format("{} could not be read", missing);
    explain_ghost(owners, result);
    return result;
  }
  const Inputs in = inputs_of(snapshot, owners, reading);
  Sums sums = add_up(in);
  result.formula = formula_of(in);
  add_corrections(in, sums, result.formula);
  result.naive_ghost_bytes = naive_ghost(in);
  result.rows = std::move(sums.rows);
  result.ghost.unknown_because = std::move(sums.unknown_because);
  result.ghost.error_parts = errors_of(in, choice.spread);
  if (sums.ghost) settle_ghost(result, *sums.ghost);
  explain_ghost(owners, result);
  return result;
}

}  // namespace tidemark::model
