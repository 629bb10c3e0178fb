/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory cgroup that a slab object or a page is charged to, where kernels keep it. Presence is
 * asked of the running kernel's types.
 *
 *   until 5.10  page->obj_cgroups[], an array of obj_cgroups for a slab; page->mem_cgroup
 *   until 6.9   slab->memcg_data, the same array; page->memcg_data
 *   since       slab->obj_exts, an array of slabobj_ext; since 7.0 slab->stride apart
 */
#ifndef TIDEMARK_OBJCG_BPF_H
#define TIDEMARK_OBJCG_BPF_H

#include "pages.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node___any {
	const char *name;
	unsigned long id;
};
struct cgroup___any {
	struct kernfs_node___any *kn;
};
struct cgroup_subsys_state___any {
	struct cgroup___any *cgroup;
};
struct mem_cgroup___any {
	struct cgroup_subsys_state___any css;
};
struct obj_cgroup___any {
	struct mem_cgroup___any *memcg;
};
struct page___charged {
	struct mem_cgroup___any *mem_cgroup;
};
struct page___charge_data {
	unsigned long memcg_data;
};
struct slab___charge_data {
	unsigned long memcg_data;
};
struct slab___extensions {
	unsigned long obj_exts;
};
struct slab___stride {
	unsigned int stride;
};
struct slabobj_ext {
	struct obj_cgroup___any *objcg;
};
struct slabobj_ext___hidden {
	struct obj_cgroup___any *_objcg;
};

#pragma clang attribute pop

/* enum page_memcg_data_flags and its successors; pointers are aligned to 8. */
#define CHARGE_FLAGS	  7UL
#define CHARGE_OF_OBJECTS 1UL
#define CHARGE_OF_KERNEL  2UL

static __always_inline u64 cgroup_of_objcg(u64 objcg)
{
	struct obj_cgroup___any *owner = (void *)objcg;

	return objcg ? (u64)BPF_CORE_READ(owner, memcg) : 0;
}

/* The struct mem_cgroup that a page of the kernel's is charged to; 0: none. */
static __always_inline u64 memcg_of_page(u64 head)
{
	struct page___charge_data *by_data = (void *)head;
	struct page___charged *by_pointer = (void *)head;
	u64 data;

	if (bpf_core_field_exists(by_data->memcg_data)) {
		data = BPF_CORE_READ(by_data, memcg_data);
		/* Without the flag it is a page of processes, which no kernel memory is. */
		return data & CHARGE_OF_KERNEL ? cgroup_of_objcg(data & ~CHARGE_FLAGS) : 0;
	}
	if (!bpf_core_field_exists(by_pointer->mem_cgroup))
		return 0;
	data = (u64)BPF_CORE_READ(by_pointer, mem_cgroup);
	return data & CHARGE_OF_OBJECTS ? 0 : data;
}

/* What a slab has to say of its objects' owners, one after the other; 0: nothing is charged. */
static __always_inline u64 charges_of_slab(u64 slab)
{
	struct slab___extensions *by_extension = (void *)slab;
	struct slab___charge_data *by_data = (void *)slab;
	struct page___charged *by_pointer = (void *)slab;
	u64 charges = 0;

	if (bpf_core_field_exists(by_extension->obj_exts))
		return BPF_CORE_READ(by_extension, obj_exts) & ~CHARGE_FLAGS;
	if (bpf_core_field_exists(by_data->memcg_data))
		charges = BPF_CORE_READ(by_data, memcg_data);
	else if (bpf_core_field_exists(by_pointer->mem_cgroup))
		charges = (u64)BPF_CORE_READ(by_pointer, mem_cgroup);
	return charges & CHARGE_OF_OBJECTS ? charges & ~CHARGE_FLAGS : 0;
}

static __always_inline u64 bytes_between_charges(u64 slab)
{
	struct slab___stride *strided = (void *)slab;

	if (bpf_core_field_exists(strided->stride))
		return BPF_CORE_READ_BITFIELD_PROBED(strided, stride);
	if (bpf_core_type_exists(struct slabobj_ext))
		return bpf_core_type_size(struct slabobj_ext);
	return sizeof(u64);
}

static __always_inline u64 offset_in_charge(void)
{
	if (bpf_core_field_exists(struct slabobj_ext, objcg))
		return bpf_core_field_offset(struct slabobj_ext, objcg);
	if (bpf_core_field_exists(struct slabobj_ext___hidden, _objcg))
		return bpf_core_field_offset(struct slabobj_ext___hidden, _objcg);
	return 0;
}

static __always_inline u64 memcg_of_object(u64 address)
{
	u64 slab = head_of(page_of(address)), charges = charges_of_slab(slab), objcg = 0, index;
	struct kmem_cache *cache = (void *)slab_cache_of(slab);
	u64 first, size;

	if (!charges || !cache)
		return 0;
	size = BPF_CORE_READ(cache, size);
	/* The other way round from page_of(). */
	first = (slab - page_base) << (PAGE_BYTES_SHIFT - PAGE_STRUCT_SHIFT);
	if (!size || address < first)
		return 0;
	index = (address - first) / size;
	bpf_probe_read_kernel(
		&objcg, sizeof(objcg),
		(void *)(charges + index * bytes_between_charges(slab) + offset_in_charge()));
	return cgroup_of_objcg(objcg);
}

#endif
