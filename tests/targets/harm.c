// SPDX-License-Identifier: Apache-2.0
//
// Answer: "harmed" is empty. Calls every allocator function that it finds by name, with known
// values in all registers that a call has to leave alone and in the stack around it, while a timer
// interrupts; and looks at them afterwards. What a call leaves of the stack below is compared with
// calls made before `go`: a word that none of those wrote and that nearly all write now was not
// written by the function. Then exceptions and longjmp() leave operator new (harm_exceptions.cpp,
// where there is C++). Says
// {"called":[function],"harmed":[{"function","what"}],"calls","interrupts"}.
//
//   harm [rounds = 200] [planted]
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <sys/time.h>

#include "harm_rows.h"
#include "target.h"

#define STACK_WORDS 16
#define BELOW_WORDS 64
// Once a function with a return probe has returned, the kernel's trampoline saves three registers
// where its return address was and below, which is nobody's any more.
#define RETURN_WORDS 3
#define PATTERN 0x5a00c0de00000000
#define BELOW_PATTERN 0x5a00c0de00000100

#define FLAG_TRAP 0x100
#define FLAG_DIRECTION 0x400
#define FLAG_ALIGNMENT 0x40000
#define FLAG_IDENTIFICATION 0x200000

// What harm_call() found behind the call; its assembly knows the offsets.
struct seen {
  uint64_t saved[6];  // rbx, rbp, r12 to r15
  uint64_t flags;
  uint64_t stack_pointer_moved;
  uint64_t stack[STACK_WORDS];  // above the return address
  uint32_t mxcsr;
  uint32_t x87_control;
  uint64_t expected_stack_pointer;
  uint64_t flags_before;        // in: those to be changed for the call
  uint64_t below[BELOW_WORDS];  // the last one held the return address
};
_Static_assert(sizeof(struct seen) == 216 + 8 * BELOW_WORDS, "harm_call.S");

extern void harm_spoil_register(void), harm_spoil_flags(void), harm_spoil_above(void),
    harm_spoil_below(void);
static const struct {
  const char* name;
  void (*function)(void);
} planted[] = {{"harm_spoil_register", harm_spoil_register},
               {"harm_spoil_flags", harm_spoil_flags},
               {"harm_spoil_above", harm_spoil_above},
               {"harm_spoil_below", harm_spoil_below}};
static int with_planted;

extern uint64_t harm_call(void* function, const uint64_t* arguments, struct seen* seen);
extern const char* harm_leave_early(void) __attribute__((weak));
extern const void* const harm_nothrow __attribute__((weak));

static volatile sig_atomic_t interrupts;
static long calls;
static char called[16384], harmed[16384];
static struct {
  long before, rounds_before;
  long now, rounds_now;
} written[HARM_ROWS][BELOW_WORDS];

static void note(char* list, const char* entry) {
  const size_t length = strlen(list);
  if (length + strlen(entry) + 2 < sizeof(called))
    sprintf(list + length, "%s%s", length == 0 ? "" : ",", entry);
}

static void harm(const char* function, const char* what, long number) {
  char entry[256];
  char digits[24] = "";
  if (number >= 0) snprintf(digits, sizeof(digits), " %ld", number);
  snprintf(entry, sizeof(entry), "{\"function\":\"%s\",\"what\":\"%s%s\"}", function, what, digits);
  note(harmed, entry);
}

static void interrupt(int signal) {
  (void)signal;
  interrupts = interrupts + 1;
}

static void check(const char* function, const struct seen* seen) {
  static const char* const names[] = {"rbx", "rbp", "r12", "r13", "r14", "r15"};
  const uint64_t flags = FLAG_TRAP | FLAG_DIRECTION | FLAG_ALIGNMENT | FLAG_IDENTIFICATION;
  const uint32_t mxcsr = __builtin_ia32_stmxcsr();
  uint16_t control = 0;
  for (int i = 0; i < 6; ++i) {
    if (seen->saved[i] != PATTERN + (uint64_t)i) harm(function, names[i], -1);
  }
  for (int i = 0; i < STACK_WORDS; ++i) {
    if (seen->stack[i] != PATTERN + 0x10 + (uint64_t)i) harm(function, "word above", i);
  }
  if (seen->stack_pointer_moved != 0) harm(function, "stack pointer", -1);
  if (((seen->flags ^ seen->flags_before) & flags) != 0) harm(function, "flags", -1);
  // Its upper bits are the modes, the lower ones what has happened.
  if (((seen->mxcsr ^ mxcsr) & 0xffc0) != 0) harm(function, "mxcsr", -1);
  __asm__("fnstcw %0" : "=m"(control));
  if (seen->x87_control != control) harm(function, "x87 control word", -1);
}

static void note_below(size_t row, const struct seen* seen, int before) {
  for (int i = 0; i < BELOW_WORDS; ++i) {
    const int changed = seen->below[i] != BELOW_PATTERN;
    if (before) {
      written[row][i].before += changed;
      ++written[row][i].rounds_before;
    } else {
      written[row][i].now += changed;
      ++written[row][i].rounds_now;
    }
  }
}

// By the function itself, or behind the return of one that it calls.
static int may_be_written(size_t row, int word) {
  for (int i = word; i < word + RETURN_WORDS && i < BELOW_WORDS; ++i) {
    if (written[row][i].before > 0) return 1;
  }
  return 0;
}

static void check_below(void) {
  for (size_t row = 0; row < HARM_ROWS; ++row) {
    for (int i = 0; i < BELOW_WORDS; ++i) {
      if (!may_be_written(row, i) && written[row][i].rounds_now > 0 &&
          written[row][i].now * 10 >= written[row][i].rounds_now * 9)
        harm(harm_rows[row].name, "word below", BELOW_WORDS - i);
    }
  }
}

// Null too where it is another allocator's: glibc has functions that jemalloc does not replace.
static void* find(const char* name) {
  void* const function = dlsym(RTLD_DEFAULT, name);
  Dl_info its, mallocs;
  for (size_t i = 0; with_planted && i < sizeof(planted) / sizeof(planted[0]); ++i) {
    if (strcmp(name, planted[i].name) == 0) return *(void* const*)&planted[i].function;
  }
  if (function == NULL || dladdr(function, &its) == 0 ||
      dladdr(dlsym(RTLD_DEFAULT, "malloc"), &mallocs) == 0)
    return NULL;
  // operator new and delete, which libstdc++ has, call what malloc is.
  return strncmp(name, "_Z", 2) == 0 || its.dli_fbase == mallocs.dli_fbase ? function : NULL;
}

#define SIZE 128
#define ALIGNMENT 64
#define COUNT 2

struct call {
  uint64_t arguments[4];
  void* given;
  void* behind;
};

static void prepare(const char* letters, struct call* call, int before) {
  static void* (*default_heap)(void);
  for (int i = 0; letters[i] != '\0'; ++i) {
    switch (letters[i]) {
      case 's':
        call->arguments[i] = SIZE;
        break;
      case 'c':
        call->arguments[i] = COUNT;
        break;
      case 'a':
        call->arguments[i] = ALIGNMENT;
        break;
      case 'p':
        call->given = aligned_alloc(ALIGNMENT, SIZE);
        memset(call->given, 1, SIZE);
        call->arguments[i] = (uintptr_t)call->given;
        break;
      case 'n':
        call->arguments[i] = (uintptr_t)harm_nothrow;
        break;
      case 'm':
        call->arguments[i] = (uintptr_t)&call->behind;
        break;
      case 'h':
        if (default_heap == NULL)
          *(void**)&default_heap = dlsym(RTLD_DEFAULT, "mi_heap_get_default");
        call->arguments[i] = (uintptr_t)default_heap();
        break;
      case 'g':
        call->arguments[i] = !before;
        break;
      default:
        break;
    }
  }
}

// Blocks that came by one function and go by another.
static int call_row(size_t row, int before) {
  const struct harm_row* const it = &harm_rows[row];
  void* const function = find(it->name);
  struct call call = {0};
  struct seen seen = {0};
  uint64_t result;
  if (function == NULL) return 0;
  prepare(it->arguments, &call, before);
  seen.flags_before = calls % 2 == 0 ? FLAG_IDENTIFICATION : 0;
  result = harm_call(function, call.arguments, &seen);
  ++calls;
  check(it->name, &seen);
  note_below(row, &seen, before);
  if (it->gives == GIVES_NOTHING) return 1;
  if (it->gives == GIVES_BLOCK) call.behind = (void*)result;
  if (it->gives == GIVES_SIZE) call.behind = call.given;
  if (call.behind == NULL) {
    harm(it->name, "result", -1);
    return 1;
  }
  memset(call.behind, 2, SIZE);
  free(call.behind);
  return 1;
}

static void call_all(long rounds, int before) {
  for (long round = 0; round < rounds; ++round) {
    for (size_t row = 0; row < HARM_ROWS; ++row) {
      char name[128];
      if (!call_row(row, before) || before || round > 0) continue;
      snprintf(name, sizeof(name), "\"%s\"", harm_rows[row].name);
      note(called, name);
    }
  }
}

int main(int argc, char** argv) {
  static char signal_stack[65536];
  const long rounds = target_number(argc, argv, 1, 200);
  // Debian's mimalloc aborts in place of throwing.
  const int throws = harm_leave_early != NULL && dlsym(RTLD_DEFAULT, "mi_malloc") == NULL;
  const struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
  // A signal leaves the stack below alone: what is found there is the call's.
  const stack_t other = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};
  struct sigaction action = {0};
  action.sa_handler = interrupt;
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  sigaltstack(&other, NULL);
  sigaction(SIGALRM, &action, NULL);
  with_planted = argc > 2 && strcmp(argv[2], "planted") == 0;
  call_all(rounds, 1);
  calls = 0;
  target_say("ready");
  target_await("go");
  setitimer(ITIMER_REAL, &often, NULL);
  call_all(rounds, 0);
  for (long round = 0; throws && round < rounds; ++round) {
    const char* const missing = harm_leave_early();
    if (missing != NULL) harm("_Znwm", missing, -1);
  }
  setitimer(ITIMER_REAL, &never, NULL);
  check_below();
  target_say("done");
  target_text_length = 0;
  target_add("{\"called\":[%s],\"harmed\":[%s],\"calls\":%ld,\"interrupts\":%d}", called, harmed,
             calls, (int)interrupts);
  target_say(target_text);
  target_await_quit();
}
