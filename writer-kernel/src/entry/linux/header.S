// What lies before the image in writer.bzimage: a header of the Linux boot
// protocol and one of PE, for UEFI, in one page, as Linux itself does it.
//
// This section is in writer.elf, but in no segment: `cargo xtask build` puts it
// before the image. File and PE image have the same layout.
.section .bzimage, ""
.code16

header:
    .ascii  "MZ"                            // DOS: dec %bp; pop %dx
    jmp     said_where                      // booted as a boot sector: say so
    .org 0x3c
    .long   pe_header - header

// PE (Microsoft PE and COFF specification; UEFI 2.10, 2.1.1).
.balign 8
pe_header:
    .ascii  "PE\0\0"
    .word   0x8664                          // x86-64
    .word   1                               // sections
    .long   0, 0, 0
    .word   pe_sections - pe_optional
    .word   0x206                           // executable, no debugging information
pe_optional:
    .word   0x20b                           // PE32+
    .byte   0, 0
    .long   load_bytes                      // code
    .long   0, 0
    .long   uefi_door_in_file               // entry
    .long   0x1000                          // where code begins
    .quad   0                               // linked at; we run anywhere
    .long   0x1000, 0x200                   // alignment of sections in memory, in the file
    .word   0, 0, 0, 0, 0, 0
    .long   0
    .long   file_bytes                      // bytes of the image
    .long   0x1000                          // bytes of headers
    .long   0
    .word   10                              // subsystem: EFI application
    .word   0
    .quad   0, 0, 0, 0
    .long   0
    .long   6                               // directories, all empty: nothing to relocate
    .quad   0, 0, 0, 0, 0, 0
pe_sections:
    .ascii  ".text\0\0\0"
    .long   load_bytes, 0x1000              // in memory
    .long   load_bytes, 0x1000              // in the file
    .long   0, 0
    .word   0, 0
    .long   0xe0000060                      // code and data; read, write, execute

// A BIOS entered the boot sector, at 0x7c00, or a 16-bit loader the setup code:
// neither can start us.
said_where:
    call    1f
1:  pop     %si
    add     $(message - 1b), %si
    push    %cs
    pop     %ds
    cld
2:  lodsb
    test    %al, %al
    jz      3f
    mov     $0x0e, %ah                      // BIOS: write a character
    mov     $7, %bx
    int     $0x10
    jmp     2b
3:  hlt
    jmp     3b
message:
    .asciz  "dormouse needs a 32-bit or UEFI loader\r\n"

// The setup header (boot.rst, "The Real-Mode Kernel Header").
    .org 0x1f1
    .byte   7                               // setup_sects: this page
    .word   1                               // root_flags
    .long   load_paragraphs                 // syssize
    .word   0, 0xffff, 0
    .word   0xaa55
    .byte   0xeb, setup - 1f                // jump
1:  .ascii  "HdrS"
    .word   0x020e                          // version 2.14
    .long   0
    .word   0x1000
    .word   version - header - 0x200
    .byte   0                               // type_of_loader
    .byte   1                               // loadflags: loaded high
    .word   0x8000
    .long   0x100000                        // code32_start
    .long   0, 0, 0
    .word   0
    .byte   0, 0
    .long   0                               // cmd_line_ptr
    .long   0x7fffffff                      // initrd_addr_max
    .long   ALIGNMENT                       // kernel_alignment
    .byte   1                               // relocatable_kernel
    .byte   21                              // min_alignment, as a power of two
    .word   3                               // xloadflags: a 64-bit entry; above 4 GiB if need be
    .long   1023                            // cmdline_size
    .long   0
    .quad   0
    .long   0, 0
    .quad   0                               // setup_data
    .quad   load_base                       // pref_address
    .long   window_bytes                    // init_size
    .long   0                               // handover_offset: no such entry
setup:
    jmp     said_where
version:
    .asciz  "dormouse"
    .org 0x1000
