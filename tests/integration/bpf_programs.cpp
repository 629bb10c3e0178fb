// SPDX-License-Identifier: Apache-2.0
#include "bpf_programs.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "process.h"

namespace tidemark::test {

std::size_t programs_of_ours() {
  std::size_t count = 0;
  bpf_attr attr{};
  while (::syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attr, sizeof(attr)) == 0) {
    const uint32_t id = attr.next_id;
    bpf_attr open{};
    open.prog_id = id;
    const UniqueFd program(
        static_cast<int>(::syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &open, sizeof(open))));
    bpf_prog_info info{};
    bpf_attr ask{};
    ask.info.bpf_fd = static_cast<uint32_t>(program.get());
    ask.info.info_len = sizeof(info);
    ask.info.info = reinterpret_cast<uintptr_t>(&info);
    if (program.valid() && ::syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof(ask)) == 0) {
      const std::string name = info.name;
      if (name.starts_with("heap_") || name.starts_with("life_") || name.starts_with("on_k"))
        ++count;
    }
    attr = {};
    attr.start_id = id;
  }
  return count;
}

bool programs_are_gone(std::size_t before) {
  for (int i = 0; i < 200; ++i) {
    if (programs_of_ours() <= before) return true;
    ::usleep(50'000);
  }
  return false;
}

}  // namespace tidemark::test
