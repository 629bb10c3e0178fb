// SPDX-License-Identifier: Apache-2.0
//
// Loads a BPF program that no verifier accepts (it reads far behind its context) and says what the
// verifier said, as libbpf does. For the harness's own test: such a log has to turn a case red.
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
  static char log[1 << 16];
  const struct bpf_insn code[] = {
      {.code = BPF_LDX | BPF_MEM | BPF_DW,
       .dst_reg = BPF_REG_0,
       .src_reg = BPF_REG_1,
       .off = 0x4000},
      {.code = BPF_JMP | BPF_EXIT},
  };
  union bpf_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.prog_type = BPF_PROG_TYPE_KPROBE;
  attr.insns = (uintptr_t)code;
  attr.insn_cnt = sizeof(code) / sizeof(code[0]);
  attr.license = (uintptr_t) "GPL";
  attr.log_level = 1;
  attr.log_buf = (uintptr_t)log;
  attr.log_size = sizeof(log);
  strcpy(attr.prog_name, "refused");
  if (syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)) >= 0) {
    puts("the kernel took a program that it has to refuse");
    return 0;
  }
  printf("libbpf: prog 'refused': BPF program load failed: %s\n", strerror(errno));
  printf("libbpf: prog 'refused': -- BEGIN PROG LOAD LOG --\n%s-- END PROG LOAD LOG --\n", log);
  return 0;
}
