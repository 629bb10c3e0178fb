// SPDX-License-Identifier: Apache-2.0
//
// uint64_t harm_call(void* function, const uint64_t* arguments, struct seen* seen)
//
// Calls it with known values in the registers that a call has to leave alone, in the 16 words above
// the return address and in the 64 words from the return address down, which are its to use; and
// notes what is there afterwards. struct seen is harm.c's.
  .text
  .globl harm_call
  .type harm_call, @function
harm_call:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  push %rdx
  sub $128, %rsp
  mov $0x5a00c0de00000010, %rax
  xor %ecx, %ecx
1:
  mov %rax, (%rsp,%rcx,8)
  inc %rax
  inc %ecx
  cmp $16, %ecx
  jne 1b
  mov %rsp, 200(%rdx)
  // The identification flag is a program's to set and no call's to change.
  pushf
  pop %rax
  xor 208(%rdx), %rax
  mov %rax, 208(%rdx)
  push %rax
  popf
  mov $0x5a00c0de00000100, %rax
  mov $-64, %rcx
2:
  mov %rax, (%rsp,%rcx,8)
  inc %rcx
  jnz 2b
  mov %rdi, %rax
  mov %rsi, %r11
  mov (%r11), %rdi
  mov 8(%r11), %rsi
  mov 16(%r11), %rdx
  mov 24(%r11), %rcx
  mov $0x5a00c0de00000000, %rbx
  mov $0x5a00c0de00000001, %rbp
  mov $0x5a00c0de00000002, %r12
  mov $0x5a00c0de00000003, %r13
  mov $0x5a00c0de00000004, %r14
  mov $0x5a00c0de00000005, %r15
  call *%rax
  mov 128(%rsp), %rdx
  mov $-64, %rcx
3:
  mov (%rsp,%rcx,8), %r8
  mov %r8, 216+512(%rdx,%rcx,8)
  inc %rcx
  jnz 3b
  mov %rbx, (%rdx)
  mov %rbp, 8(%rdx)
  mov %r12, 16(%rdx)
  mov %r13, 24(%rdx)
  mov %r14, 32(%rdx)
  mov %r15, 40(%rdx)
  pushf
  pop %rcx
  mov %rcx, 48(%rdx)
  mov %rsp, %rcx
  sub 200(%rdx), %rcx
  mov %rcx, 56(%rdx)
  xor %ecx, %ecx
4:
  mov (%rsp,%rcx,8), %r8
  mov %r8, 64(%rdx,%rcx,8)
  inc %ecx
  cmp $16, %ecx
  jne 4b
  stmxcsr 192(%rdx)
  movl $0, 196(%rdx)
  fnstcw 196(%rdx)
  add $136, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
  .size harm_call, . - harm_call

  .globl harm_spoil_register
harm_spoil_register:
  inc %rbx
  ret
  .globl harm_spoil_flags
harm_spoil_flags:
  pushf
  xorl $0x200000, (%rsp)
  popf
  ret
  .globl harm_spoil_above
harm_spoil_above:
  incq 16(%rsp)
  ret
// Into the red zone, if it is told to.
  .globl harm_spoil_below
harm_spoil_below:
  test %rdi, %rdi
  je 5f
  mov %rdi, -72(%rsp)
5:
  ret
  .section .note.GNU-stack, "", @progbits
