// SPDX-License-Identifier: Apache-2.0
//
// What the running kernel's BTF names: the presence of a type or of an iterator decides what is
// loaded. Parsed once, some ten milliseconds.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/result.h"

struct btf;

namespace tidemark::bpfrt {

class KernelTypes {
 public:
  // An error where the kernel has no BTF, or it may not be read.
  [[nodiscard]] static Result<KernelTypes> load();

  [[nodiscard]] bool has_struct(const char* name) const;
  // "task_vma": can a program be attached to this iterator?
  [[nodiscard]] bool has_iterator(const char* name) const;
  // What a raw tracepoint passes, each as the name of its type: "struct kmem_cache *", "size_t",
  // "void *". None where the kernel has no such tracepoint.
  [[nodiscard]] std::optional<std::vector<std::string>> tracepoint_arguments(
      const char* name) const;

  // The names of a function's arguments; none where there is no such function.
  [[nodiscard]] std::optional<std::vector<std::string>> function_arguments(const char* name) const;
  // False also where there is no such type.
  [[nodiscard]] bool has_member(const char* structure, const char* member) const;
  // False also where there is no such function.
  [[nodiscard]] bool function_returns_bool(const char* name) const;

 private:
  struct Free {
    void operator()(btf* types) const noexcept;
  };
  std::unique_ptr<btf, Free> types_;
};

}  // namespace tidemark::bpfrt
