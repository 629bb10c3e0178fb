/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel types and fields that our BPF programs read, and no more: the full vmlinux.h makes a 2
 * MB skeleton, this one 12 KB. Everything marked preserve_access_index is relocated (CO-RE) to the
 * running kernel, so order and offsets here mean nothing; names and types do, and
 * tests/check/vmlinux compares them with the running kernel's BTF. pt_regs is the context of uprobe
 * programs, whose layout is fixed and not relocated.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include <linux/bpf.h>
#include <stdbool.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
  unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
  unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
  __u64 regs[31];
  __u64 sp;
  __u64 pc;
  __u64 pstate;
};
struct pt_regs;
#else
#error "tidemark knows x86 and arm64"
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
  int counter;
} atomic_t;

struct signal_struct {
  atomic_t live;
  int group_exit_code;
  unsigned int flags;
  unsigned long maxrss;
};

struct percpu_counter {
  s64 count;
  s32* counters;
};

struct mm_struct {
  unsigned long start_stack;
  unsigned long start_brk;
  unsigned long brk;
  unsigned long data_vm;
  struct percpu_counter rss_stat[4];
};

struct thread_info {
#if defined(__TARGET_ARCH_x86)
  u32 status;
#endif
};

struct nsproxy;

struct task_struct {
  struct thread_info thread_info;
  void* stack;
  unsigned int flags;
  int pid;
  int tgid;
  int exit_code;
  struct mm_struct* mm;
  struct signal_struct* signal;
  struct nsproxy* nsproxy;
  struct task_struct* group_leader;
  u64 start_boottime;
  char comm[16];
};

/* Open files. */

struct seq_file;
struct bpf_iter_meta {
  struct seq_file* seq;
};

struct qstr {
  const unsigned char* name;
};

struct dentry {
  struct qstr d_name;
};

struct path {
  struct dentry* dentry;
};

struct address_space {
  unsigned long nrpages;
};

struct page {
  struct address_space* mapping;
};

struct file_system_type {
  const char* name;
};

struct super_block {
  u32 s_dev;
  unsigned long s_magic;
  struct file_system_type* s_type;
};

struct pipe_inode_info;

struct inode {
  unsigned short i_mode;
  struct super_block* i_sb;
  struct address_space* i_mapping;
  unsigned long i_ino;
  unsigned int i_nlink;
  u32 i_rdev;
  long long i_size;
  u64 i_blocks;
  struct pipe_inode_info* i_pipe;
};

struct file {
  void* private_data;
  struct inode* f_inode;
  struct path f_path;
};

struct bpf_iter__task_file {
  struct bpf_iter_meta* meta;
  struct task_struct* task;
  u32 fd;
  struct file* file;
};

struct vm_area_struct {
  struct file* vm_file;
};

struct pipe_buffer {
  struct page* page;
};

struct pipe_inode_info {
  unsigned int head;
  unsigned int tail;
  unsigned int ring_size;
  struct pipe_buffer* bufs;
};

/* Sockets. */

typedef struct refcount_struct {
  atomic_t refs;
} refcount_t;

struct ns_common {
  unsigned int inum;
};

struct net {
  struct ns_common ns;
};

typedef struct {
  struct net* net;
} possible_net_t;

struct in6_addr {
  union {
    u8 u6_addr8[16];
  } in6_u;
};

struct sock_common {
  u32 skc_rcv_saddr;
  u16 skc_num;
  unsigned short skc_family;
  possible_net_t skc_net;
  struct in6_addr skc_v6_rcv_saddr;
};

struct sock;

struct sk_buff {
  struct sk_buff* next;
  struct sock* sk;
  unsigned int data_len;
  u8 head_frag : 1;
  unsigned int end;
  unsigned int truesize;
};

struct skb_shared_info {
  u8 nr_frags;
};

struct sk_buff_head {
  struct sk_buff* next;
  u32 qlen;
};

struct socket;

struct sock {
  struct sock_common __sk_common;
  atomic_t sk_drops;
  struct sk_buff_head sk_receive_queue;
  struct {
    atomic_t rmem_alloc;
    int len;
  } sk_backlog;
  struct socket* sk_socket;
  int sk_forward_alloc;
  int sk_wmem_queued;
  refcount_t sk_wmem_alloc;
  u16 sk_protocol;
  u16 sk_type;
};

struct socket {
  struct file* file;
  struct sock* sk;
};

struct unix_address {
  int len;
};

struct unix_sock {
  struct unix_address* addr;
  struct sock* peer;
};

struct net_device {
  char name[16];
};

struct packet_type {
  struct net_device* dev;
};

struct pgv {
  char* buffer;
};

struct packet_ring_buffer {
  struct pgv* pg_vec;
  unsigned int pg_vec_pages;
  unsigned int pg_vec_len;
};

struct packet_sock {
  struct packet_ring_buffer rx_ring;
  struct packet_ring_buffer tx_ring;
  u16 num;
  struct packet_type prot_hook;
};

struct netlink_sock {
  u32 portid;
};

/* Rings. */

struct perf_buffer {
  int nr_pages;
  int aux_nr_pages;
};

struct perf_event {
  struct perf_buffer* rb;
};

struct io_rings {
  u32 sq_ring_mask;
};

struct io_ring_ctx {
  unsigned int flags;
  unsigned int sq_entries;
  unsigned int cq_entries;
};

struct bpf_map {
  enum bpf_map_type map_type;
  u32 id;
  u32 max_entries;
};

struct bpf_iter__bpf_map {
  struct bpf_iter_meta* meta;
  struct bpf_map* map;
};

struct rb_node {
  unsigned long __rb_parent_color;
  struct rb_node* rb_right;
  struct rb_node* rb_left;
};

struct rb_root_cached {
  struct rb_node* rb_leftmost;
};

/* System V shared memory. */

struct xa_node {
  unsigned char shift;
  void* slots[64];
};

struct xarray {
  void* xa_head;
};

struct idr {
  struct xarray idr_rt;
};

struct kern_ipc_perm {
  int id;
};

struct shmid_kernel {
  struct kern_ipc_perm shm_perm;
  unsigned long shm_segsz;
};

struct ipc_ids {
  struct idr ipcs_idr;
};

struct ipc_namespace {
  struct ipc_ids ids[3];
};

struct nsproxy {
  struct ipc_namespace* ipc_ns;
};

/* The kernel's allocators. */

struct list_head {
  struct list_head* next;
};

struct kmem_cache_order_objects {
  unsigned int x;
};

struct kmem_cache {
  unsigned int size;
  unsigned int object_size;
  struct kmem_cache_order_objects oo;
  const char* name;
};

#pragma clang attribute pop

#endif
