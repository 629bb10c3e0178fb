// SPDX-License-Identifier: Apache-2.0
//
// For the self-test of check.vmlinux: a kernel with fields in all the ways that real ones have
// them: behind typedefs and const, in anonymous members, among others. Never loaded.
typedef int pid_number;
typedef struct {
  int counter;
} atomic_t;
enum state { IDLE };
struct list {
  struct list* next;
};

struct signal_struct {
  struct list members;
  atomic_t live;
  const volatile int group_exit_code;
  unsigned int flags;
};
struct mm_struct {
  struct {
    long first;
    unsigned long start_stack;
  };
};
struct task_struct {
  enum state state;
  pid_number pid;
  pid_number tgid;
  int exit_code;
  struct mm_struct* mm;
  struct signal_struct* signal;
  char comm[16];
  unsigned int in_execve : 1;
};
struct vm_area_struct {
  union {
    struct {
      unsigned long vm_start;
      unsigned long vm_end;
    };
    long lock;
  };
};
struct pt_regs {
  unsigned long r15, r14;
  union {
    unsigned short cs;
    unsigned long csx;
  };
};

struct signal_struct a;
struct mm_struct b;
struct task_struct c;
struct vm_area_struct d;
struct pt_regs e;
