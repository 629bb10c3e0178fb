// SPDX-License-Identifier: Apache-2.0
//
// Answer: site_map_file() maps the program's own file, once. Besides, a library comes by dlopen,
// which the dynamic linker maps.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "target.h"

#define BYTES 8192L

static TARGET_NOINLINE void* site_map_file(int file) {
  void* at = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE, file, 0);
  TARGET_USE(at);
  return at;
}

int main(void) {
  const int file = open("/proc/self/exe", O_RDONLY);
  if (file < 0) return 71;
  target_say("ready");
  target_await("go");
  if (site_map_file(file) == MAP_FAILED) return 71;
  // A part of glibc that this program is not linked to.
  if (dlopen("libm.so.6", RTLD_NOW) == NULL) return 71;
  target_say("done");
  const struct target_site sites[] = {{"site_map_file", BYTES, 1, BYTES, 1, 0}};
  target_say_ledger(sites, 1);
  target_await_quit();
}
