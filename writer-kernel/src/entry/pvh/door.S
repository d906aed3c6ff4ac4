// The PVH door.
//
// True on entry (Xen docs/misc/pvh.pandoc): 32-bit protected mode, paging off,
// flat segments, EBX = physical address of hvm_start_info, no stack, CR4 = 0.
.section .entry, "ax"
.code32
.globl pvh_door
pvh_door:
    cli
    cld
    find_window 4(%ebx)                     // its first word: the magic
    mov     $DOOR_PVH, %ebp
    jmp     protected_mode

// ELF note: where a PVH loader enters (Xen public/elfnote.h, type 18).
.section .note.pvh, "a", @note
.balign 4
    .long   4, 8, 18
    .asciz  "Xen"
    .balign 4
    .quad   pvh_door_physical
