// SPDX-License-Identifier: Apache-2.0
//
// Stands in for libbpf's header of this name: kernel memory is the host's own, so a read is a
// dereference.
#ifndef __BPF_CORE_READ_H__
#define __BPF_CORE_READ_H__

#define BPF_CORE_READ_1(source, a) ((source)->a)
#define BPF_CORE_READ_2(source, a, b) ((source)->a->b)
#define BPF_CORE_READ_3(source, a, b, c) ((source)->a->b->c)
#define BPF_CORE_READ_CHOOSE(a, b, c, chosen, ...) chosen
#define BPF_CORE_READ(source, ...)                                                        \
  BPF_CORE_READ_CHOOSE(__VA_ARGS__, BPF_CORE_READ_3, BPF_CORE_READ_2, BPF_CORE_READ_1, 0) \
  (source, __VA_ARGS__)

// No type or field that differs between kernels is there.
#define bpf_core_type_exists(type) 0
#define bpf_core_field_exists(field) (sizeof(field) == 0)
#define bpf_core_type_size(type) sizeof(type)
#define BPF_CORE_READ_BITFIELD_PROBED(source, field) ((source)->field)
#define bpf_core_field_offset(type, field) offsetof(type, field)
#define bpf_core_enum_value(type, value) (value)
#define bpf_core_enum_value_exists(type, value) 0

#endif
