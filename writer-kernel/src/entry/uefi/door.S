// The door for UEFI firmware: this file is an application (UEFI 2.10, 2.1.2).
//
// True on entry (2.3.4): 64-bit mode, all memory identity-mapped, interrupts on,
// RCX = our handle, RDX = the system table, the firmware's stack, which is at
// least 128 KiB and stays in use until boot services are left.
//
// The image lies wherever the firmware put it. A window is allocated and filled,
// where every loader puts us if that is free; what goes wrong until boot services
// are left ends in the firmware again.

.set LOADER_CODE,   1                       // memory that may be executed
.set BELOW,         1                       // allocate below the given address
.set AT,            2                       // allocate there
.set BOOT_SERVICES, 96                      // in the system table
.set ALLOCATE_PAGES, 40                     // in the boot services

.section .entry, "ax"
.code64
.globl uefi_door
uefi_door:
    push    %rbx
    push    %rbp
    push    %rsi
    push    %rdi
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    sub     $40, %rsp                       // room for four arguments, and an address
    cld
    mov     %rcx, %r12
    mov     %rdx, %r13
    mov     BOOT_SERVICES(%r13), %rbx
    mov     $load_base, %eax
    mov     %rax, 32(%rsp)
    mov     $AT, %ecx
    mov     $LOADER_CODE, %edx
    mov     $(ALIGNMENT / 4096), %r8d
    lea     32(%rsp), %r9
    call    *ALLOCATE_PAGES(%rbx)
    test    %rax, %rax
    jz      1f
    mov     $0xffffffff, %eax
    mov     %rax, 32(%rsp)
    mov     $BELOW, %ecx
    mov     $LOADER_CODE, %edx
    mov     $(2 * ALIGNMENT / 4096), %r8d   // an aligned window fits
    lea     32(%rsp), %r9
    call    *ALLOCATE_PAGES(%rbx)
    test    %rax, %rax
    jnz     uefi_return

1:  mov     32(%rsp), %rbx
    add     $(ALIGNMENT - 1), %rbx
    and     $-ALIGNMENT, %rbx
    mov     %rbx, %rdi
    lea     __window_start(%rip), %rsi
    mov     $load_bytes, %ecx
    shr     $3, %ecx
    rep     movsq
    mov     $bss_bytes, %ecx
    shr     $3, %ecx
    xor     %eax, %eax
    rep     stosq
    lea     (1f - KERNEL_BASE)(%rbx), %rax
    jmp     *%rax

    // In the window. Rust needs its virtual address beside the firmware's
    // identity map: the firmware's top-level table, with one more entry.
1:  mov     %rbx, window_base(%rip)
    mov     %cr3, %rsi
    mov     %rsi, %r14
    and     $-4096, %rsi
    lea     table_pool(%rip), %rdx
    mov     %rdx, %rdi
    mov     $512, %ecx
    rep     movsq
    mov     %rdx, %rdi
    mov     %cr4, %rax
    test    $CR4_LA57, %eax
    jz      2f
    lea     0x3000+TABLE(%rdx), %rax
    mov     %rax, 511*8(%rdx)
    lea     0x3000(%rdx), %rdi
2:  lea     0x1000+TABLE(%rdx), %rax
    mov     %rax, 511*8(%rdi)
    lea     0x2000+TABLE(%rdx), %rax
    mov     %rax, 0x1000+510*8(%rdx)
    lea     LARGE_PAGE(%rbx), %rax
    mov     %rax, 0x2000(%rdx)
    cli
    mov     %rdx, %cr3
    mov     %r12, %rdi
    mov     %r13, %rsi
    movabs  $leave_boot_services, %rax
    call    *%rax
    test    %rax, %rax
    jnz     3f
    mov     $DOOR_UEFI, %ebp
    jmp     long_mode
3:  mov     %r14, %cr3
    sti
uefi_return:
    add     $40, %rsp
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rdi
    pop     %rsi
    pop     %rbp
    pop     %rbx
    ret
