// SPDX-License-Identifier: Apache-2.0
//
// For the self-test of check.vmlinux: mistakes of every kind against
// vmlinux_kernel.bpf.c; tgid and vm_end are right. Never loaded.
typedef struct {
  int no_counter;
} atomic_t;
struct list {
  unsigned int next;
};

struct signal_struct {
  atomic_t live;
  unsigned int group_exit_code;
  short flags;
};
struct mm_struct {
  int start_stack;
};
struct task_struct {
  int state;
  long pid;
  int tgid;
  int no_such_field;
  struct signal_struct* mm;
  struct list signal;
  char comm[15];
  unsigned int in_execve;
};
struct vm_area_struct {
  unsigned long* vm_start;
  unsigned long vm_end;
};
struct pt_regs {
  unsigned long r14, r15;
  unsigned short cs;
};
struct no_such_struct {
  int x;
};

struct signal_struct a;
struct mm_struct b;
struct task_struct c;
struct vm_area_struct d;
struct pt_regs e;
struct no_such_struct f;
