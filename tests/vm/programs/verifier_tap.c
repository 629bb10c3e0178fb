// SPDX-License-Identifier: Apache-2.0
//
// Preloaded into tidemark, writes what the verifier spent on each BPF program that it loads: a line
// of JSON each to the file that TIDEMARK_VERIFIER_TAP names. libbpf makes its system calls through
// syscall(2) of the C library, which stands here; a load that asks for no log is given one of
// statistics only. This measures what is loaded on this kernel, with the constants it is loaded
// with, on every kernel since 5.2: bpf_prog_info has the instructions from 5.16 only, and never the
// states.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef long (*SystemCall)(long number, ...);

enum { kLogStatistics = 4, kLogBytes = 1 << 16, kArguments = 6 };

// The kernel's line: processed N insns (limit L) max_states_per_insn M total_states T peak_states P
// mark_read R
static void write_down(const char* path, const union bpf_attr* attr, const char* log) {
  const char* line = strstr(log, "\nprocessed ");  // since 7.x behind "insns processed N"
  unsigned insns = 0, limit = 0, states_per_insn = 0, total_states = 0, peak_states = 0;
  if (line == NULL ||
      sscanf(
          line,
          "\nprocessed %u insns (limit %u) max_states_per_insn %u total_states %u peak_states %u",
          &insns, &limit, &states_per_insn, &total_states, &peak_states) != 5) {
    return;
  }
  FILE* file = fopen(path, "ae");
  if (file == NULL) return;
  fprintf(file, "{\"program\":\"%.*s\",\"insns\":%u,\"total_states\":%u,\"peak_states\":%u}\n",
          (int)sizeof(attr->prog_name), attr->prog_name, insns, total_states, peak_states);
  fclose(file);
}

// A load with a log of statistics. -1 also where it should be tried as it was asked for.
static long load_with_statistics(SystemCall real, const union bpf_attr* asked, size_t size,
                                 const char* path) {
  char* log = calloc(1, kLogBytes);
  if (log == NULL) return -1;
  union bpf_attr attr;
  memset(&attr, 0, sizeof(attr));
  memcpy(&attr, asked, size < sizeof(attr) ? size : sizeof(attr));
  attr.log_level = kLogStatistics;
  attr.log_buf = (uintptr_t)log;
  attr.log_size = kLogBytes;
  const long fd = real(SYS_bpf, BPF_PROG_LOAD, &attr, size);
  if (fd >= 0) write_down(path, &attr, log);
  free(log);
  return fd;
}

long syscall(long number, ...) {
  long argument[kArguments];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < kArguments; ++i) argument[i] = va_arg(list, long);
  va_end(list);

  const SystemCall real = (SystemCall)dlsym(RTLD_NEXT, "syscall");
  const char* path = getenv("TIDEMARK_VERIFIER_TAP");
  const union bpf_attr* attr = (const union bpf_attr*)argument[1];
  const size_t size = (size_t)argument[2];
  // Programs without a name are probes of what the kernel can do.
  if (number == SYS_bpf && argument[0] == BPF_PROG_LOAD && path != NULL &&
      size >= sizeof(*attr) / 2 && attr->log_level == 0 && attr->prog_name[0] != '\0') {
    const long fd = load_with_statistics(real, attr, size, path);
    if (fd >= 0) return fd;
  }
  return real(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
