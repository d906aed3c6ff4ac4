//! Exceptions and NMIs: each is a failure with a register dump.

use crate::arch::window::KERNEL_BASE;
use crate::failure;
use core::arch::global_asm;
use core::ptr::addr_of_mut;
use x86_64::VirtAddr;
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::Cr2;
use x86_64::structures::gdt::{Descriptor, SegmentSelector};
use x86_64::structures::idt::InterruptDescriptorTable;
use x86_64::structures::tss::TaskStateSegment;

const STACK_BYTES: usize = 16 << 10;
const TSS_SELECTOR: u16 = 0x28;

#[repr(C, align(16))]
struct Stack([u8; STACK_BYTES]);

// Handlers get a stack of their own: the one they interrupt may be what is
// broken, and the prebuilt `core` may use the red zone below it.
static mut EXCEPTION_STACK: Stack = Stack([0; STACK_BYTES]);
static mut NMI_STACK: Stack = Stack([0; STACK_BYTES]);
static mut TSS: TaskStateSegment = TaskStateSegment::new();
static mut IDT: InterruptDescriptorTable = InterruptDescriptorTable::new();

// One stub a vector, 16 bytes apart, so that a stub's place tells its vector.
// All registers are pushed for the dump; vectors without an error code push 0.
global_asm!(
    r#"
.section .text
.balign 16
.globl exception_stubs
exception_stubs:
.set vector, 0
.rept 32
    .balign 16
    .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    .else
    push 0
    .endif
    push vector
    jmp exception_common
    .set vector, vector + 1
.endr
exception_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    cld
    and rsp, -16
    call exception
    ud2
"#
);

/// What the stubs push, and the processor before them (Intel SDM volume 3, 6.14.2).
#[repr(C)]
#[derive(Debug)]
struct Frame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const NAMES: [&str; 22] = [
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor segment overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualization",
    "control protection",
];

#[unsafe(no_mangle)]
extern "C" fn exception(frame: &Frame) -> ! {
    let name = NAMES.get(frame.vector as usize).unwrap_or(&"exception");
    log::error!("{name} (vector {}, error code {:#x})", frame.vector, frame.error_code);
    log::error!(
        "rip {:#x} rsp {:#x} rflags {:#x} cr2 {:#x}",
        frame.rip,
        frame.rsp,
        frame.rflags,
        Cr2::read_raw()
    );
    log::error!(
        "rax {:#x} rbx {:#x} rcx {:#x} rdx {:#x}",
        frame.rax,
        frame.rbx,
        frame.rcx,
        frame.rdx
    );
    log::error!(
        "rsi {:#x} rdi {:#x} rbp {:#x} r8 {:#x}",
        frame.rsi,
        frame.rdi,
        frame.rbp,
        frame.r8
    );
    log::error!(
        "r9 {:#x} r10 {:#x} r11 {:#x} r12 {:#x}",
        frame.r9,
        frame.r10,
        frame.r11,
        frame.r12
    );
    log::error!("r13 {:#x} r14 {:#x} r15 {:#x}", frame.r13, frame.r14, frame.r15);
    failure::unexpected(format_args!(
        "{name} at writer.elf+{:#x} (address {:#x})",
        frame.rip.wrapping_sub(KERNEL_BASE),
        Cr2::read_raw()
    ))
}

/// Makes exceptions and NMIs come to this module. Call at entry, and again
/// after a reset of the processor.
pub fn init() {
    unsafe extern "C" {
        static exception_stubs: u8;
        static mut boot_gdt: [u64; 7];
    }
    let top = |stack: *mut Stack| VirtAddr::new(stack as u64 + STACK_BYTES as u64);
    // SAFETY: runs where nothing else can look at these statics; all of
    // them live as long as the program; the stubs are 16 bytes apart; the GDT's
    // last two words are room for the TSS.
    unsafe {
        let tss = addr_of_mut!(TSS);
        (*tss).interrupt_stack_table[0] = top(addr_of_mut!(EXCEPTION_STACK));
        (*tss).interrupt_stack_table[1] = top(addr_of_mut!(NMI_STACK));
        if let Descriptor::SystemSegment(low, high) = Descriptor::tss_segment_unchecked(tss) {
            let gdt = addr_of_mut!(boot_gdt).cast::<u64>();
            gdt.add(5).write_volatile(low);
            gdt.add(6).write_volatile(high);
        }
        load_tss(SegmentSelector(TSS_SELECTOR));

        let idt = addr_of_mut!(IDT);
        let stub = |vector: u64| VirtAddr::new((&raw const exception_stubs) as u64 + vector * 16);
        macro_rules! handle {
            ($($field:ident = $vector:literal),*) => {
                $((*idt).$field.set_handler_addr(stub($vector)).set_stack_index(0);)*
            };
        }
        handle!(
            divide_error = 0,
            debug = 1,
            breakpoint = 3,
            overflow = 4,
            bound_range_exceeded = 5,
            invalid_opcode = 6,
            device_not_available = 7,
            double_fault = 8,
            invalid_tss = 10,
            segment_not_present = 11,
            stack_segment_fault = 12,
            general_protection_fault = 13,
            page_fault = 14,
            x87_floating_point = 16,
            alignment_check = 17,
            machine_check = 18,
            simd_floating_point = 19,
            virtualization = 20,
            cp_protection_exception = 21
        );
        (*idt).non_maskable_interrupt.set_handler_addr(stub(2)).set_stack_index(1);
        (*idt).load_unsafe();
    }
}
