// SPDX-License-Identifier: Apache-2.0
//
// Answer: each mode's function leaks STACKS_BLOCKS blocks, below the callers that
// tests/integration/trace_stacks.cpp names. Built without frame pointers: nothing but unwind data
// says where a caller's frame is.
//
//   stacks [load LIBRARY] MODE...     the modes in this order
#include "stacks.h"

#include "../target.h"

static const struct {
  const char* name;
  void (*run)(void);
  const char* function;
  long bytes;
} modes[] = {
    {"leaf", run_leaf, "leak_from_leaf", 1000},
    {"recursion", run_recursion, "leak_from_recursion", 1010},
    {"depth_limit", run_depth_limit, "leak_from_depth", 1020},
    {"variable_frame", run_variable_frame, "leak_from_variable_frame", 1030},
    {"realigned", run_realigned, "leak_from_realigned", 1040},
    {"realigned_by_pointer", run_realigned_by_pointer, "leak_from_realigned_by_pointer", 1050},
    {"thread", run_thread, "leak_from_thread", 1060},
    {"signal", run_signal, "leak_from_signal", 1070},
    {"signal_stack", run_signal_stack, "leak_from_signal_stack", 1080},
    {"nested_signal", run_nested_signal, "leak_from_nested_signal", 1090},
    {"vdso_signal", run_vdso_signal, "leak_from_vdso_signal", 1100},
    {"assembly", run_assembly, "leak_from_assembly", 1110},
    {"assembly_unknown", run_assembly_unknown, "leak_from_assembly_unknown", 1120},
    {"context", run_context, "leak_from_context", 1130},
    {"catch", run_catch, "leak_from_catch", 1140},
    {"unwinding", run_unwinding, "leak_from_unwinding", 1150},
    {"coroutine", run_coroutine, "leak_from_coroutine", 1160},
    {"library", run_library, "leak_from_library", 1170},
};
enum { kModes = sizeof(modes) / sizeof(modes[0]) };

static int mode_named(const char* name) {
  for (int i = 0; i < kModes; ++i) {
    if (strcmp(modes[i].name, name) == 0 && modes[i].run != NULL) return i;
  }
  _exit(64);
}

int main(int argc, char** argv) {
  int first = 1;
  if (argc > 2 && strcmp(argv[1], "load") == 0 && load_library != NULL) {
    load_library(argv[2]);
    first = 3;
  }
  struct target_site sites[kModes];
  int count = 0;
  for (int i = first; i < argc && count < kModes; ++i) {
    const int mode = mode_named(argv[i]);
    sites[count++] = (struct target_site){
        .function = modes[mode].function,
        .live_bytes = STACKS_BLOCKS * modes[mode].bytes,
        .live_count = STACKS_BLOCKS,
        .total_bytes = STACKS_BLOCKS * modes[mode].bytes,
        .total_count = STACKS_BLOCKS,
    };
  }
  target_say("ready");
  target_await("go");
  for (int i = first; i < argc; ++i) {
    modes[mode_named(argv[i])].run();
    // A tracer learns how to walk new code while it runs, and stacks that have to wait for it until
    // then find room for some hundreds only.
    usleep(20000);
  }
  target_say("done");
  target_say_ledger(sites, (size_t)count);
  target_await_quit();
}
