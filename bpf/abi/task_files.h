/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the iterators of task_files.bpf.c write: one record for each descriptor that leads to kernel
 * or shared memory, of all processes and namespaces. Fixed layout, explicit padding, 8-byte fields
 * first. Sizes are the kernel's own counters; nothing is judged here.
 */
#ifndef TIDEMARK_ABI_TASK_FILES_H
#define TIDEMARK_ABI_TASK_FILES_H

#include <linux/types.h>

#ifdef __cplusplus
#define TM_FILES_ASSERT(condition) static_assert(condition)
#else
#define TM_FILES_ASSERT(condition) _Static_assert(condition, #condition)
#endif

/* Packets looked at from the head of a queue, slots of a pipe that are looked at. */
#define TM_QUEUE_SAMPLE 64
#define TM_PIPE_SAMPLE	256
/* tm_open_file.fd of what a mapping holds. */
#define TM_NO_FD 0xffffffffU

enum tm_file_kind {
	TM_FILE_SOCKET = 1,
	TM_FILE_PIPE = 2,
	TM_FILE_PERF = 3,
	TM_FILE_IO_URING = 4,
	TM_FILE_BPF_MAP = 5,
	TM_FILE_NAMELESS = 6, /* a regular file with no name in any directory */
	TM_FILE_GPU = 7,      /* a DRM device: its fdinfo tells more */
};

struct tm_socket {
	__u64 ring_pages;    /* AF_PACKET, both directions */
	__s64 ring_distance; /* from the socket (in slab) to the ring's first block */
	__u64 peer_inode;    /* unix */
	__u32 netns;
	__s32 rmem_alloc;
	__s32 wmem_alloc; /* without the one that the socket itself holds */
	__s32 wmem_queued;
	__s32 forward_alloc;
	__s32 backlog;
	__u32 drops;
	/* Of the first TM_QUEUE_SAMPLE packets in the receive queue. */
	__u32 queue_length; /* of all */
	__u32 sampled;
	__u32 sampled_bytes;	    /* memory that they are charged with */
	__u32 sampled_paged_bytes;  /* the part of it outside of slab */
	__u32 sampled_orphan_bytes; /* unix: charged to senders that are closed */
	__u32 portid;		    /* netlink */
	__u16 family;
	__u16 type;
	__u16 protocol; /* packet: in host order, too */
	__u16 port;
	__u32 name_length;  /* unix: bytes of `name` */
	__u8 address[16];   /* inet: 4, inet6: 16 */
	char interface[16]; /* packet: bound to */
	char name[108];	    /* unix; begins with 0 where it is abstract */
	__u32 padding;
};

struct tm_pipe {
	__u64 slots; /* in use */
	__u64 sampled;
	__u64 own_pages;   /* of the sampled ones: not lent by a file or a socket */
	__u64 spare_pages; /* kept for the next write */
};

struct tm_perf {
	__u64 ring; /* tells rings that events share; 0: none */
	__u64 pages;
	__u64 aux_pages;
};

struct tm_io_uring {
	__u64 region_pages; /* 0: a kernel without regions, see the entries */
	__u32 has_regions;
	__u32 sq_entries;
	__u32 cq_entries;
	__u32 flags;
	__u32 rings_header_bytes;
	__u32 padding;
};

struct tm_bpf_map {
	__u32 id;
	__u32 padding;
};

struct tm_nameless {
	__u64 size_bytes;
	__u64 allocated_bytes;
	__u64 cached_pages;
	__u64 magic;
	__u64 device; /* as the kernel encodes it: major << 20 | minor */
	char fs_type[16];
	char name[64]; /* the last part of it */
};

struct tm_open_file {
	__u64 inode;
	__u32 kind;
	__u32 pid;
	__u32 tid; /* whose table of descriptors it is */
	__u32 fd;
	char comm[16]; /* of the process */
	union {
		struct tm_socket socket;
		struct tm_pipe pipe;
		struct tm_perf perf;
		struct tm_io_uring io_uring;
		struct tm_bpf_map bpf_map;
		struct tm_nameless nameless;
	};
};
TM_FILES_ASSERT(sizeof(struct tm_socket) == 232);
TM_FILES_ASSERT(sizeof(struct tm_open_file) == 272);

/* Of iter/bpf_map: what a map holds in pages of its own. */
struct tm_arena {
	__u32 map_id;
	__u32 complete; /* 0: the tree was not walked to its end */
	__u64 pages;	/* of the arena's address range */
	__u64 free_pages;
};
TM_FILES_ASSERT(sizeof(struct tm_arena) == 24);

#endif
