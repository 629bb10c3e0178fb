/* SPDX-License-Identifier: GPL-2.0-only */
/* How large is a System V shared memory segment? shmat(2) is not told. */
#ifndef TIDEMARK_SHM_BPF_H
#define TIDEMARK_SHM_BPF_H

#include "compat.bpf.h"

/* ipc_namespace.ids[]: semaphores, messages, shared memory; since 2.6.19. */
#define SHM_IDS 2
/* What an entry of an XArray is: include/linux/xarray.h, xa_is_node() and xa_to_node(). */
#define XA_TAG_BITS    3UL
#define XA_IS_INTERNAL 2UL
#define XA_FIRST_NODE  4096UL
/* 2^6 slots a node, and the largest id has 24 bits (ipcmni_extend). */
#define XA_CHUNK_BITS 6
#define XA_LEVELS     4

static __always_inline struct kern_ipc_perm *shm_entry(u64 entry, u32 index)
{
	for (u32 level = 0; level < XA_LEVELS; level++) {
		struct xa_node *node = (void *)(entry - XA_IS_INTERNAL);
		u32 slot;

		if ((entry & XA_TAG_BITS) != XA_IS_INTERNAL || entry <= XA_FIRST_NODE)
			break;
		slot = (index >> BPF_CORE_READ(node, shift)) & ((1U << XA_CHUNK_BITS) - 1);
		if (bpf_probe_read_kernel(&entry, sizeof(entry),
					  (void *)&node->slots + slot * sizeof(entry)))
			return NULL;
	}
	return entry & XA_TAG_BITS ? NULL : (void *)entry;
}

/* Size of the segment in the running task's namespace; 0: not known. */
static __always_inline u64 shm_bytes(u32 id)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 root = (u64)BPF_CORE_READ(task, nsproxy, ipc_ns, ids[SHM_IDS].ipcs_idr.idr_rt.xa_head);
	struct kern_ipc_perm *segment = NULL;

	/* The place is the low 15 bits of the id, or with ipcmni_extend the low 24. */
	for (u32 bits = 15; bits <= 24; bits += 9) {
		segment = shm_entry(root, id & ((1U << bits) - 1));
		if (segment && (u32)BPF_CORE_READ(segment, id) == id)
			return BPF_CORE_READ((struct shmid_kernel *)segment, shm_segsz);
	}
	return 0;
}

#endif
