// SPDX-License-Identifier: GPL-2.0-only
/*
 * The call shapes of user-space allocators, one program each; which function of which library has
 * which shape is said by userspace/sources/allocators.cpp. Every allocating shape is settled by
 * heap_return at the same function's return; or, where an exception may pass the function (the
 * unwinder can't pass a return probe), by heap_leave on its return instructions and heap_throw.
 */
#include "lib/usdt.bpf.h"

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

/*
 * An allocating call, as two programs: one for the entry alone, and one for a session, which sees
 * the entry and the return and says at the entry whether the return is wanted. A function that an
 * exception may pass never gets the second one.
 */
#define ALLOCATING_CALL(name, track)                                                               \
	SEC("?uprobe")                                                                             \
	int heap_##name(struct pt_regs *ctx)                                                       \
	{                                                                                          \
		union cookie cookie = {};                                                          \
		stay_on_kernel_stack(ctx);                                                         \
		cookie.raw = attach_cookie(ctx);                                                   \
		track;                                                                             \
		return 0;                                                                          \
	}                                                                                          \
	SEC("?uprobe")                                                                             \
	int heap_##name##_session(struct pt_regs *ctx)                                             \
	{                                                                                          \
		union cookie cookie = {};                                                          \
		session_stay_on_kernel_stack(ctx);                                                 \
		if (session_returns(ctx))                                                          \
			return track_return(ctx);                                                  \
		cookie.raw = attach_cookie(ctx);                                                   \
		return track;                                                                      \
	}

/* The arguments of the call, from 0. */
#define ARGUMENT(n) argument(ctx, cookie.fields, n)

/* void *f(size_t size) */
ALLOCATING_CALL(malloc, track_alloc(ctx, cookie.raw, ARGUMENT(0)))

/* void *f(size_t count, size_t size) */
ALLOCATING_CALL(calloc, track_alloc(ctx, cookie.raw, product(ARGUMENT(0), ARGUMENT(1))))

/* void *f(size_t alignment, size_t size) */
ALLOCATING_CALL(memalign, track_alloc(ctx, cookie.raw, ARGUMENT(1)))

/* int f(void **memptr, size_t alignment, size_t size) */
ALLOCATING_CALL(posix_memalign, track_memptr_alloc(ctx, cookie.raw, ARGUMENT(0), ARGUMENT(2)))

/* void *f(void *block, size_t size) */
ALLOCATING_CALL(realloc, track_realloc(ctx, cookie.raw, ARGUMENT(0), ARGUMENT(1), SHAPE_REALLOC))

/* void *f(void *block, size_t count, size_t size) */
ALLOCATING_CALL(reallocarray, track_realloc(ctx, cookie.raw, ARGUMENT(0),
					    product(ARGUMENT(1), ARGUMENT(2)), SHAPE_REALLOC))

/* void *f(void *block, size_t size): frees the block on failure */
ALLOCATING_CALL(reallocf, track_realloc(ctx, cookie.raw, ARGUMENT(0), ARGUMENT(1), SHAPE_REALLOCF))

/* size_t f(void *block, size_t size, ...): in place; the result is the size that it has now */
ALLOCATING_CALL(resize, track_realloc(ctx, cookie.raw, ARGUMENT(0), ARGUMENT(1), SHAPE_RESIZE))

/* void *f(arena, size_t count, size_t size) */
ALLOCATING_CALL(arena_calloc, track_alloc(ctx, cookie.raw, product(ARGUMENT(1), ARGUMENT(2))))

/* void *f(arena, void *block, size_t size) */
ALLOCATING_CALL(arena_realloc,
		track_realloc(ctx, cookie.raw, ARGUMENT(1), ARGUMENT(2), SHAPE_REALLOC))

/* void f(void *block, ...) that may call another function of the allocator to do it */
SEC("?uprobe")
int heap_delete(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_delete(ctx, attach_cookie(ctx));
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
	return track_free(ctx, attach_cookie(ctx));
}

/* otel_memory:alloc(void *address, u64 size, u64 weight), a USDT probe */
SEC("?uprobe")
int heap_usdt_alloc(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_usdt_alloc(ctx, attach_cookie(ctx));
}

/* otel_memory:free(void *address) */
SEC("?uprobe")
int heap_usdt_free(struct pt_regs *ctx)
{
	stay_on_kernel_stack(ctx);
	return track_usdt_free(ctx, attach_cookie(ctx));
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
