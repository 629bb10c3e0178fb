// SPDX-License-Identifier: Apache-2.0
//
// Stands for the kernel (linked, with its _stext) and for a module (relocatable) in
// unit.symbolize: the tests look for the line that says so.
extern int _stext(int value);
extern int leak_here(int value);
extern int leak_by_wrapper(int value);

__attribute__((noinline)) int _stext(int value) {
  return value * 3;
}

__attribute__((noinline)) int leak_here(int value) {
  return _stext(value) + value / 7;  // the line of leak_here
}

static inline __attribute__((always_inline)) int wrapper(int value) {
  return _stext(value) * 5;
}

__attribute__((noinline)) int leak_by_wrapper(int value) {
  const int made = wrapper(value);  // the call that was inlined
  return made + 1;
}
