// SPDX-License-Identifier: Apache-2.0
//
// Names every type of vmlinux.h, so that this object's BTF describes them as our programs see them.
// Never loaded. check.vmlinux fails if a type of the header is missing here.
#include "vmlinux.h"

struct pt_regs ours_pt_regs;
struct signal_struct ours_signal_struct;
struct mm_struct ours_mm_struct;
struct task_struct ours_task_struct;
struct bpf_iter_meta ours_bpf_iter_meta;
struct qstr ours_qstr;
struct dentry ours_dentry;
struct path ours_path;
struct address_space ours_address_space;
struct page ours_page;
struct file_system_type ours_file_system_type;
struct super_block ours_super_block;
struct inode ours_inode;
struct file ours_file;
struct bpf_iter__task_file ours_bpf_iter__task_file;
struct pipe_buffer ours_pipe_buffer;
struct pipe_inode_info ours_pipe_inode_info;
struct ns_common ours_ns_common;
struct net ours_net;
struct in6_addr ours_in6_addr;
struct sock_common ours_sock_common;
struct sk_buff ours_sk_buff;
struct skb_shared_info ours_skb_shared_info;
struct sk_buff_head ours_sk_buff_head;
struct sock ours_sock;
struct socket ours_socket;
struct unix_address ours_unix_address;
struct unix_sock ours_unix_sock;
struct net_device ours_net_device;
struct packet_type ours_packet_type;
struct pgv ours_pgv;
struct packet_ring_buffer ours_packet_ring_buffer;
struct packet_sock ours_packet_sock;
struct netlink_sock ours_netlink_sock;
struct perf_buffer ours_perf_buffer;
struct perf_event ours_perf_event;
struct io_rings ours_io_rings;
struct io_ring_ctx ours_io_ring_ctx;
struct bpf_map ours_bpf_map;
struct bpf_iter__bpf_map ours_bpf_iter__bpf_map;
struct rb_node ours_rb_node;
struct rb_root_cached ours_rb_root_cached;
struct vm_area_struct ours_vm_area_struct;
struct thread_info ours_thread_info;
struct xa_node ours_xa_node;
struct xarray ours_xarray;
struct idr ours_idr;
struct kern_ipc_perm ours_kern_ipc_perm;
struct shmid_kernel ours_shmid_kernel;
struct ipc_ids ours_ipc_ids;
struct ipc_namespace ours_ipc_namespace;
struct nsproxy ours_nsproxy;
