// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/kernel_types.h"

#include <bpf/btf.h>

#include <cerrno>
#include <string>

namespace tidemark::bpfrt {

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

}  // namespace tidemark::bpfrt
