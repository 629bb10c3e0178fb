// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module that leaks on demand, each kind from one function whose name says it.
 * Write to /proc/tidemark_leak:
 *
 *   KIND COUNT   leaks so many blocks of a kind:
 *                kmalloc  200 bytes each
 *                cache    320 bytes each, of the cache tidemark_leak
 *                vmalloc  3 pages each
 *                pages    2 pages each (order 1)
 *                percpu   64 bytes on each CPU
 *                skb      1000 bytes of data each
 *                large    2048 bytes by kmalloc each
 *                pages3   8 pages each (order 3)
 *                bulk     320 bytes each, of the cache tidemark_leak, by kmem_cache_alloc_bulk()
 *                bulkfree the same by kmem_cache_alloc(), freed by kmem_cache_free_bulk()
 *                rcu      256 bytes by kmalloc each, freed by kfree_rcu()
 *                packet   72 bytes each, of the cache TSPacket, which is merged with others, and an
 *                         skb of 400 bytes of data each: the case that tidemark was built for
 *   free         frees everything that was leaked
 *   warn         raises a kernel warning
 *   standstill   stops every CPU, for good
 *
 * Reading it says how many blocks of each kind are out: "kmalloc 0", a line each. Unloading frees
 * them, unless loaded with free_on_unload=0. They are kept in a static table, so that nothing but
 * them is allocated.
 */
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define LIMIT	      8192
#define KMALLOC_BYTES 200
#define CACHE_BYTES   320
#define VMALLOC_BYTES (3 * PAGE_SIZE)
#define PAGES_ORDER   1
#define PERCPU_BYTES  64
#define SKB_BYTES     1000
#define LARGE_BYTES   2048
#define BIG_ORDER     3
#define RCU_BYTES     256
#define BULK	      16
#define PACKET_BYTES  400

static bool free_on_unload = true;
module_param(free_on_unload, bool, 0444);
MODULE_PARM_DESC(free_on_unload, "free what was leaked when the module goes (default: yes)");

static struct kmem_cache *leak_cache;
static struct kmem_cache *packet_cache;

struct rcu_block {
	struct rcu_head rcu;
	char payload[RCU_BYTES - sizeof(struct rcu_head)];
};

/* 72 bytes. They are kept in a list of their own: there is no limit to them. */
struct ts_packet {
	struct list_head list;
	struct sk_buff *skb;
	char payload[48];
};
static LIST_HEAD(packets);
static DEFINE_MUTEX(lock);

static noinline void *leak_by_kmalloc(void)
{
	return kmalloc(KMALLOC_BYTES, GFP_KERNEL);
}

static noinline void *leak_by_kmem_cache(void)
{
	return kmem_cache_alloc(leak_cache, GFP_KERNEL);
}

static noinline void *leak_by_vmalloc(void)
{
	return vmalloc(VMALLOC_BYTES);
}

static noinline void *leak_by_alloc_pages(void)
{
	return alloc_pages(GFP_KERNEL, PAGES_ORDER);
}

static noinline void *leak_by_percpu(void)
{
	return (void __force *)__alloc_percpu(PERCPU_BYTES, 8);
}

static noinline void *leak_by_skb(void)
{
	return alloc_skb(SKB_BYTES, GFP_KERNEL);
}

static noinline void *leak_by_large_kmalloc(void)
{
	return kmalloc(LARGE_BYTES, GFP_KERNEL);
}

static noinline void *leak_by_big_pages(void)
{
	return alloc_pages(GFP_KERNEL, BIG_ORDER);
}

static noinline void *leak_by_cache_for_bulk_free(void)
{
	return kmem_cache_alloc(leak_cache, GFP_KERNEL);
}

static noinline void *leak_by_rcu(void)
{
	return kmalloc(sizeof(struct rcu_block), GFP_KERNEL);
}

static noinline bool leak_by_cache_bulk(void **blocks, unsigned int count)
{
	return kmem_cache_alloc_bulk(leak_cache, GFP_KERNEL, count, blocks);
}

static noinline struct ts_packet *ts_packet_alloc(void)
{
	return kmem_cache_alloc(packet_cache, GFP_KERNEL);
}

static noinline struct sk_buff *ts_packet_alloc_skb(void)
{
	return alloc_skb(PACKET_BYTES, GFP_KERNEL);
}

static int leak_packet(void)
{
	struct ts_packet *packet = ts_packet_alloc();

	if (!packet)
		return -ENOMEM;
	packet->skb = ts_packet_alloc_skb();
	list_add_tail(&packet->list, &packets);
	return packet->skb ? 0 : -ENOMEM;
}

static void free_packets(void)
{
	struct ts_packet *packet, *next;

	list_for_each_entry_safe(packet, next, &packets, list)
	{
		list_del(&packet->list);
		kfree_skb(packet->skb);
		kmem_cache_free(packet_cache, packet);
	}
}

static void free_by_rcu(void *block)
{
	struct rcu_block *freed = block;

	kfree_rcu(freed, rcu);
}

static void free_big_pages(void *block)
{
	__free_pages(block, BIG_ORDER);
}

static void free_cache_object(void *block)
{
	kmem_cache_free(leak_cache, block);
}

static void free_page_block(void *block)
{
	__free_pages(block, PAGES_ORDER);
}

static void free_percpu_block(void *block)
{
	free_percpu((void __percpu __force *)block);
}

static void free_skb(void *block)
{
	kfree_skb(block);
}

static void free_kmalloc(void *block)
{
	kfree(block);
}

static void free_vmalloc(void *block)
{
	vfree(block);
}

/* The only list of kinds. */
static struct kind {
	const char *name;
	void *(*leak)(void);
	void (*release)(void *block);
	bool bulk_alloc;
	bool bulk_free;
	unsigned int count;
	void *blocks[LIMIT];
} kinds[] = {
	{.name = "kmalloc", .leak = leak_by_kmalloc, .release = free_kmalloc},
	{.name = "cache", .leak = leak_by_kmem_cache, .release = free_cache_object},
	{.name = "vmalloc", .leak = leak_by_vmalloc, .release = free_vmalloc},
	{.name = "pages", .leak = leak_by_alloc_pages, .release = free_page_block},
	{.name = "percpu", .leak = leak_by_percpu, .release = free_percpu_block},
	{.name = "skb", .leak = leak_by_skb, .release = free_skb},
	{.name = "large", .leak = leak_by_large_kmalloc, .release = free_kmalloc},
	{.name = "pages3", .leak = leak_by_big_pages, .release = free_big_pages},
	{.name = "bulk", .bulk_alloc = true, .release = free_cache_object},
	{.name = "bulkfree", .leak = leak_by_cache_for_bulk_free, .bulk_free = true},
	{.name = "rcu", .leak = leak_by_rcu, .release = free_by_rcu},
};
static unsigned int packet_count;

static int leak_in_bulk(struct kind *kind, unsigned int count)
{
	while (count) {
		unsigned int part = min_t(unsigned int, count, BULK);

		if (!leak_by_cache_bulk(&kind->blocks[kind->count], part))
			return -ENOMEM;
		kind->count += part;
		count -= part;
	}
	return 0;
}

static int leak_packets(unsigned int count)
{
	while (count--) {
		int error = leak_packet();

		if (error)
			return error;
		packet_count++;
		if (packet_count % 1024 == 0)
			cond_resched();
	}
	return 0;
}

static int leak(struct kind *kind, unsigned int count)
{
	if (count > LIMIT - kind->count)
		return -ENOSPC;
	if (kind->bulk_alloc)
		return leak_in_bulk(kind, count);
	while (count--) {
		void *block = kind->leak();

		if (!block)
			return -ENOMEM;
		kind->blocks[kind->count++] = block;
	}
	return 0;
}

static void free_all(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].bulk_free && kinds[i].count) {
			kmem_cache_free_bulk(leak_cache, kinds[i].count, kinds[i].blocks);
			kinds[i].count = 0;
		}
		while (kinds[i].count)
			kinds[i].release(kinds[i].blocks[--kinds[i].count]);
	}
	free_packets();
	packet_count = 0;
}

/* Run by stop_machine() with interrupts off, while every other CPU waits for it. */
static int stand_still(void *unused)
{
	for (;;)
		mdelay(1000);
	return 0;
}

static int obey(const char *word, unsigned int count)
{
	size_t i;

	if (!strcmp(word, "free")) {
		free_all();
		return 0;
	}
	if (!strcmp(word, "warn")) {
		WARN(1, "tidemark_leak: a planted warning\n");
		return 0;
	}
	if (!strcmp(word, "standstill"))
		return stop_machine(stand_still, NULL, NULL);
	if (!strcmp(word, "packet"))
		return leak_packets(count);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(word, kinds[i].name))
			return leak(&kinds[i], count);
	}
	return -EINVAL;
}

static ssize_t leak_write(struct file *file, const char __user *buffer, size_t size,
			  loff_t *position)
{
	char line[64], word[16];
	unsigned int count = 0;
	int error;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, buffer, size))
		return -EFAULT;
	line[size] = '\0';
	if (sscanf(line, "%15s %u", word, &count) < 1)
		return -EINVAL;
	mutex_lock(&lock);
	error = obey(word, count);
	mutex_unlock(&lock);
	return error ? error : size;
}

static int leak_show(struct seq_file *file, void *unused)
{
	size_t i;

	mutex_lock(&lock);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		seq_printf(file, "%s %u\n", kinds[i].name, kinds[i].count);
	seq_printf(file, "packet %u\n", packet_count);
	mutex_unlock(&lock);
	return 0;
}

static int leak_open(struct inode *inode, struct file *file)
{
	return single_open(file, leak_show, NULL);
}

static const struct proc_ops leak_operations = {
	.proc_open = leak_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = leak_write,
};

/* A cache with a constructor is never merged with another. */
static void construct(void *object)
{
	memset(object, 0, CACHE_BYTES);
}

static int __init leak_init(void)
{
	leak_cache = kmem_cache_create("tidemark_leak", CACHE_BYTES, 0, 0, construct);
	if (!leak_cache)
		return -ENOMEM;
	packet_cache = kmem_cache_create("TSPacket", sizeof(struct ts_packet), 0, 0, NULL);
	if (!packet_cache || !proc_create("tidemark_leak", 0600, NULL, &leak_operations)) {
		kmem_cache_destroy(packet_cache);
		kmem_cache_destroy(leak_cache);
		return -ENOMEM;
	}
	return 0;
}

static void __exit leak_exit(void)
{
	remove_proc_entry("tidemark_leak", NULL);
	if (!free_on_unload)
		return;
	free_all();
	rcu_barrier();
	kmem_cache_destroy(packet_cache);
	kmem_cache_destroy(leak_cache);
}

module_init(leak_init);
module_exit(leak_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("leaks memory on demand, for tests of tidemark");
