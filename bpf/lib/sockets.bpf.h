/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of one socket. Read without its lock: each counter is right for a moment, the sample
 * of the queue may be of packets that leave meanwhile (what is read then is stale, never a fault).
 */
#ifndef TIDEMARK_SOCKETS_BPF_H
#define TIDEMARK_SOCKETS_BPF_H

#include "../abi/task_files.h"
#include "files_compat.bpf.h"
#include <bpf/bpf_endian.h>

#define AF_UNIX	   1
#define AF_INET	   2
#define AF_INET6   10
#define AF_NETLINK 16
#define AF_PACKET  17

#define SKB_ALIGN(bytes) (((bytes) + 63) & ~63U)

/*
 * What of a packet lies in pages of its own, not in slab: all that it is charged for but its head
 * and its data, if these came from kmalloc.
 */
static __always_inline u32 paged_bytes(struct sk_buff *skb, u32 truesize)
{
	u32 slab = SKB_ALIGN(bpf_core_type_size(struct sk_buff));

	if (!BPF_CORE_READ_BITFIELD_PROBED(skb, head_frag))
		slab += BPF_CORE_READ(skb, end) +
			SKB_ALIGN(bpf_core_type_size(struct skb_shared_info));
	return truesize > slab ? truesize - slab : 0;
}

static __always_inline void sample_queue(struct sock *sk, struct tm_socket *out)
{
	struct sk_buff *end = (void *)&sk->sk_receive_queue;
	struct sk_buff *skb = BPF_CORE_READ(sk, sk_receive_queue.next);

	out->queue_length = BPF_CORE_READ(sk, sk_receive_queue.qlen);
	for (int i = 0; i < TM_QUEUE_SAMPLE; i++) {
		struct sock *sender;
		u32 truesize;

		if (!skb || skb == end)
			break;
		truesize = BPF_CORE_READ(skb, truesize);
		out->sampled++;
		out->sampled_bytes += truesize;
		out->sampled_paged_bytes += paged_bytes(skb, truesize);
		sender = BPF_CORE_READ(skb, sk);
		if (out->family == AF_UNIX && sender && !BPF_CORE_READ(sender, sk_socket))
			out->sampled_orphan_bytes += truesize;
		skb = BPF_CORE_READ(skb, next);
	}
}

static __always_inline u64 ring_pages(struct sock *sk, struct packet_ring_buffer *ring,
				      struct tm_socket *out)
{
	struct pgv *blocks = BPF_CORE_READ(ring, pg_vec);

	if (!blocks)
		return 0;
	out->ring_distance = (s64)BPF_CORE_READ(blocks, buffer) - (s64)sk;
	return (u64)BPF_CORE_READ(ring, pg_vec_len) * BPF_CORE_READ(ring, pg_vec_pages);
}

static __always_inline void read_packet_socket(struct sock *sk, struct tm_socket *out)
{
	struct packet_sock *packet = (void *)sk;
	struct net_device *device;

	/* af_packet may be a module without types. */
	if (!bpf_core_type_exists(struct packet_sock))
		return;
	out->ring_pages = ring_pages(sk, &packet->rx_ring, out);
	out->ring_pages += ring_pages(sk, &packet->tx_ring, out);
	out->protocol = bpf_ntohs(BPF_CORE_READ(packet, num));
	device = BPF_CORE_READ(packet, prot_hook.dev);
	if (device)
		BPF_CORE_READ_STR_INTO(&out->interface, device, name);
}

static __always_inline void read_unix_socket(struct sock *sk, struct tm_socket *out)
{
	struct unix_sock *own = (void *)sk;
	struct unix_address *address;
	struct sock *peer;

	if (!bpf_core_type_exists(struct unix_sock))
		return;
	peer = BPF_CORE_READ(own, peer);
	if (peer)
		out->peer_inode = BPF_CORE_READ(peer, sk_socket, file, f_inode, i_ino);
	address = BPF_CORE_READ(own, addr);
	if (!address)
		return;
	/* Behind the two numbers stands a sockaddr_un: the family, then the name. */
	out->name_length = BPF_CORE_READ(address, len);
	bpf_probe_read_kernel(out->name, sizeof(out->name),
			      (char *)address + bpf_core_type_size(struct unix_address) + 2);
}

static __always_inline void read_address(struct sock *sk, struct tm_socket *out)
{
	out->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (out->family == AF_INET)
		BPF_CORE_READ_INTO((u32 *)out->address, sk, __sk_common.skc_rcv_saddr);
	else
		BPF_CORE_READ_INTO(&out->address, sk, __sk_common.skc_v6_rcv_saddr);
}

static __always_inline void read_socket(struct sock *sk, struct tm_socket *out)
{
	out->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	out->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	out->type = BPF_CORE_READ(sk, sk_type);
	out->protocol = BPF_CORE_READ(sk, sk_protocol);
	out->rmem_alloc = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
	out->wmem_alloc = BPF_CORE_READ(sk, sk_wmem_alloc.refs.counter) - 1;
	out->wmem_queued = BPF_CORE_READ(sk, sk_wmem_queued);
	out->forward_alloc = BPF_CORE_READ(sk, sk_forward_alloc);
	out->backlog = BPF_CORE_READ(sk, sk_backlog.len);
	out->drops = socket_drops(sk);
	sample_queue(sk, out);
	if (out->family == AF_PACKET)
		read_packet_socket(sk, out);
	else if (out->family == AF_UNIX)
		read_unix_socket(sk, out);
	else if (out->family == AF_INET || out->family == AF_INET6)
		read_address(sk, out);
	else if (out->family == AF_NETLINK && bpf_core_type_exists(struct netlink_sock))
		out->portid = BPF_CORE_READ((struct netlink_sock *)sk, portid);
}

static __always_inline bool holds_memory(const struct tm_socket *socket)
{
	return socket->rmem_alloc > 0 || socket->wmem_alloc > 0 || socket->wmem_queued > 0 ||
	       socket->backlog > 0 || socket->forward_alloc > 0 || socket->queue_length > 0 ||
	       socket->ring_pages > 0;
}

#endif
