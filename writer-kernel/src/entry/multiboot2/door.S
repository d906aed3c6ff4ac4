// The Multiboot2 door.
//
// True on entry (Multiboot2 specification 2.0, 3.3): 32-bit protected mode,
// paging off, flat segments, EBX = physical address of the boot information, no
// stack; EAX = 0x36d76289.
.section .entry, "ax"
.code32
.globl multiboot2_door
multiboot2_door:
    cli
    cld
    cmp     $0x36d76289, %eax
    jne     multiboot2_not_us
    find_window 8(%ebx)                     // its second word is reserved
    mov     $DOOR_MULTIBOOT2, %ebp
    jmp     protected_mode
multiboot2_not_us:
    hlt
    jmp     multiboot2_not_us

// The header (3.1). It lies in the first 32 KiB of the file. The address tag
// has the loader take file and memory one to one, whatever the file's format,
// and clear what follows; the relocatable one lets it choose another place.
.balign 8
.globl multiboot2_header
multiboot2_header:
    .long   0xe85250d6, 0, multiboot2_end - multiboot2_header
    .long   -(0xe85250d6 + multiboot2_end - multiboot2_header)
    .word   1, 1                            // information that we want, if there is any:
    .long   36
    .long   1, 6, 8, 12, 14, 15, 17         // command line, memory maps, screen, RSDPs, UEFI's table
    .balign 8
    .word   5, 1                            // a framebuffer, if there can be one:
    .long   20
    .long   0, 0, 32                        // of any size, preferably with 32 bits
    .balign 8
    .word   2, 0                            // addresses
    .long   24
    .long   multiboot2_header_physical, load_base, load_end_physical, bss_end_physical
    .word   3, 0                            // entry
    .long   12
    .long   multiboot2_door_physical
    .balign 8
    .word   10, 0                           // may be moved: up to 4 GiB, not far
    .long   24
    .long   load_base, 0xffffffff, ALIGNMENT, 1
    .word   0, 0
    .long   8
multiboot2_end:
