// The ways in, and the way out.
//
// Assembly makes an environment for Rust, and nothing more: a stack, SSE, long
// mode, page tables that map this program at its virtual address and at its
// physical one. Until those are loaded we run wherever we were put, so all
// addresses are relative to the instruction pointer, and symbols mean physical
// addresses.

.set CR0_PE,        1 << 0
.set CR0_MP,        1 << 1
.set CR0_EM,        1 << 2
.set CR0_TS,        1 << 3
.set CR0_ET,        1 << 4
.set CR0_NE,        1 << 5
.set CR0_WP,        1 << 16
.set CR0_PG,        0x80000000
.set CR0_NOT_PG,    0x7fffffff
.set CR4_PAE,       1 << 5
.set CR4_OSFXSR,    1 << 9
.set CR4_OSXMMEXCPT,1 << 10
.set CR4_LA57,      1 << 12
.set MSR_EFER,      0xc0000080
.set MSR_PAT,       0x277
.set EFER_LME,      1 << 8
.set EFER_NXE,      1 << 11
.set TABLE,         0x3             // present, writable
.set LARGE_PAGE,    0x83            // present, writable, 2 MiB
.set CODE64,        0x10
.set DATA,          0x18
.set CODE32,        0x20
.set DOOR_KEXEC,    1
.set DOOR_PVH,      2
.set DOOR_MOVED,    3
.set DOOR_MULTIBOOT2, 4
.set DOOR_LINUX,    5
.set DOOR_UEFI,     6
.set KERNEL_BASE,   0xffffffff80000000  // as in link.ld
.set ALIGNMENT,     0x200000            // of the window

// ---------------------------------------------------------------------------
// The kexec door.
//
// True on entry (Linux arch/x86/kernel/relocate_kernel_64.S): 64-bit mode, an
// identity map of all RAM, interrupts off, [rsp] = jump-back entry, CR4 = PAE
// (and LA57 as the old kernel had it), the window's former contents safe in
// the old kernel's own pages. GDTR and IDTR may be empty.
.section .entry, "ax"
.code64
.globl kexec_door
kexec_door:
    cli
    cld
    // The stamp is used up once this program has run: whoever jumps here again
    // without loading it anew is sent straight back.
    cmpb    $0, door_used(%rip)
    jne     send_back
    movb    $1, door_used(%rip)
    mov     %rsp, entry_state+0(%rip)
    mov     (%rsp), %rax
    mov     %rax, entry_state+8(%rip)
    mov     %cr0, %rax
    mov     %rax, entry_state+16(%rip)
    mov     %cr3, %rax
    mov     %rax, entry_state+24(%rip)
    mov     %cr4, %rax
    mov     %rax, entry_state+32(%rip)
    mov     $MSR_EFER, %ecx
    rdmsr
    mov     %eax, entry_state+40(%rip)
    mov     %edx, entry_state+44(%rip)
    mov     $MSR_PAT, %ecx
    rdmsr
    mov     %eax, entry_state+48(%rip)
    mov     %edx, entry_state+52(%rip)
    mov     $DOOR_KEXEC, %ebp
    jmp     long_mode

// The GDT for the way back is in the old kernel's memory by now.
send_back:
    lgdt    old_gdtr(%rip)
    pop     %rax
    lea     kexec_door(%rip), %rcx
    push    %rcx
    jmp     *%rax

// ---------------------------------------------------------------------------
// Doors in 32-bit mode begin without an instruction pointer, as `call` takes a
// stack. This borrows the doubleword below `scratch` for one return address,
// and puts it back. Leaves EDI = the window's physical start.
.macro find_window scratch
    lea     \scratch, %esp
    mov     -4(%esp), %ecx
    call    find_window_\@
find_window_\@:
    pop     %edi
    mov     %ecx, -4(%esp)
    sub     $(find_window_\@ - KERNEL_BASE), %edi
.endm

// All doors in 32-bit mode meet. EDI = the window's physical start, EBX = what
// the loader passed, EBP = the door. Paging off, flat segments.
.code32
protected_mode:
    lea     (boot_stack_top - KERNEL_BASE)(%edi), %esp
    mov     %ebx, (entry_state - KERNEL_BASE + 56)(%edi)

    // Identity map of the first 4 GiB in 2 MiB pages: PML4, PDPT, four PDs.
    lea     (table_pool - KERNEL_BASE)(%edi), %esi
    lea     0x1000(%esi), %eax
    or      $TABLE, %eax
    mov     %eax, (%esi)
    xor     %ecx, %ecx
2:  mov     %ecx, %eax
    shl     $12, %eax
    lea     0x2000+TABLE(%esi,%eax), %eax
    mov     %eax, 0x1000(%esi,%ecx,8)
    inc     %ecx
    cmp     $4, %ecx
    jb      2b
    xor     %ecx, %ecx
3:  mov     %ecx, %eax
    shl     $21, %eax
    or      $LARGE_PAGE, %eax
    mov     %eax, 0x2000(%esi,%ecx,8)
    inc     %ecx
    cmp     $2048, %ecx
    jb      3b

    mov     $CR4_PAE, %eax
    mov     %eax, %cr4
    mov     %esi, %cr3
    mov     $MSR_EFER, %ecx
    rdmsr
    or      $(EFER_LME | EFER_NXE), %eax
    wrmsr
    mov     $(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG), %eax
    mov     %eax, %cr0                          // compatibility mode from here

    lea     (boot_gdt - KERNEL_BASE)(%edi), %eax
    mov     %eax, (boot_gdtr - KERNEL_BASE + 2)(%edi)
    lgdt    (boot_gdtr - KERNEL_BASE)(%edi)
    lea     (4f - KERNEL_BASE)(%edi), %eax
    push    $CODE64
    push    %eax
    lret
.code64
4:  jmp     long_mode

// ---------------------------------------------------------------------------
// The copy of this program in another window begins here (64-bit, identity
// map of this window and the former one).
.globl moved_door
moved_door:
    mov     $DOOR_MOVED, %ebp
    // Falls through.

// ---------------------------------------------------------------------------
// All doors meet: 64-bit mode, this window identity-mapped, EBP = the door.
// Leaves with own tables, stack and GDT, at the virtual address.
.globl long_mode
long_mode:
    lea     boot_stack_top(%rip), %rsp
    lea     __window_start(%rip), %rbx

    lea     boot_tables(%rip), %rdi
    xor     %eax, %eax
    mov     $(6 * 4096 / 8), %ecx
    rep     stosq

    lea     boot_tables(%rip), %rdi         // PML4
    lea     0x1000+TABLE(%rdi), %rax        // its last entry: this program
    mov     %rax, 511*8(%rdi)
    lea     0x2000+TABLE(%rdi), %rax
    mov     %rax, 0x1000+510*8(%rdi)
    lea     LARGE_PAGE(%rbx), %rax
    mov     %rax, 0x2000(%rdi)

    mov     %rbx, %rcx                      // and the identity map of the same
    shr     $39, %rcx
    and     $511, %ecx
    lea     0x3000+TABLE(%rdi), %rax
    mov     %rax, (%rdi,%rcx,8)
    mov     %rbx, %rcx
    shr     $30, %rcx
    and     $511, %ecx
    lea     0x4000+TABLE(%rdi), %rax
    mov     %rax, 0x3000(%rdi,%rcx,8)
    mov     %rbx, %rcx
    shr     $21, %rcx
    and     $511, %ecx
    lea     LARGE_PAGE(%rbx), %rax
    mov     %rax, 0x4000(%rdi,%rcx,8)

    mov     %cr4, %rax                      // five levels: both halves meet in one PML4
    test    $CR4_LA57, %eax
    jz      5f
    lea     TABLE(%rdi), %rax
    mov     %rax, 0x5000(%rdi)
    mov     %rax, 0x5000+511*8(%rdi)
    lea     0x5000(%rdi), %rdi
5:  mov     %rdi, %cr3
    mov     %rbx, window_base(%rip)

    // SSE for the Rust code to come.
    mov     %cr0, %rax
    and     $~(CR0_EM | CR0_TS), %rax
    or      $(CR0_MP | CR0_NE | CR0_WP), %rax
    mov     %rax, %cr0
    mov     %cr4, %rax
    or      $(CR4_OSFXSR | CR4_OSXMMEXCPT), %rax
    mov     %rax, %cr4
    mov     $MSR_EFER, %ecx
    rdmsr
    or      $EFER_NXE, %eax
    wrmsr

    movabs  $6f, %rax
    jmp     *%rax
6:  movabs  $boot_gdt, %rax
    mov     %rax, boot_gdtr+2(%rip)
    lgdt    boot_gdtr(%rip)
    mov     $DATA, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    xor     %eax, %eax
    mov     %eax, %fs
    mov     %eax, %gs
    movabs  $main_stack_top, %rsp
    pushq   $CODE64
    lea     7f(%rip), %rax
    push    %rax
    lretq
7:  xor     %eax, %eax
    push    %rax                            // a return address of 0 ends back traces,
    push    %rax                            // and the stack is aligned to 16 again
    mov     %ebp, %edi
    xor     %ebp, %ebp
    call    rust_start
    ud2

// ---------------------------------------------------------------------------
// The way out: into the old kernel, at its jump-back entry.
//
// In: RDI = physical address of `struct way_out` (identity-mapped, in this
// window). True on leaving: what was true when the old kernel called us: its
// identity map, its control registers, [rsp] = where to enter next time, and a
// GDT that stays valid under its own page tables.
.globl way_out
.globl way_out_identity
way_out:                                    // still at the virtual address
    cli
    mov     window_base(%rip), %rax
    add     $(way_out_identity - KERNEL_BASE), %rax
    jmp     *%rax
way_out_identity:
    lea     boot_stack_top(%rip), %rsp
    mov     %rdi, %rbx
    mov     40(%rbx), %eax                  // EFER
    mov     44(%rbx), %edx
    mov     $MSR_EFER, %ecx
    wrmsr
    mov     48(%rbx), %eax                  // PAT
    mov     52(%rbx), %edx
    mov     $MSR_PAT, %ecx
    wrmsr
    mov     24(%rbx), %rax                  // CR3 before CR4: the tables' depth is the same
    mov     %rax, %cr3
    mov     32(%rbx), %rax
    mov     %rax, %cr4
    mov     16(%rbx), %rax
    mov     %rax, %cr0
    lidt    null_idtr(%rip)
    mov     56(%rbx), %rax                  // keep the GDTR for a second jump in vain
    mov     %ax, old_gdtr(%rip)
    mov     64(%rbx), %rax
    mov     %rax, old_gdtr+2(%rip)
    lgdt    old_gdtr(%rip)
    lea     kexec_door(%rip), %rcx
    push    %rcx
    jmp     *8(%rbx)

// ---------------------------------------------------------------------------
// Changes between four and five levels of page tables, for which paging must be
// off for a moment (Intel SDM volume 3, 4.1.2).
//
// In: RDI = physical address of the new top-level table, which maps this
// window at both addresses; RSI = nonzero for five levels. The window must lie
// below 4 GiB.
.globl change_depth
change_depth:
    push    %rbx
    push    %rbp
    mov     %rsp, depth_stack(%rip)             // 32-bit mode may lose upper halves
    mov     window_base(%rip), %rbx
    lea     (8f - KERNEL_BASE)(%rbx), %rax
    lea     (depth_gdtr - KERNEL_BASE)(%rbx), %rcx
    mov     %rbx, %rdx
    add     $(boot_gdt - KERNEL_BASE), %rdx
    mov     %rdx, depth_gdtr+2(%rip)
    jmp     *%rax
8:  lgdt    (%rcx)
    lea     boot_stack_top(%rip), %rsp
    pushq   $CODE32
    lea     9f(%rip), %rax
    push    %rax
    lretq
.code32
9:  mov     $DATA, %eax
    mov     %eax, %ss
    mov     %cr0, %eax
    and     $CR0_NOT_PG, %eax
    mov     %eax, %cr0
    mov     %cr4, %eax
    and     $~CR4_LA57, %eax
    test    %esi, %esi
    jz      10f
    or      $CR4_LA57, %eax
10: mov     %eax, %cr4
    mov     %edi, %cr3
    mov     %cr0, %eax
    or      $CR0_PG, %eax
    mov     %eax, %cr0
    lea     (11f - KERNEL_BASE)(%ebx), %eax
    push    $CODE64
    push    %eax
    lret
.code64
11: movabs  $12f, %rax
    jmp     *%rax
12: mov     depth_stack(%rip), %rsp
    pop     %rbp
    pop     %rbx
    ret

// ---------------------------------------------------------------------------
// Into a Linux that was just loaded, by its 64-bit entry (Linux
// Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
//
// In: RDI = physical address of the entry, RSI = that of boot_params, both
// identity-mapped. True on leaving: long mode, an identity map of those two and
// of this window, a flat GDT with code at 0x10 and data at 0x18, interrupts off.
.globl enter_linux
enter_linux:
    cli
    mov     window_base(%rip), %rbx
    mov     %rbx, %rdx
    add     $(boot_gdt - KERNEL_BASE), %rdx
    mov     %rdx, depth_gdtr+2(%rip)
    lea     (13f - KERNEL_BASE)(%rbx), %rax
    jmp     *%rax
13: lgdt    depth_gdtr(%rip)
    lidt    null_idtr(%rip)
    lea     boot_stack_top(%rip), %rsp
    pushq   $CODE64
    lea     14f(%rip), %rax
    push    %rax
    lretq
14: mov     $DATA, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     %eax, %fs
    mov     %eax, %gs
    mov     %cr4, %rax
    and     $(CR4_PAE | CR4_LA57), %eax
    mov     %rax, %cr4
    mov     $(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG), %eax
    mov     %rax, %cr0
    xor     %ebp, %ebp
    jmp     *%rdi

// ---------------------------------------------------------------------------
// Goes on in a copy of this program: RDI = physical address of the copy's
// `moved_door`, identity-mapped.
.globl enter_copy
enter_copy:
    cli
    jmp     *%rdi

.section .data
.balign 16
.globl boot_gdt
boot_gdt:
    .quad   0
    .quad   0
    .quad   0x00af9b000000ffff              // 0x10: 64-bit code
    .quad   0x00cf93000000ffff              // 0x18: data
    .quad   0x00cf9b000000ffff              // 0x20: 32-bit code
    .quad   0, 0                            // 0x28: the task state segment
boot_gdtr:
    .word   55
    .quad   0
    .balign 16
depth_gdtr:
    .word   55
    .quad   0
    .balign 16
old_gdtr:
    .word   0
    .quad   0
    .balign 16
null_idtr:
    .word   0
    .quad   0
    .balign 16
.globl entry_state
entry_state:                                // `EntryState` in entry/mod.rs
    .skip   64
.globl window_base
window_base:
    .quad   0
depth_stack:
    .quad   0
door_used:
    .byte   0

.section .bss, "aw", @nobits
.balign 4096
boot_tables:
    .skip   6 * 4096
.balign 4096
boot_stack:
    .skip   4096
boot_stack_top:
.globl main_stack_guard
main_stack_guard:
    .skip   4096
    .skip   64 * 1024
.globl main_stack_top
main_stack_top:
