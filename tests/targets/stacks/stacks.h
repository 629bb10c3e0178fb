// SPDX-License-Identifier: Apache-2.0
//
// What the modes of the program `stacks` share. A mode leaks STACKS_BLOCKS blocks of a size of its
// own, all from one function; which callers that function has is said in
// tests/integration/trace_stacks.cpp.
#pragma once

#ifndef TARGET_NOINLINE
#define TARGET_NOINLINE __attribute__((noinline, noclone))
#endif
#define STACKS_BLOCKS 16

#ifdef __cplusplus
extern "C" {
#endif

// Leaks one block of so many bytes. Not a function: its caller is to be the caller of malloc.
#define STACKS_LEAK(bytes) __asm__ volatile("" : : "r"(malloc(bytes)) : "memory")
// Keeps a call from being the last thing that a function does, where it would be a jump.
#define STACKS_RETURN() __asm__ volatile("" : : : "memory")

void run_leaf(void);
void run_recursion(void);
void run_depth_limit(void);
void run_variable_frame(void);
void run_realigned(void);
void run_realigned_by_pointer(void);
void run_thread(void);
void run_signal(void);
void run_signal_stack(void);
void run_nested_signal(void);
void run_vdso_signal(void);
void run_assembly(void);
void run_assembly_unknown(void);

// Left out where they need what is not there: with musl, in a static program.
void run_context(void) __attribute__((weak));
void run_catch(void) __attribute__((weak));
void run_unwinding(void) __attribute__((weak));
void run_coroutine(void) __attribute__((weak));
// Loads the library, so that its file may go away, and calls it.
void load_library(const char* path) __attribute__((weak));
void run_library(void) __attribute__((weak));

#ifdef __cplusplus
}
#endif
