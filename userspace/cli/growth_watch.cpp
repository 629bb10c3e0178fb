// SPDX-License-Identifier: Apache-2.0
#include "cli/growth_watch.h"

#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "cli/source_lines.h"
#include "model/stack_index.h"
#include "system/pagemap.h"
#include "system/process.h"
#include "system/process_list.h"

namespace tidemark::cli {
namespace {

// What a kernel that does not say it to the page may leave out, for each of two readings: pages
// that a CPU holds back (percpu_counter_batch), or two of them; a thread 64
// (TASK_RSS_EVENTS_THRESH).
uint64_t resident_error_bytes() {
  if (system::resident_sizes_are_exact()) return 0;
  constexpr uint64_t kLeastHeldBack = 64;
  const uint64_t cpus = std::max(1U, std::thread::hardware_concurrency());
  const uint64_t pages = std::max(kLeastHeldBack, 2 * cpus) * cpus;
  return 2 * pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::vector<symbolize::StackToName> stacks_to_name(const model::GrowthSnapshot& snapshot,
                                                   const TraceOptions& options) {
  const model::StackIndex by_id = model::index_stacks(snapshot.stacks);
  std::vector<symbolize::StackToName> stacks;
  for (const model::GrowthSite& site : snapshot.call_sites) {
    if (options.outputs.empty() && stacks.size() == options.text.top) break;
    const auto stack = by_id.find(site.stack);
    if (stack != by_id.end()) stacks.push_back({site.owner, stack->second->frames});
  }
  return stacks;
}

}  // namespace

Result<std::unique_ptr<GrowthWatch>> GrowthWatch::open(const TraceOptions& options,
                                                       const kernel::Facts& facts) {
  std::unique_ptr<GrowthWatch> watch(new GrowthWatch(options));
  if (options.debuginfod) {
    if (auto used = use_debuginfod(watch->symbolizer_); !used) return std::unexpected(used.error());
  }
  auto source = sources::ResidentGrowth::open(facts);
  if (!source) return std::unexpected(source.error());
  const model::Pid self{::getpid()};
  collect::GrowthReaders readers;
  readers.pids = [self] {
    auto pids = system::list_pids();
    std::erase(pids, self);
    return pids;
  };
  readers.sizes = system::read_resident_sizes;
  readers.faults = system::read_page_faults;
  readers.comm = system::read_comm;
  readers.process = system::read_process;
  readers.kept = system::read_kept;
  watch->collector_ = std::make_unique<collect::GrowthCollector>(
      std::move(*source), std::move(readers),
      [raw = watch.get()](model::Generation owner, const model::ProcessImage& image) {
        raw->symbolizer_.learn(owner, image);
      },
      resident_error_bytes());
  return watch;
}

Result<model::GrowthSnapshot> GrowthWatch::snapshot(MonotonicTime now, bool is_last) {
  auto snapshot = collector_->snapshot(now);
  if (!snapshot) return snapshot;
  std::ranges::move(learn_source_lines(symbolizer_, stacks_to_name(*snapshot, options_), options_,
                                       is_last, monotonic_now()),
                    std::back_inserter(snapshot->coverage));
  return snapshot;
}

report::StackNames GrowthWatch::names_of(const model::GrowthSnapshot& snapshot) {
  return cli::names_of(symbolizer_, snapshot.stacks);
}

}  // namespace tidemark::cli
