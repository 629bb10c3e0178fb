// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <vector>

#include "bpfrt/map.h"
#include "bpfrt/skeleton.h"
#include "support/strings.h"

namespace tidemark::bpfrt {

void silence_libbpf() {
  libbpf_set_print([](libbpf_print_level, const char*, va_list) noexcept -> int { return 0; });
}

std::string verifier_reason(std::string_view log) {
  // The last lines before the statistics say what was refused.
  std::vector<std::string_view> lines;
  for_each_line(log.substr(0, log.find('\0')), [&](std::string_view line) {
    line = trim(line);
    if (!line.empty() && !line.starts_with("processed ")) lines.push_back(line);
  });
  std::string reason;
  const std::size_t kept = lines.size() < 3 ? lines.size() : 3;
  for (std::size_t i = lines.size() - kept; i < lines.size(); ++i) {
    if (!reason.empty()) reason += " | ";
    reason += lines[i];
  }
  return reason;
}

Result<std::size_t> possible_cpus() {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return fail_errno(-cpus, "cannot tell how many CPUs there are");
  return static_cast<std::size_t>(cpus);
}

namespace {

Result<bpf_prog_info> program_info(const bpf_program* program) {
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) != 0) {
    return fail_errno(errno, "cannot ask the kernel about {}", bpf_program__name(program));
  }
  return info;
}

}  // namespace

Result<uint64_t> program_misses(const bpf_program* program) {
  const auto info = program_info(program);
  if (!info) return std::unexpected(info.error());
  return info->recursion_misses;
}

Result<ProgramUse> program_use(const bpf_program* program) {
  const auto info = program_info(program);
  if (!info) return std::unexpected(info.error());
  return ProgramUse{info->run_time_ns, info->run_cnt};
}

Result<UniqueFd> keep_run_times() {
  UniqueFd fd(bpf_enable_stats(BPF_STATS_RUN_TIME));
  if (!fd.valid()) return fail_errno(errno, "cannot let the kernel time programs");
  return fd;
}

Status run_once(const bpf_program* program, std::span<const uint64_t> arguments) {
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.ctx_in = arguments.data();
  options.ctx_size_in = static_cast<uint32_t>(arguments.size_bytes());
  const int error = bpf_prog_test_run_opts(bpf_program__fd(program), &options);
  if (error != 0) return fail_errno(-error, "cannot run {}", bpf_program__name(program));
  return {};
}

}  // namespace tidemark::bpfrt
