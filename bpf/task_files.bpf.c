// SPDX-License-Identifier: GPL-2.0-only
/*
 * One pass over the descriptors of all processes, in all namespaces, and one over their mappings: a
 * record for each that leads to memory which meminfo does not attribute (sockets, pipes, perf and
 * io_uring rings, BPF maps) or to a file without a name. And one over the BPF maps, for what an
 * arena holds. Run on demand by reading the iterator; nothing is attached.
 */
#include "lib/sockets.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define S_IFMT		    0170000
#define S_IFIFO		    0010000
#define S_IFCHR		    0020000
#define S_IFREG		    0100000
#define S_IFSOCK	    0140000
#define SOCKFS_MAGIC	    0x534F434B /* include/uapi/linux/magic.h */
#define ANON_INODE_FS_MAGIC 0x09041934 /* the same */

#define DRM_MAJOR      226 /* include/drm/drm_drv.h */
#define ARENA_STEPS    (1 << 20)
#define ARENA_MAP_TYPE 33 /* BPF_MAP_TYPE_ARENA */

/*
 * A slot whose page belongs to a file was lent by splice(): it is in the page cache. Slots behind
 * the sample count as own, in user space.
 */
static __always_inline void read_pipe(struct pipe_inode_info *pipe, struct tm_pipe *out)
{
	u32 tail = BPF_CORE_READ(pipe, tail);
	u32 mask = BPF_CORE_READ(pipe, ring_size) - 1;
	struct pipe_buffer *slots = BPF_CORE_READ(pipe, bufs);

	out->slots = BPF_CORE_READ(pipe, head) - tail;
	out->spare_pages = pipe_spare_pages(pipe);
	for (u32 i = 0; i < TM_PIPE_SAMPLE; i++) {
		u64 slot = (tail + i) & mask;
		struct page *page;

		if (i >= out->slots)
			break;
		page = BPF_CORE_READ(
			(struct pipe_buffer *)((char *)slots +
					       slot * bpf_core_type_size(struct pipe_buffer)),
			page);
		out->sampled++;
		if (page && !BPF_CORE_READ(page, mapping))
			out->own_pages++;
	}
}

static __always_inline bool is_named(const char *name, const char *wanted, u32 length)
{
	for (u32 i = 0; i < length; i++)
		if (name[i] != wanted[i])
			return false;
	return true;
}
#define IS_NAMED(name, wanted) is_named(name, wanted, sizeof(wanted))

static __always_inline void read_perf(struct perf_event *event, struct tm_perf *out)
{
	struct perf_buffer *ring = BPF_CORE_READ(event, rb);

	if (!ring)
		return;
	out->ring = (u64)ring;
	out->pages = BPF_CORE_READ(ring, nr_pages) + 1; /* and the page of control */
	out->aux_pages = BPF_CORE_READ(ring, aux_nr_pages);
}

static __always_inline void read_io_uring(struct io_ring_ctx *ring, struct tm_io_uring *out)
{
	out->has_regions = io_uring_region_pages(ring, &out->region_pages);
	out->sq_entries = BPF_CORE_READ(ring, sq_entries);
	out->cq_entries = BPF_CORE_READ(ring, cq_entries);
	out->flags = BPF_CORE_READ(ring, flags);
	out->rings_header_bytes = bpf_core_type_size(struct io_rings);
}

/* What has no inode of its own is told by the name that the kernel gave it. */
static __always_inline u32 read_anonymous(struct file *file, struct tm_open_file *out)
{
	void *object = BPF_CORE_READ(file, private_data);
	char name[16] = {};

	if (!object)
		return 0;
	bpf_probe_read_kernel_str(name, sizeof(name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (IS_NAMED(name, "[perf_event]")) {
		read_perf(object, &out->perf);
		return out->perf.ring ? TM_FILE_PERF : 0;
	}
	if (IS_NAMED(name, "[io_uring]") && bpf_core_type_exists(struct io_ring_ctx)) {
		read_io_uring(object, &out->io_uring);
		out->inode = (u64)object; /* the inode is everybody's */
		return TM_FILE_IO_URING;
	}
	if (IS_NAMED(name, "bpf-map")) {
		out->bpf_map.id = BPF_CORE_READ((struct bpf_map *)object, id);
		return TM_FILE_BPF_MAP;
	}
	return 0;
}

static __always_inline u32 read_nameless(struct file *file, struct inode *inode,
					 struct tm_nameless *out)
{
	if (BPF_CORE_READ(inode, i_nlink))
		return 0;
	out->size_bytes = BPF_CORE_READ(inode, i_size);
	out->allocated_bytes = BPF_CORE_READ(inode, i_blocks) * 512;
	out->cached_pages = BPF_CORE_READ(inode, i_mapping, nrpages);
	out->magic = BPF_CORE_READ(inode, i_sb, s_magic);
	out->device = BPF_CORE_READ(inode, i_sb, s_dev);
	bpf_probe_read_kernel_str(out->fs_type, sizeof(out->fs_type),
				  BPF_CORE_READ(inode, i_sb, s_type, name));
	bpf_probe_read_kernel_str(out->name, sizeof(out->name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	return TM_FILE_NAMELESS;
}

static __always_inline u32 read_object(struct file *file, struct inode *inode,
				       struct tm_open_file *out)
{
	u32 type = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	u64 magic = BPF_CORE_READ(inode, i_sb, s_magic);

	if (type == S_IFSOCK && magic == SOCKFS_MAGIC) {
		struct socket *socket = BPF_CORE_READ(file, private_data);
		struct sock *sk = socket ? BPF_CORE_READ(socket, sk) : NULL;

		if (!sk)
			return 0;
		read_socket(sk, &out->socket);
		return holds_memory(&out->socket) ? TM_FILE_SOCKET : 0;
	}
	if (type == S_IFIFO) {
		struct pipe_inode_info *pipe = BPF_CORE_READ(inode, i_pipe);

		if (!pipe)
			return 0;
		read_pipe(pipe, &out->pipe);
		return out->pipe.slots || out->pipe.spare_pages ? TM_FILE_PIPE : 0;
	}
	if (magic == ANON_INODE_FS_MAGIC)
		return read_anonymous(file, out);
	if (type == S_IFCHR && BPF_CORE_READ(inode, i_rdev) >> 20 == DRM_MAJOR)
		return TM_FILE_GPU;
	if (type == S_IFREG)
		return read_nameless(file, inode, &out->nameless);
	return 0;
}

static __always_inline bool is_regular(struct file *file)
{
	return (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) == S_IFREG;
}

static __always_inline void write_record(struct seq_file *seq, struct task_struct *task,
					 struct file *file, u32 fd)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct tm_open_file out = {};

	out.inode = BPF_CORE_READ(inode, i_ino);
	out.kind = read_object(file, inode, &out);
	if (!out.kind)
		return;
	out.pid = BPF_CORE_READ(task, tgid);
	out.tid = BPF_CORE_READ(task, pid);
	out.fd = fd;
	BPF_CORE_READ_STR_INTO(&out.comm, task, group_leader, comm);
	bpf_seq_write(seq, &out, sizeof(out));
}

SEC("iter/task_file")
int open_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (task && file)
		write_record(ctx->meta->seq, task, file, ctx->fd);
	return 0;
}

/*
 * A mapping holds its file after the descriptor is closed. Almost all are of files with a name: out
 * of those as early as can be.
 */
SEC("iter/task_vma")
int mapped_files(struct bpf_iter__task_vma *ctx)
{
	struct vm_area_struct *vma = ctx->vma;
	struct task_struct *task = ctx->task;
	struct file *file;

	if (!task || !vma)
		return 0;
	file = BPF_CORE_READ(vma, vm_file);
	if (file && !(is_regular(file) && BPF_CORE_READ(file, f_inode, i_nlink)))
		write_record(ctx->meta->seq, task, file, TM_NO_FD);
	return 0;
}

/* Where in a red-black tree we are, and from where we came there. */
enum arrival { FROM_ABOVE, FROM_LEFT, FROM_RIGHT };
struct tree_walk {
	struct rb_node *node; /* NULL: done */
	u32 arrival;
	u32 padding;
	u64 free_pages;
};

/* In order and without a stack: left side, the node, right side, up. A step is never repeated. */
static long walk_step(u32 index, void *context)
{
	struct tree_walk *walk = context;
	struct rb_node *node = walk->node, *next = NULL;
	struct range_node___any *range = (void *)node;

	if (walk->arrival == FROM_ABOVE) {
		next = BPF_CORE_READ(node, rb_left);
		if (!next)
			walk->arrival = FROM_LEFT;
	}
	if (!next && walk->arrival == FROM_LEFT) {
		walk->free_pages +=
			(u64)BPF_CORE_READ(range, rn_last) - BPF_CORE_READ(range, rn_start) + 1;
		next = BPF_CORE_READ(node, rb_right);
		walk->arrival = FROM_ABOVE;
		if (!next)
			walk->arrival = FROM_RIGHT;
	}
	if (!next) {
		next = (void *)(BPF_CORE_READ(node, __rb_parent_color) & ~3UL);
		walk->arrival =
			next && BPF_CORE_READ(next, rb_left) == node ? FROM_LEFT : FROM_RIGHT;
	}
	walk->node = next;
	return !next;
}

/*
 * Pages of an arena are handed out one by one; its tree holds the ranges that are not. Loaded only
 * where the kernel has arenas, and with them bpf_loop().
 */
SEC("iter/bpf_map")
int arenas(struct bpf_iter__bpf_map *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct bpf_map *map = ctx->map;
	struct bpf_arena___any *arena = (void *)map;
	struct tree_walk walk = {};
	struct tm_arena out = {};

	if (!map || BPF_CORE_READ(map, map_type) != ARENA_MAP_TYPE)
		return 0;
	out.map_id = BPF_CORE_READ(map, id);
	out.pages = BPF_CORE_READ(map, max_entries);
	walk.arrival = FROM_LEFT; /* the leftmost node has no left side */
	walk.node = BPF_CORE_READ(arena, rt.it_root.rb_leftmost);
	if (walk.node)
		bpf_loop(ARENA_STEPS, walk_step, &walk, 0);
	out.complete = !walk.node;
	out.free_pages = walk.free_pages;
	bpf_seq_write(seq, &out, sizeof(out));
	return 0;
}
