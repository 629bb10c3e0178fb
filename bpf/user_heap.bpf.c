// SPDX-License-Identifier: GPL-2.0-only
/*
 * The call shapes of user-space allocators, one program each; which function of which library has
 * which shape is said by userspace/sources/allocators.cpp. Every allocating shape is settled by
 * heap_return at the same function's return; or, where an exception may pass the function (the
 * unwinder can't pass a return probe), by heap_leave on its return instructions and heap_throw.
 */
#include "lib/sample.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* n * size, or the largest number where that overflows: such a call fails. */
static __always_inline u64 product(u64 count, u64 size)
{
	u64 limit = count ? ~0UL / count : ~0UL;

	/* Hides the test from clang, which would make a 128-bit multiplication of it that BPF does
	 * not have. */
	barrier_var(limit);
	return size > limit ? ~0UL : count * size;
}

/* void *f(size_t size) */
SEC("?uprobe")
int heap_malloc(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_alloc(ctx, attach_cookie(ctx), PT_REGS_PARM1(ctx));
}

/* void *f(size_t count, size_t size) */
SEC("?uprobe")
int heap_calloc(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_alloc(ctx, attach_cookie(ctx),
			   product(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx)));
}

/* void *f(size_t alignment, size_t size) */
SEC("?uprobe")
int heap_memalign(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_alloc(ctx, attach_cookie(ctx), PT_REGS_PARM2(ctx));
}

/* int f(void **memptr, size_t alignment, size_t size) */
SEC("?uprobe")
int heap_posix_memalign(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_memptr_alloc(ctx, attach_cookie(ctx), PT_REGS_PARM1(ctx), PT_REGS_PARM3(ctx));
}

/* void *f(void *block, size_t size) */
SEC("?uprobe")
int heap_realloc(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_realloc(ctx, attach_cookie(ctx), PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx),
			     SHAPE_REALLOC);
}

/* void *f(void *block, size_t count, size_t size) */
SEC("?uprobe")
int heap_reallocarray(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_realloc(ctx, attach_cookie(ctx), PT_REGS_PARM1(ctx),
			     product(PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx)), SHAPE_REALLOC);
}

/* void *f(void *block, size_t size): frees the block on failure */
SEC("?uprobe")
int heap_reallocf(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_realloc(ctx, attach_cookie(ctx), PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx),
			     SHAPE_REALLOCF);
}

/* size_t f(void *block, size_t size, ...): in place; the result is the size that it has now */
SEC("?uprobe")
int heap_resize(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_realloc(ctx, attach_cookie(ctx), PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx),
			     SHAPE_RESIZE);
}

/* void *f(arena, size_t count, size_t size) */
SEC("?uprobe")
int heap_arena_calloc(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_alloc(ctx, attach_cookie(ctx),
			   product(PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx)));
}

/* void *f(arena, void *block, size_t size) */
SEC("?uprobe")
int heap_arena_realloc(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_realloc(ctx, attach_cookie(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx),
			     SHAPE_REALLOC);
}

/* void f(void *block, ...) that may call another function of the allocator to do it */
SEC("?uprobe")
int heap_delete(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_delete(attach_cookie(ctx), PT_REGS_PARM1(ctx));
}

/* void f(arena): frees all blocks of it */
SEC("?uprobe")
int heap_bulk_free(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_bulk_free(attach_cookie(ctx));
}

/* void f(void *block) */
SEC("?uprobe")
int heap_free(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_free(attach_cookie(ctx), PT_REGS_PARM1(ctx));
}

/* otel_memory:alloc(void *address, u64 size, u64 weight), a USDT probe */
SEC("?uprobe")
int heap_sample(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_sample(ctx, attach_cookie(ctx));
}

/* otel_memory:free(void *address) */
SEC("?uprobe")
int heap_sample_free(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_sample_free(ctx, attach_cookie(ctx));
}

/* The return of every allocating shape. */
SEC("?uprobe")
int heap_return(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_return(ctx);
}

/* A return instruction of an allocating function that has no return probe. */
SEC("?uprobe")
int heap_leave(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_leave(ctx);
}

/* The C++ runtime makes an exception. */
SEC("?uprobe")
int heap_throw(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_throw(ctx);
}

/* The dynamic linker's hook for debuggers: the list of libraries has changed. */
SEC("?uprobe")
int heap_library(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_library();
}
