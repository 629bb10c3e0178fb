// SPDX-License-Identifier: Apache-2.0
#include "sources/passing_processes.h"

#include <unistd.h>

#include <cstring>

#include "bpf/abi/passing.h"
#include "bpfrt/link.h"
#include "bpfrt/map.h"
#include "bpfrt/skeleton.h"
#include "passing.skel.h"
#include "support/clock.h"

namespace tidemark::sources {
namespace {

struct SkeletonTraits {
  using Type = passing_bpf;
  static constexpr std::string_view kName = "passing";
  static Type* open(const bpf_object_open_opts* options) { return passing_bpf__open_opts(options); }
  static int load(Type* skeleton) { return passing_bpf__load(skeleton); }
  static void destroy(Type* skeleton) { passing_bpf__destroy(skeleton); }
};
using PassingSkeleton = bpfrt::Skeleton<SkeletonTraits>;

std::string comm_of(const tm_passed& passed) {
  return {passed.comm, ::strnlen(passed.comm, sizeof(passed.comm))};
}

// On Linux 5.10 the kernel's count is still 0 for a small program.
std::optional<uint64_t> peak_bytes(const tm_passed& passed) {
  if (passed.peak_pages == 0) return std::nullopt;
  return passed.peak_pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

// The link goes before its program.
struct PassingProcesses::Programs {
  PassingSkeleton skeleton;
  bpfrt::Link link;
};

PassingProcesses::PassingProcesses(std::unique_ptr<Programs> programs, uint64_t opened_boot_ns)
    : programs_(std::move(programs)), last_take_boot_ns_(opened_boot_ns) {}
PassingProcesses::PassingProcesses(PassingProcesses&&) noexcept = default;
PassingProcesses& PassingProcesses::operator=(PassingProcesses&&) noexcept = default;
PassingProcesses::~PassingProcesses() = default;

Result<PassingProcesses> PassingProcesses::open() {
  bpfrt::silence_libbpf();
  auto skeleton = PassingSkeleton::open();
  if (!skeleton) return std::unexpected(skeleton.error());
  if (auto loaded = skeleton->load(); !loaded) return std::unexpected(loaded.error());
  const uint64_t opened = boot_now().ns;
  (*skeleton)->bss->since_boot_ns = opened;
  auto link = bpfrt::attach_by_section((*skeleton)->progs.process_passed);
  if (!link) return std::unexpected(link.error());
  return PassingProcesses(
      std::make_unique<Programs>(Programs{std::move(*skeleton), std::move(*link)}), opened);
}

Result<PassingProcesses::Taken> PassingProcesses::take() {
  const uint64_t tick_ns = 1'000'000'000 / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  const PassingSkeleton& skeleton = programs_->skeleton;
  Taken taken;
  std::vector<tm_passed_key> keys;
  auto read = bpfrt::for_each_entry<tm_passed_key, tm_passed>(
      skeleton->maps.passed, [&](const tm_passed_key& key, const tm_passed& passed) {
        keys.push_back(key);
        taken.processes.push_back({{static_cast<int32_t>(key.pid), key.started_boot_ns / tick_ns},
                                   comm_of(passed),
                                   peak_bytes(passed)});
      });
  if (!read) return std::unexpected(read.error());
  for (const tm_passed_key& key : keys) bpfrt::erase(skeleton->maps.passed, key);
  taken.not_kept = __atomic_exchange_n(&skeleton->bss->not_kept, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&skeleton->bss->since_boot_ns, last_take_boot_ns_, __ATOMIC_RELAXED);
  last_take_boot_ns_ = boot_now().ns;
  return taken;
}

}  // namespace tidemark::sources
