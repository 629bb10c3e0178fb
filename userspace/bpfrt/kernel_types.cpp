// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/kernel_types.h"

#include <bpf/btf.h>

#include <cerrno>
#include <string>
#include <string_view>

namespace tidemark::bpfrt {

namespace {

// "const" and its like say nothing about what an argument is.
const btf_type* without_qualifiers(const btf* types, uint32_t id) {
  const btf_type* type = btf__type_by_id(types, id);
  while (type != nullptr && (btf_is_const(type) || btf_is_volatile(type) || btf_is_restrict(type)))
    type = btf__type_by_id(types, type->type);
  return type;
}

std::string type_name(const btf* types, uint32_t id) {
  if (id == 0) return "void";
  const btf_type* type = without_qualifiers(types, id);
  if (type == nullptr) return "void";
  if (btf_is_ptr(type)) return type_name(types, type->type) + " *";
  const char* name = btf__name_by_offset(types, type->name_off);
  return std::string(btf_is_composite(type) ? "struct " : "") + (name != nullptr ? name : "?");
}

}  // namespace

void KernelTypes::Free::operator()(btf* types) const noexcept {
  btf__free(types);
}

Result<KernelTypes> KernelTypes::load() {
  KernelTypes types;
  types.types_.reset(btf__load_vmlinux_btf());
  if (!types.types_) return fail_errno(errno, "cannot read the kernel's types (BTF)");
  return types;
}

bool KernelTypes::has_struct(const char* name) const {
  return btf__find_by_name_kind(types_.get(), name, BTF_KIND_STRUCT) > 0;
}

bool KernelTypes::has_iterator(const char* name) const {
  const std::string function = std::string("bpf_iter_") + name;
  return btf__find_by_name_kind(types_.get(), function.c_str(), BTF_KIND_FUNC) > 0;
}

// The typedef btf_trace_NAME is a pointer to a function, whose first argument is the tracer's own.
std::optional<std::vector<std::string>> KernelTypes::tracepoint_arguments(const char* name) const {
  const std::string declared = std::string("btf_trace_") + name;
  const int id = btf__find_by_name_kind(types_.get(), declared.c_str(), BTF_KIND_TYPEDEF);
  if (id <= 0) return std::nullopt;
  const btf_type* pointer =
      btf__type_by_id(types_.get(), btf__type_by_id(types_.get(), static_cast<uint32_t>(id))->type);
  if (pointer == nullptr || !btf_is_ptr(pointer)) return std::nullopt;
  const btf_type* function = btf__type_by_id(types_.get(), pointer->type);
  if (function == nullptr || !btf_is_func_proto(function)) return std::nullopt;
  std::vector<std::string> arguments;
  for (uint16_t i = 1; i < btf_vlen(function); ++i)
    arguments.push_back(type_name(types_.get(), btf_params(function)[i].type));
  return arguments;
}

std::optional<std::vector<std::string>> KernelTypes::function_arguments(const char* name) const {
  const int id = btf__find_by_name_kind(types_.get(), name, BTF_KIND_FUNC);
  if (id <= 0) return std::nullopt;
  const btf_type* function = btf__type_by_id(types_.get(), static_cast<uint32_t>(id));
  const btf_type* signature = btf__type_by_id(types_.get(), function->type);
  if (signature == nullptr || !btf_is_func_proto(signature)) return std::nullopt;
  std::vector<std::string> arguments;
  for (uint16_t i = 0; i < btf_vlen(signature); ++i) {
    const char* argument = btf__name_by_offset(types_.get(), btf_params(signature)[i].name_off);
    arguments.emplace_back(argument != nullptr ? argument : "");
  }
  return arguments;
}

bool KernelTypes::has_member(const char* structure, const char* member) const {
  const int id = btf__find_by_name_kind(types_.get(), structure, BTF_KIND_STRUCT);
  if (id <= 0) return false;
  const btf_type* type = btf__type_by_id(types_.get(), static_cast<uint32_t>(id));
  for (uint16_t i = 0; i < btf_vlen(type); ++i) {
    const char* name = btf__name_by_offset(types_.get(), btf_members(type)[i].name_off);
    if (name != nullptr && std::string_view(name) == member) return true;
  }
  return false;
}

bool KernelTypes::function_returns_bool(const char* name) const {
  const int id = btf__find_by_name_kind(types_.get(), name, BTF_KIND_FUNC);
  if (id <= 0) return false;
  const btf_type* function = btf__type_by_id(types_.get(), static_cast<uint32_t>(id));
  const btf_type* signature = btf__type_by_id(types_.get(), function->type);
  if (signature == nullptr || !btf_is_func_proto(signature)) return false;
  const std::string result = type_name(types_.get(), signature->type);
  return result == "bool" || result == "_Bool";
}

}  // namespace tidemark::bpfrt
