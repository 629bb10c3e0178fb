// SPDX-License-Identifier: Apache-2.0
//
// A library for the tests of source lines: leaf() is called by what was inlined into what was
// inlined into outer(), and says where it returns to. The marks name lines for the test.
namespace lined {

void* returns_to = nullptr;

__attribute__((noinline)) void leaf() {
  returns_to = __builtin_return_address(0);
  asm volatile("");
}

__attribute__((always_inline)) static inline int middle(int value) {
  leaf();  // mark: middle
  return value + 1;
}

struct Box {
  __attribute__((always_inline)) explicit Box(int value) : kept(middle(value)) {}  // mark: Box
  int kept;
};

__attribute__((noinline)) int outer(int value) {
  Box box(value);  // mark: outer
  asm volatile("" : : "r"(box.kept));
  return box.kept + 1;
}

}  // namespace lined

extern "C" __attribute__((visibility("default"))) void* lined_return_address() {
  lined::outer(1);
  return lined::returns_to;
}
