// The doors of the Linux boot protocol (Linux Documentation/arch/x86/boot.rst).
//
// A loader puts us where it likes, and clears nothing. We may use `init_size`
// bytes from the next multiple of `kernel_alignment` on, and move there. This
// code lies in the image's first page, so that a copy to any place above, at
// least a page away, leaves it whole.

// True on entry: 32-bit protected mode, paging off, flat segments, interrupts
// off, ESI = physical address of boot_params, no stack. At the image's start.
.section .entry.first, "ax"
.code32
.globl linux_door_32
linux_door_32:
    cli
    cld
    find_window 0x1e8(%esi)                 // the field `scratch` is for this
    mov     %esi, %ebx
    lea     (ALIGNMENT - 1)(%edi), %edx
    and     $-ALIGNMENT, %edx
    cmp     %edi, %edx
    je      1f
    mov     $load_bytes, %ecx               // backwards: the two may overlap
    lea     -4(%edi,%ecx), %esi
    lea     -4(%edx,%ecx), %edi
    shr     $2, %ecx
    std
    rep     movsl
    cld
    mov     %edx, %edi
    lea     (1f - KERNEL_BASE)(%edi), %eax
    jmp     *%eax
1:  mov     %edi, %edx
    add     $load_bytes, %edi
    mov     $bss_bytes, %ecx
    shr     $2, %ecx
    xor     %eax, %eax
    rep     stosl
    mov     %edx, %edi
    mov     $DOOR_LINUX, %ebp
    jmp     protected_mode

// True on entry: 64-bit mode, an identity map of this image, of the boot
// parameters and the command line, interrupts off, RSI = physical address of
// boot_params, no stack. 0x200 past the image's start.
.org 0x200
.code64
.globl linux_door_64
linux_door_64:
    cli
    cld
    mov     %rsi, %rbx
    lea     __window_start(%rip), %rsi
    lea     (ALIGNMENT - 1)(%rsi), %rdx
    and     $-ALIGNMENT, %rdx
    cmp     %rsi, %rdx
    je      2f
    mov     $load_bytes, %ecx
    lea     -8(%rsi,%rcx), %rsi
    lea     -8(%rdx,%rcx), %rdi
    shr     $3, %ecx
    std
    rep     movsq
    cld
    lea     (2f - KERNEL_BASE)(%rdx), %rax
    jmp     *%rax
2:  lea     load_bytes(%rdx), %rdi
    mov     $bss_bytes, %ecx
    shr     $3, %ecx
    xor     %eax, %eax
    rep     stosq
    mov     %rbx, entry_state+56(%rip)
    mov     $DOOR_LINUX, %ebp
    jmp     long_mode
