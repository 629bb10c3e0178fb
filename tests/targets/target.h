// SPDX-License-Identifier: Apache-2.0
//
// The line protocol of the target programs: say `ready`, wait for `go`, work, say `done` and one
// line of JSON (the ledger), wait for `quit` or the end of input. Nothing in here touches the heap,
// so that whatever a tracer sees between `go` and `quit` is the target's own doing. Included by C
// and by C++; one process, one copy.
#pragma once

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TARGET_NOINLINE __attribute__((noinline, noclone))
// Keeps the compiler from dropping an allocation, or from turning the call before it into a jump.
#define TARGET_USE(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

// What one call site of the target did. live_count = total_count - freed_count.
struct target_site {
  const char* function;
  long live_bytes;
  long live_count;
  long total_bytes;
  long total_count;
  long freed_count;
};

static inline void target_born(struct target_site* site, long bytes) {
  site->live_bytes += bytes;
  site->live_count += 1;
  site->total_bytes += bytes;
  site->total_count += 1;
}

static inline void target_gone(struct target_site* site, long bytes) {
  site->live_bytes -= bytes;
  site->live_count -= 1;
  site->freed_count += 1;
}

static inline void target_write(const char* text, size_t length) {
  while (length > 0) {
    const ssize_t written = write(STDOUT_FILENO, text, length);
    if (written <= 0) _exit(74);
    text += written;
    length -= (size_t)written;
  }
}

static inline void target_say(const char* line) {
  target_write(line, strlen(line));
  target_write("\n", 1);
}

// The next line of input without its newline, or NULL at the end of input. Overwritten by the next
// call.
static inline const char* target_hear(void) {
  static char line[128];
  size_t length = 0;
  char c;
  while (read(STDIN_FILENO, &c, 1) == 1) {
    if (c == '\n') {
      line[length] = '\0';
      return line;
    }
    if (length + 1 < sizeof(line)) line[length++] = c;
  }
  return NULL;
}

// Waits for this very word. The end of input ends the process in peace; another word is a mistake
// of the caller.
static inline void target_await(const char* word) {
  const char* line = target_hear();
  if (line == NULL || strcmp(line, "quit") == 0) _exit(0);
  if (strcmp(line, word) != 0) _exit(64);
}

static inline void target_await_quit(void) {
  const char* line;
  do {
    line = target_hear();
  } while (line != NULL && strcmp(line, "quit") != 0);
  _exit(0);
}

static char target_text[65536];
static size_t target_text_length;

static inline __attribute__((format(printf, 1, 2))) void target_add(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const size_t room = sizeof(target_text) - target_text_length;
  const int length = vsnprintf(target_text + target_text_length, room, format, arguments);
  va_end(arguments);
  if (length < 0 || (size_t)length >= room) _exit(70);
  target_text_length += (size_t)length;
}

static inline void target_add_site(const struct target_site* site) {
  target_add("\"live_bytes\":%ld,\"live_count\":%ld,\"total_bytes\":%ld,", site->live_bytes,
             site->live_count, site->total_bytes);
  target_add("\"total_count\":%ld,\"freed_count\":%ld}", site->total_count, site->freed_count);
}

// Says the ledger: {"sites":[{"function":..,"live_bytes":..,..}],"totals":{..}} on one line.
static inline void target_say_ledger(const struct target_site* sites, size_t count) {
  struct target_site sum = {"", 0, 0, 0, 0, 0};
  target_text_length = 0;
  target_add("{\"sites\":[");
  for (size_t i = 0; i < count; ++i) {
    target_add("%s{\"function\":\"%s\",", i == 0 ? "" : ",", sites[i].function);
    target_add_site(&sites[i]);
    sum.live_bytes += sites[i].live_bytes;
    sum.live_count += sites[i].live_count;
    sum.total_bytes += sites[i].total_bytes;
    sum.total_count += sites[i].total_count;
    sum.freed_count += sites[i].freed_count;
  }
  target_add("],\"totals\":{");
  target_add_site(&sum);
  target_add("}");
  target_say(target_text);
}

static inline long target_number(int argc, char** argv, int index, long otherwise) {
  return argc > index ? strtol(argv[index], NULL, 10) : otherwise;
}
