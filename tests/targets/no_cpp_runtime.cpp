// SPDX-License-Identifier: Apache-2.0
//
// In place of the C++ runtime, which there is none of for musl: whoever calls these has made a
// mistake.
#include <stdlib.h>

#include <new>

const std::nothrow_t std::nothrow{};

void* operator new(size_t) {
  abort();
}
void* operator new[](size_t) {
  abort();
}
void* operator new(size_t, const std::nothrow_t&) noexcept {
  abort();
}
void* operator new(size_t, std::align_val_t) {
  abort();
}
void* operator new(size_t, std::align_val_t, const std::nothrow_t&) noexcept {
  abort();
}
void operator delete(void*) noexcept {
  abort();
}
void operator delete[](void*) noexcept {
  abort();
}
void operator delete(void*, size_t) noexcept {
  abort();
}
void operator delete(void*, const std::nothrow_t&) noexcept {
  abort();
}
void operator delete(void*, std::align_val_t) noexcept {
  abort();
}
void operator delete(void*, size_t, std::align_val_t) noexcept {
  abort();
}
