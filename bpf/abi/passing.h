/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What passing.bpf.c keeps of a process that began and ended while somebody waited for it.
 */
#ifndef TIDEMARK_ABI_PASSING_H
#define TIDEMARK_ABI_PASSING_H

#include <linux/types.h>

#define TM_PASSED_ROOM 8192

/* A pid may be used again: together with the start it is one process. */
struct tm_passed_key {
	__u64 started_boot_ns;
	__u32 pid;
	__u32 padding;
};

struct tm_passed {
	__u64 peak_pages; /* of RSS, over all programs that the process ran; 0: not told (5.10) */
	char comm[16];	  /* its last name */
};

#endif
