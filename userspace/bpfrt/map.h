// SPDX-License-Identifier: Apache-2.0
//
// Reading and writing BPF maps by their ABI types. Hash maps are read in batches, bucket by bucket
// under the bucket's lock: under churn an entry may be missed if it moved, but the walk never
// repeats and always ends (get_next_key does neither).
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "support/result.h"

namespace tidemark::bpfrt {

// Possible CPUs, the number of slots in a per-CPU value.
[[nodiscard]] Result<std::size_t> possible_cpus();

// Calls visit(const Key&, const Value&) for every entry.
template <typename Key, typename Value, typename Visit>
[[nodiscard]] Status for_each_entry(const bpf_map* map, Visit visit) {
  constexpr uint32_t kBatch = 8192;
  std::vector<Key> keys(kBatch);
  std::vector<Value> values(kBatch);
  uint64_t cursor = 0;  // the kernel's batch token is 4 bytes for a hash map
  bool first = true;
  for (;;) {
    uint32_t count = static_cast<uint32_t>(keys.size());
    const int result = bpf_map_lookup_batch(bpf_map__fd(map), first ? nullptr : &cursor, &cursor,
                                            keys.data(), values.data(), &count, nullptr);
    const int error = result < 0 ? -result : 0;
    // One bucket holds more than the buffer: once more with a larger one.
    if (error == ENOSPC) {
      keys.resize(keys.size() * 2);
      values.resize(values.size() * 2);
      continue;
    }
    if (error != 0 && error != ENOENT) {
      return fail_errno(error, "cannot read the map {}", bpf_map__name(map));
    }
    for (uint32_t i = 0; i < count; ++i) visit(keys[i], values[i]);
    if (error == ENOENT) return {};
    first = false;
  }
}

template <typename Key, typename Value>
[[nodiscard]] Status put(const bpf_map* map, const Key& key, const Value& value) {
  if (bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_ANY) != 0) {
    return fail_errno(errno, "cannot write the map {}", bpf_map__name(map));
  }
  return {};
}

// False where the key is there already, whose value stays.
template <typename Key, typename Value>
[[nodiscard]] Result<bool> put_new(const bpf_map* map, const Key& key, const Value& value) {
  if (bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_NOEXIST) == 0) return true;
  if (errno == EEXIST) return false;
  return fail_errno(errno, "cannot write the map {}", bpf_map__name(map));
}

// The first entries of an array, all at once.
template <typename Value>
[[nodiscard]] Status put_range(const bpf_map* map, std::span<const Value> values) {
  std::vector<uint32_t> indices(values.size());
  std::iota(indices.begin(), indices.end(), 0u);
  auto count = static_cast<uint32_t>(values.size());
  if (bpf_map_update_batch(bpf_map__fd(map), indices.data(), values.data(), &count, nullptr) != 0)
    return fail_errno(errno, "cannot write the map {}", bpf_map__name(map));
  return {};
}

template <typename Value>
[[nodiscard]] Status get_range(const bpf_map* map, std::span<Value> values) {
  std::vector<uint32_t> indices(values.size());
  uint32_t cursor = 0;
  auto count = static_cast<uint32_t>(values.size());
  const int result = bpf_map_lookup_batch(bpf_map__fd(map), nullptr, &cursor, indices.data(),
                                          values.data(), &count, nullptr);
  if (result != 0 && errno != ENOENT)
    return fail_errno(errno, "cannot read the map {}", bpf_map__name(map));
  return {};
}

// None where there is no such entry.
template <typename Value, typename Key>
[[nodiscard]] std::optional<Value> get(const bpf_map* map, const Key& key) {
  Value value{};
  if (bpf_map_lookup_elem(bpf_map__fd(map), &key, &value) != 0) return std::nullopt;
  return value;
}

// An entry that is gone already is fine.
template <typename Key>
void erase(const bpf_map* map, const Key& key) {
  bpf_map_delete_elem(bpf_map__fd(map), &key);
}

// All slots of one entry of a per-CPU array.
template <typename Value>
[[nodiscard]] Result<std::vector<Value>> per_cpu(const bpf_map* map, uint32_t index) {
  const auto cpus = possible_cpus();
  if (!cpus) return std::unexpected(cpus.error());
  static_assert(sizeof(Value) % 8 == 0, "per-CPU slots are padded to 8 bytes");
  std::vector<Value> slots(*cpus);
  if (bpf_map_lookup_elem(bpf_map__fd(map), &index, slots.data()) != 0) {
    return fail_errno(errno, "cannot read the map {}", bpf_map__name(map));
  }
  return slots;
}

}  // namespace tidemark::bpfrt
