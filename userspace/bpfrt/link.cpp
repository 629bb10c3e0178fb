// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/link.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

namespace tidemark::bpfrt {
namespace {

uint32_t multi_attach_type(ProbeEnd end) {
  return end == ProbeEnd::kBoth ? kAttachUprobeSession : kAttachUprobeMulti;
}

uint64_t as_u64(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

Result<std::vector<Link>> attach_multi(const bpf_program* program, ProbeEnd end,
                                       const UprobeTarget& target,
                                       std::span<const UprobePoint> points) {
  std::vector<uint64_t> offsets, cookies, semaphores;
  for (const UprobePoint& point : points) {
    offsets.push_back(point.file_offset_bytes);
    cookies.push_back(point.cookie);
    semaphores.push_back(point.semaphore_offset_bytes);
  }
  UprobeMultiAttr attr{};
  attr.prog_fd = static_cast<uint32_t>(bpf_program__fd(program));
  attr.attach_type = multi_attach_type(end);
  attr.path = as_u64(target.path.c_str());
  attr.offsets = as_u64(offsets.data());
  attr.cookies = as_u64(cookies.data());
  attr.ref_ctr_offsets = as_u64(semaphores.data());
  attr.count = static_cast<uint32_t>(points.size());
  attr.multi_flags = end == ProbeEnd::kReturn ? kUprobeMultiReturn : 0;
  attr.pid = static_cast<uint32_t>(target.pid);
  UniqueFd fd(static_cast<int>(::syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr))));
  if (!fd.valid()) {
    return fail_errno(errno, "cannot attach {} to {} places of {}", bpf_program__name(program),
                      points.size(), target.path);
  }
  std::vector<Link> links;
  links.emplace_back(std::move(fd));
  return links;
}

Result<std::vector<Link>> attach_perf(const bpf_program* program, ProbeEnd end,
                                      const UprobeTarget& target,
                                      std::span<const UprobePoint> points) {
  std::vector<Link> links;
  const pid_t pid = target.pid != 0 ? target.pid : -1;
  for (const UprobePoint& point : points) {
    LIBBPF_OPTS(bpf_uprobe_opts, options);
    options.bpf_cookie = point.cookie;
    options.ref_ctr_offset = point.semaphore_offset_bytes;
    options.retprobe = end == ProbeEnd::kReturn;
    bpf_link* link = bpf_program__attach_uprobe_opts(program, pid, target.path.c_str(),
                                                     point.file_offset_bytes, &options);
    if (link == nullptr) {
      return fail_errno(errno, "cannot attach {} at {}+0x{:x}", bpf_program__name(program),
                        target.path, point.file_offset_bytes);
    }
    links.emplace_back(link);
  }
  return links;
}

}  // namespace

Link::Link(UniqueFd fd) : fd_(std::move(fd)) {}
Link::Link(bpf_link* link) : link_(link) {}
void Link::Destroy::operator()(bpf_link* link) const noexcept {
  bpf_link__destroy(link);
}

void prepare_for(bpf_program* program, UprobeMethod method, ProbeEnd end) {
  if (method != UprobeMethod::kMulti) return;
  bpf_program__set_expected_attach_type(program,
                                        static_cast<bpf_attach_type>(multi_attach_type(end)));
}

Result<std::vector<Link>> attach_uprobes(const bpf_program* program, UprobeMethod method,
                                         ProbeEnd end, const UprobeTarget& target,
                                         std::span<const UprobePoint> points) {
  if (method == UprobeMethod::kMulti) return attach_multi(program, end, target, points);
  return attach_perf(program, end, target, points);
}

Result<Link> attach_kprobe(const bpf_program* program, ProbeEnd end, const std::string& function) {
  bpf_link* link = bpf_program__attach_kprobe(program, end == ProbeEnd::kReturn, function.c_str());
  if (link == nullptr)
    return fail_errno(errno, "cannot attach {} to {}", bpf_program__name(program), function);
  return Link(link);
}

Status try_trampoline(const std::string& function) {
  const int id = libbpf_find_vmlinux_btf_id(function.c_str(), BPF_TRACE_FEXIT);
  if (id <= 0) return fail_errno(-id, "the kernel's types do not have {}", function);
  const std::array<bpf_insn, 2> nothing = {
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = BPF_TRACE_FEXIT;
  options.attach_btf_id = static_cast<uint32_t>(id);
  const UniqueFd program(bpf_prog_load(BPF_PROG_TYPE_TRACING, "try_trampoline", "GPL",
                                       nothing.data(), nothing.size(), &options));
  if (!program.valid()) return fail_errno(errno, "the kernel refuses fentry programs");
  const UniqueFd link(bpf_raw_tracepoint_open(nullptr, program.get()));
  if (!link.valid()) return fail_errno(errno, "the kernel refuses fentry programs at {}", function);
  return {};
}

Status aim_trampoline(bpf_program* program, const std::string& function) {
  const int error = bpf_program__set_attach_target(program, 0, function.c_str());
  if (error != 0) return fail_errno(-error, "cannot aim at {}", function);
  return {};
}

Result<Link> attach_by_section(const bpf_program* program) {
  bpf_link* link = bpf_program__attach(program);
  if (link == nullptr) return fail_errno(errno, "cannot attach {}", bpf_program__name(program));
  return Link(link);
}

void detach(std::vector<Link> links) {
  constexpr std::size_t kAtOnce = 32;
  while (!links.empty()) {
    std::vector<std::future<void>> under_way;
    for (std::size_t i = 0; i < kAtOnce && !links.empty(); ++i) {
      under_way.push_back(std::async(
          std::launch::async,
          [link = std::make_optional(std::move(links.back()))]() mutable { link.reset(); }));
      links.pop_back();
    }
  }
}

void Detacher::take(std::vector<Link> links) {
  if (links.empty()) return;
  std::erase_if(under_way_, [](const std::future<void>& work) {
    return work.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  });
  under_way_.push_back(std::async(
      std::launch::async, [taken = std::move(links)]() mutable { detach(std::move(taken)); }));
}

}  // namespace tidemark::bpfrt
