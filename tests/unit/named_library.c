// SPDX-License-Identifier: Apache-2.0
//
// A library for the tests of names: one function that it exports, and one that only .symtab knows.
__attribute__((noinline)) static int tidemark_hidden_place(int value) {
  __asm__ volatile("");
  return value * 5 + 2;
}

__attribute__((visibility("default"))) int tidemark_exported_place(int value) {
  return tidemark_hidden_place(value) + tidemark_hidden_place(value + 1);
}
