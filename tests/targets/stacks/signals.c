// SPDX-License-Identifier: Apache-2.0
//
// Allocations in signal handlers that interrupted code which does not allocate: a leaf without a
// frame, another handler, the vDSO; on the thread's stack and on one of their own.
#include <elf.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#include "stacks.h"

static volatile sig_atomic_t handled, spinning;

static void handle(int signal_number, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigemptyset(&action.sa_mask);
  if (sigaction(signal_number, &action, NULL) != 0) abort();
}

static void interrupt_in(int microseconds) {
  const struct itimerval timer = {.it_value = {.tv_usec = microseconds}};
  if (setitimer(ITIMER_REAL, &timer, NULL) != 0) abort();
}

// Calls nothing and has no frame.
TARGET_NOINLINE static void spin_until(int count) {
  spinning = 1;
  while (handled < count) {
  }
  spinning = 0;
}

// On a slow machine the timer may be over before its caller spins: once more, then.
static int came_early(void) {
  if (spinning) return 0;
  interrupt_in(1000);
  return 1;
}

TARGET_NOINLINE static void leak_from_signal(void) {
  STACKS_LEAK(1070);
}

static void on_signal(int number, siginfo_t* info, void* context) {
  (void)number, (void)info, (void)context;
  if (came_early()) return;
  leak_from_signal();
  handled = handled + 1;
}

void run_signal(void) {
  handled = 0;
  handle(SIGALRM, on_signal, 0);
  for (int i = 0; i < STACKS_BLOCKS; ++i) {
    interrupt_in(1000);
    spin_until(i + 1);
  }
}

TARGET_NOINLINE static void leak_from_signal_stack(void) {
  STACKS_LEAK(1080);
}

static void on_signal_stack(int number, siginfo_t* info, void* context) {
  (void)number, (void)info, (void)context;
  if (came_early()) return;
  leak_from_signal_stack();
  handled = handled + 1;
}

void run_signal_stack(void) {
  // Below the thread's: frames rise no more where a walk leaves it.
  static char below[64 * 1024];
  handled = 0;
  const stack_t stack = {.ss_sp = below, .ss_size = sizeof(below)};
  if (sigaltstack(&stack, NULL) != 0) abort();
  handle(SIGALRM, on_signal_stack, SA_ONSTACK);
  for (int i = 0; i < STACKS_BLOCKS; ++i) {
    interrupt_in(1000);
    spin_until(i + 1);
  }
  const stack_t none = {.ss_flags = SS_DISABLE};
  if (sigaltstack(&none, NULL) != 0) abort();
}

TARGET_NOINLINE static void leak_from_nested_signal(void) {
  STACKS_LEAK(1090);
}

static void on_inner_signal(int number, siginfo_t* info, void* context) {
  (void)number, (void)info, (void)context;
  if (came_early()) return;
  leak_from_nested_signal();
  handled = handled + 1;
}

static void on_outer_signal(int number, siginfo_t* info, void* context) {
  (void)number, (void)info, (void)context;
  interrupt_in(1000);
  spin_until(handled + 1);
}

TARGET_NOINLINE static void trap(void) {
  __asm__ volatile("int3" : : : "memory");
}

void run_nested_signal(void) {
  handled = 0;
  handle(SIGTRAP, on_outer_signal, 0);
  handle(SIGALRM, on_inner_signal, 0);
  for (int i = 0; i < STACKS_BLOCKS; ++i) trap();
}

static uint64_t vdso_start, vdso_end;

static void find_vdso(void) {
  vdso_start = getauxval(AT_SYSINFO_EHDR);
  if (vdso_start == 0) exit(69);
  const Elf64_Ehdr* header = (const Elf64_Ehdr*)vdso_start;
  const Elf64_Phdr* segments = (const Elf64_Phdr*)(vdso_start + header->e_phoff);
  for (int i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type == PT_LOAD) vdso_end = vdso_start + segments[i].p_memsz;
  }
}

TARGET_NOINLINE static void leak_from_vdso_signal(void) {
  STACKS_LEAK(1100);
}

static void on_vdso_signal(int number, siginfo_t* info, void* context) {
  (void)number, (void)info;
  const ucontext_t* interrupted = (const ucontext_t*)context;
  const uint64_t pc = (uint64_t)interrupted->uc_mcontext.gregs[REG_RIP];
  if (pc >= vdso_start && pc < vdso_end) {
    leak_from_vdso_signal();
    handled = handled + 1;
  }
  if (handled < STACKS_BLOCKS) interrupt_in(500);
}

TARGET_NOINLINE static void ask_for_time(void) {
  struct timespec now;
  while (handled < STACKS_BLOCKS) clock_gettime(CLOCK_MONOTONIC, &now);
}

void run_vdso_signal(void) {
  handled = 0;
  find_vdso();
  handle(SIGALRM, on_vdso_signal, 0);
  interrupt_in(500);
  ask_for_time();
  STACKS_RETURN();
}
