// SPDX-License-Identifier: Apache-2.0
//
// Functions written by hand, which say by directives where their frames are.
  .text

// void assembly_outer(void (*callee)(void)): pushes, moves the stack pointer, calls in between.
  .globl assembly_outer
  .type assembly_outer, @function
assembly_outer:
  .cfi_startproc
  push %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset %rbx, 0
  sub $4096, %rsp
  .cfi_adjust_cfa_offset 4096
  test %rdi, %rdi
  .cfi_remember_state
  jz 1f
  // rbp is nothing but a number here, and one that looks like a frame.
  push %rbp
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset %rbp, 0
  lea 64(%rsp), %rbp
  movq $0, (%rbp)
  movq $0, 8(%rbp)
  sub $8, %rsp
  .cfi_adjust_cfa_offset 8
  call assembly_inner
  add $8, %rsp
  .cfi_adjust_cfa_offset -8
  pop %rbp
1:
  .cfi_restore_state
  add $4096, %rsp
  .cfi_adjust_cfa_offset -4096
  pop %rbx
  .cfi_adjust_cfa_offset -8
  .cfi_restore %rbx
  ret
  .cfi_endproc
  .size assembly_outer, . - assembly_outer

// A frame by rbp, which lies where no compiler would put it.
  .type assembly_inner, @function
assembly_inner:
  .cfi_startproc
  sub $40, %rsp
  .cfi_adjust_cfa_offset 40
  mov %rbp, 8(%rsp)
  .cfi_rel_offset %rbp, 8
  lea 24(%rsp), %rbp
  .cfi_def_cfa %rbp, 24
  sub $512, %rsp
  call *%rdi
  add $512, %rsp
  .cfi_def_cfa %rsp, 48
  mov 8(%rsp), %rbp
  .cfi_restore %rbp
  add $40, %rsp
  .cfi_adjust_cfa_offset -40
  ret
  .cfi_endproc
  .size assembly_inner, . - assembly_inner

// void assembly_unknown(void (*callee)(void)): its frame hangs on rbx, which a walk does not follow.
  .globl assembly_unknown
  .type assembly_unknown, @function
assembly_unknown:
  .cfi_startproc
  push %rbx
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset %rbx, 0
  mov %rsp, %rbx
  .cfi_def_cfa %rbx, 16
  and $-64, %rsp
  call *%rdi
  mov %rbx, %rsp
  .cfi_def_cfa %rsp, 16
  pop %rbx
  .cfi_adjust_cfa_offset -8
  .cfi_restore %rbx
  ret
  .cfi_endproc
  .size assembly_unknown, . - assembly_unknown

  .section .note.GNU-stack, "", @progbits
