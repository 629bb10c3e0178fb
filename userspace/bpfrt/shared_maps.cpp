// SPDX-License-Identifier: Apache-2.0
#include "bpfrt/shared_maps.h"

#include <bpf/libbpf.h>
#include <fcntl.h>

#include <cerrno>

namespace tidemark::bpfrt {

Status SharedMaps::offer(const bpf_object* loaded) {
  const bpf_map* each = nullptr;
  bpf_object__for_each_map(each, loaded) {
    if (bpf_map__is_internal(each)) continue;
    UniqueFd& fd = maps_[bpf_map__name(each)];
    if (bpf_map__fd(each) < 0) continue;
    fd = UniqueFd(::fcntl(bpf_map__fd(each), F_DUPFD_CLOEXEC, 0));
    if (!fd.valid()) return fail_errno(errno, "cannot share the map {}", bpf_map__name(each));
  }
  return {};
}

Status SharedMaps::adopt(bpf_object* object) const {
  bpf_map* each = nullptr;
  bpf_object__for_each_map(each, object) {
    const auto found = maps_.find(bpf_map__name(each));
    if (found == maps_.end()) continue;
    const int error = found->second.valid() ? bpf_map__reuse_fd(each, found->second.get())
                                            : bpf_map__set_autocreate(each, false);
    if (error != 0) return fail_errno(-error, "cannot share the map {}", found->first);
  }
  return {};
}

}  // namespace tidemark::bpfrt
