// Down into S3, and up again.
//
// The processor's reset loses everything; memory stays. So what Rust needs is
// noted before, and firmware enters a page below 1 MiB in real mode, which
// finds the way back up.

.set CR0_PE,        1 << 0
.set MSR_EFER,      0xc0000080
.set MSR_PAT,       0x277
.set EFER_KEPT,     0x901           // SCE, LME, NXE; LMA follows by itself
.set CODE64,        0x10
.set DATA,          0x18
.set CODE32,        0x20
.set KERNEL_BASE,   0xffffffff80000000  // as in link.ld

// ---------------------------------------------------------------------------
// u64 s3_down(go: extern "C" fn(*const ()), argument: *const ())
//
// Notes the processor's state and calls `go`, which puts the machine to sleep.
// Returns 0 if `go` returns, and 1 when the machine was woken.
.section .text.s3, "ax"
.code64
.globl s3_down
s3_down:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    sub     $8, %rsp
    mov     %rsp, s3_stack(%rip)
    mov     %cr0, %rax
    mov     %rax, s3_cr0(%rip)
    mov     %cr3, %rax
    mov     %rax, s3_cr3(%rip)
    mov     %cr4, %rax
    mov     %rax, s3_cr4(%rip)
    mov     $MSR_EFER, %ecx
    rdmsr
    and     $EFER_KEPT, %eax
    mov     %eax, s3_efer(%rip)
    mov     $MSR_PAT, %ecx
    rdmsr
    mov     %eax, s3_pat(%rip)
    mov     %edx, s3_pat+4(%rip)
    mov     %rdi, %rax
    mov     %rsi, %rdi
    call    *%rax
    xor     %eax, %eax
20: add     $8, %rsp
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret

// ---------------------------------------------------------------------------
// In the window again: 32-bit protected mode, paging off, the trampoline's flat
// segments, EBX = the window's physical start.
.code32
.globl s3_wake
s3_wake:
    mov     $DATA, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    lea     (s3_small_stack_top - KERNEL_BASE)(%ebx), %esp
    mov     (s3_cr4 - KERNEL_BASE)(%ebx), %eax  // the depth before paging is on
    mov     %eax, %cr4
    mov     (s3_cr3 - KERNEL_BASE)(%ebx), %eax
    mov     %eax, %cr3
    mov     $MSR_EFER, %ecx
    mov     (s3_efer - KERNEL_BASE)(%ebx), %eax
    xor     %edx, %edx
    wrmsr
    mov     (s3_cr0 - KERNEL_BASE)(%ebx), %eax
    mov     %eax, %cr0                          // compatibility mode from here
    lea     (boot_gdt - KERNEL_BASE)(%ebx), %eax
    mov     %eax, (s3_gdtr - KERNEL_BASE + 2)(%ebx)
    movl    $0, (s3_gdtr - KERNEL_BASE + 6)(%ebx)
    lgdt    (s3_gdtr - KERNEL_BASE)(%ebx)
    lea     (21f - KERNEL_BASE)(%ebx), %eax
    push    $CODE64
    push    %eax
    lret
.code64
21: movabs  $22f, %rax
    jmp     *%rax
22: movabs  $boot_gdt, %rax
    mov     %rax, s3_gdtr+2(%rip)
    lgdt    s3_gdtr(%rip)
    mov     $DATA, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    xor     %eax, %eax
    mov     %eax, %fs
    mov     %eax, %gs
    mov     $MSR_PAT, %ecx
    mov     s3_pat(%rip), %eax
    mov     s3_pat+4(%rip), %edx
    wrmsr
    fninit
    mov     s3_stack(%rip), %rsp
    mov     $1, %eax
    jmp     20b

// ---------------------------------------------------------------------------
// The trampoline: copied into a page below 1 MiB, where `s3/mod.rs` fills in
// the three places that say where it and the window are.
//
// True on entry (ACPI 6.5 section 5.2.10, firmware waking vector): real mode,
// CS = the page's segment, IP = 0, interrupts off. Nothing else.
.section .rodata.s3, "a"
.code16
.globl s3_trampoline
s3_trampoline:
    cli
    cld
    mov     %cs, %ax
    mov     %ax, %ds
    .byte   0x66, 0xbb                          // mov $window, %ebx
.globl s3_place_window
s3_place_window:
    .long   0
    .byte   0x66, 0x0f, 0x01, 0x16              // lgdt, 32-bit base
    .word   s3_trampoline_gdtr - s3_trampoline
    mov     %cr0, %eax
    or      $CR0_PE, %al
    mov     %eax, %cr0
    .byte   0x66, 0xea                          // ljmp $CODE32, $s3_wake
.globl s3_place_target
s3_place_target:
    .long   0
    .word   CODE32
    .balign 8
.globl s3_trampoline_gdt
s3_trampoline_gdt:
    .quad   0
    .quad   0
    .quad   0x00af9b000000ffff                  // as `boot_gdt`
    .quad   0x00cf93000000ffff
    .quad   0x00cf9b000000ffff
s3_trampoline_gdtr:
    .word   39
.globl s3_place_gdt
s3_place_gdt:
    .long   0
.globl s3_trampoline_end
s3_trampoline_end:
.code64

.section .data.s3, "aw"
.balign 16
s3_gdtr:
    .word   55
    .quad   0
    .balign 8
s3_stack:
    .quad   0
s3_cr0:
    .quad   0
s3_cr3:
    .quad   0
s3_cr4:
    .quad   0
s3_efer:
    .quad   0
s3_pat:
    .quad   0
s3_small_stack:
    .skip   64
s3_small_stack_top:
.text
