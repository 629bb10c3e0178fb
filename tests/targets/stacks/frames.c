// SPDX-License-Identifier: Apache-2.0
//
// Frames of every shape that a compiler makes.
#include <alloca.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "stacks.h"

#define KEEP(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

// No frame at all but its return address.
TARGET_NOINLINE static void leak_from_leaf(void) {
  STACKS_LEAK(1000);
}

void run_leaf(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) leak_from_leaf();
}

TARGET_NOINLINE static void leak_from_recursion(void) {
  STACKS_LEAK(1010);
}

TARGET_NOINLINE static void recurse(int depth, void (*innermost)(void)) {
  if (depth > 1) {
    recurse(depth - 1, innermost);
  } else {
    innermost();
  }
  STACKS_RETURN();
}

void run_recursion(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) recurse(100, leak_from_recursion);
}

TARGET_NOINLINE static void leak_from_depth(void) {
  STACKS_LEAK(1020);
}

void run_depth_limit(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) recurse(200, leak_from_depth);
}

// As long as they are read when the program runs, no compiler knows these sizes.
static volatile size_t some_bytes = 3000;

TARGET_NOINLINE static void leak_from_variable_frame(void) {
  char* room = alloca(some_bytes);
  memset(room, 1, some_bytes);
  KEEP(room);
  STACKS_LEAK(1030);
  KEEP(room);
}

TARGET_NOINLINE static void use_variable_array(size_t bytes) {
  char room[bytes];
  memset(room, 1, bytes);
  KEEP(room);
  leak_from_variable_frame();
  KEEP(room);
}

void run_variable_frame(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) use_variable_array(some_bytes + 40 * (size_t)i);
}

// Locals that want more alignment than a stack has.
TARGET_NOINLINE static void leak_from_realigned(void) {
  _Alignas(64) char room[128];
  memset(room, 1, sizeof(room));
  KEEP(room);
  STACKS_LEAK(1040);
  KEEP(room);
}

void run_realigned(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) leak_from_realigned();
}

typedef float wide_vector __attribute__((vector_size(32)));

// Arguments on the stack, a frame of a size that is not known, and a local as wide as AVX has them:
// its frame is found by a pointer that lies in memory.
TARGET_NOINLINE static void leak_from_realigned_by_pointer(int one, int two, int three, int four,
                                                           int five, int six, int seven,
                                                           int eight) {
  char* room = alloca(some_bytes);
  wide_vector vector = {1, 2, 3, 4, 5, 6, (float)seven, (float)eight};
  memset(room, one + two + three + four + five + six, some_bytes);
  KEEP(room);
  KEEP(&vector);
  STACKS_LEAK(1050);
  KEEP(&vector);
}

void run_realigned_by_pointer(void) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) leak_from_realigned_by_pointer(i, 2, 3, 4, 5, 6, 7, 8);
}

TARGET_NOINLINE static void leak_from_thread(void) {
  STACKS_LEAK(1060);
}

static void* thread_main(void* argument) {
  for (int i = 0; i < STACKS_BLOCKS; ++i) leak_from_thread();
  return argument;
}

void run_thread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, thread_main, NULL) != 0) abort();
  pthread_join(thread, NULL);
}
