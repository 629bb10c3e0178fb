// SPDX-License-Identifier: Apache-2.0
//
// Names every type of vmlinux.h, so that this object's BTF describes them as our programs see them.
// Never loaded. check.vmlinux fails if a type of the header is missing here.
#include "vmlinux.h"

struct pt_regs ours_pt_regs;
struct signal_struct ours_signal_struct;
struct mm_struct ours_mm_struct;
struct task_struct ours_task_struct;
