// SPDX-License-Identifier: Apache-2.0
//
// Stands in for libbpf's header of this name when our BPF programs are compiled for the host: the
// helpers are ordinary functions of kernel.cpp, a map is the address that it is declared at. Placed
// before libbpf's on the include path; the same guard keeps that one out whoever asks for it.
#ifndef __BPF_HELPERS__
#define __BPF_HELPERS__

#include <linux/bpf.h>
#include <stddef.h>

#define __uint(name, number) int(*name)[number]
#define __type(name, type_of_it) __typeof__(type_of_it)* name
#define SEC(name)

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#undef __noinline
#define __noinline __attribute__((noinline))
// kernel.cpp defines the loader's constants again, strong and writable.
#undef __weak
#define __weak __attribute__((weak))
#define barrier_var(variable) __asm__ volatile("" : "+r"(variable))

#ifdef __cplusplus
extern "C" {
#endif

struct task_struct;

void* bpf_map_lookup_elem(void* map, const void* key);
void* bpf_map_lookup_percpu_elem(void* map, const void* key, __u32 cpu);
long bpf_map_update_elem(void* map, const void* key, const void* value, __u64 flags);
long bpf_map_delete_elem(void* map, const void* key);
void* bpf_task_storage_get(void* map, struct task_struct* task, void* value, __u64 flags);
long bpf_ringbuf_output(void* ring, void* data, __u64 size, __u64 flags);
void* bpf_ringbuf_reserve(void* ring, __u64 size, __u64 flags);
void bpf_ringbuf_submit(void* data, __u64 flags);
__u64 bpf_ringbuf_query(void* ring, __u64 flags);
long bpf_probe_read_kernel(void* into, __u32 size, const void* address);
long bpf_probe_read_user(void* into, __u32 size, const void* user_address);
long bpf_probe_read_kernel(void* into, __u32 size, const void* address);
long bpf_probe_read_kernel_str(void* into, __u32 size, const void* address);
long bpf_get_stack(void* context, void* into, __u32 size, __u64 flags);
long bpf_tail_call(void* context, void* programs, __u32 index);
__u64 bpf_ktime_get_ns(void);
__u64 bpf_get_attach_cookie(void* context);
__u64 bpf_get_func_ip(void* context);
__u32 bpf_get_prandom_u32(void);
__u64 bpf_get_current_pid_tgid(void);
__u64 bpf_get_current_task(void);
struct task_struct* bpf_get_current_task_btf(void);

#ifdef __cplusplus
}
#endif

#endif
