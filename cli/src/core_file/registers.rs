//! The processor's registers as the old kernel left them before the jump.
//!
//! `relocate_kernel` (arch/x86/kernel/relocate_kernel_64.S) pushes what a
//! function has to preserve, and keeps the stack pointer, CR0, CR3 and CR4 side
//! by side in the control page, at an offset that differs between kernels. So
//! they are recognised by what they are.

use dormouse_page_set::{KernelSpace, Levels, LinearAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bits of CR0 (Intel SDM volume 3, 2.5): protection and paging are on.
const CR0_ON: u64 = 1 << 0 | 1 << 31;
/// Bits of CR4: PAE, and LA57 for five levels of page tables.
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;

/// The lowest linear address of the kernel with five levels of page tables.
const KERNEL_HALF: u64 = 0xff00_0000_0000_0000;
/// The lowest linear address of the kernel's text.
const KERNEL_TEXT: u64 = 0xffff_ffff_8000_0000;

/// The kernel's code and data segments (`__KERNEL_CS`, `__KERNEL_DS`).
const KERNEL_CODE: u64 = 0x10;
const KERNEL_DATA: u64 = 0x18;

/// `struct user_regs_struct` of arch/x86/include/asm/user_64.h. What is not
/// known is zero.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[allow(missing_docs)] // The names are the processor's.
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl Registers {
    /// Bytes of `struct elf_prstatus` (include/linux/elfcore.h), and of what
    /// comes in it before the registers: signals, process numbers, times.
    const PRSTATUS: usize = 336;
    const BEFORE: usize = 112;

    /// Looks for what was saved among the words of the control page. The stack
    /// they point to has to lead back into the kernel.
    pub fn find(kernel: &mut KernelSpace<'_>, control: &[u64]) -> Option<Self> {
        let five = kernel.levels() == Levels::Five;
        let stacks = control.windows(4).filter_map(|words| {
            let &[rsp, cr0, _, cr4] = words else { return None };
            let depth = (cr4 & CR4_LA57 != 0) == five;
            let state = cr0 & CR0_ON == CR0_ON && cr0 >> 32 == 0;
            let paging = cr4 & CR4_PAE != 0 && cr4 >> 32 == 0 && depth;
            (rsp >= KERNEL_HALF && state && paging).then_some(LinearAddr(rsp))
        });
        stacks.into_iter().find_map(|stack| Self::pushed(kernel, stack))
    }

    /// The registers as they are where `relocate_kernel` returns to.
    fn pushed(kernel: &mut KernelSpace<'_>, stack: LinearAddr) -> Option<Self> {
        let mut word = |index: u64| kernel.word(stack.plus(index * 8));
        let registers = Self {
            eflags: word(0)?,
            r15: word(1)?,
            r14: word(2)?,
            r13: word(3)?,
            r12: word(4)?,
            rbp: word(5)?,
            rbx: word(6)?,
            rip: word(7)?,
            rsp: stack.plus(8 * 8).0,
            cs: KERNEL_CODE,
            ss: KERNEL_DATA,
            ..Self::default()
        };
        (registers.rip >= KERNEL_TEXT).then_some(registers)
    }

    /// The description of an `NT_PRSTATUS` note.
    pub fn prstatus(&self) -> [u8; Self::PRSTATUS] {
        let mut note = [0; Self::PRSTATUS];
        let registers = self.as_bytes();
        note[Self::BEFORE..Self::BEFORE + registers.len()].copy_from_slice(registers);
        note
    }
}
