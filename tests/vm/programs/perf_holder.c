// SPDX-License-Identifier: Apache-2.0
//
// Keeps one perf event of a task open for as long as the guest lives. The kernel patches the code
// of its scheduler whenever the first such event comes and the last one goes, which every start of
// tidemark would do; and qemu's emulation with several threads now and then lets a CPU run into the
// patch: "Oops: int3" in __schedule(), seen on 6.12. A real processor does not.
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
  struct perf_event_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.size = sizeof(attr);
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_DUMMY;
  if (syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC) < 0) return 1;
  for (;;) pause();
}
