//! The doors, and what each finds, in one common form.
//!
//! | door | who uses it | what comes with it |
//! | --- | --- | --- |
//! | kexec | the old kernel, by kexec jump | the stamped plan, the way back |
//! | PVH, Multiboot2, Linux's, UEFI | a loader at power-on | a memory map, the command line, the RSDP |
//! | moved | the reader itself, from another window | what it found before |
//! | S3 | firmware, when a machine that was suspended to RAM wakes | all of memory |
//!
//! Each loader has a folder: how it enters, and how what it left becomes a
//! [`Boot`], after which nobody asks who it was.

pub mod kexec;
mod left;
mod linux;
mod multiboot2;
mod pvh;
pub mod s3;
mod uefi;

use crate::arch::paging::AddressSpace;
use crate::wake::boot::Boot;
use core::arch::global_asm;
use dormouse_handoff::units::PhysAddr;
use left::Left;
pub use uefi::boot_services;
use x86_64::instructions::tables::sgdt;

// One piece, so that all of it knows the constants of the first.
global_asm!(
    include_str!("doors.S"),
    include_str!("pvh/door.S"),
    include_str!("multiboot2/door.S"),
    include_str!("linux/door.S"),
    include_str!("linux/header.S"),
    include_str!("uefi/door.S"),
    options(att_syntax)
);

/// What the kexec door found in the processor, or what a loader passed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EntryState {
    /// RSP: points at the jump-back entry's address.
    pub stack: u64,
    /// The jump-back entry.
    pub return_address: u64,
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// Physical address of what a loader left: `hvm_start_info`, Multiboot2's
    /// information, `boot_params`.
    pub left: u64,
}

/// How this program was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// By the old kernel: be the writer.
    Kexec,
    /// By the reader in another window: go on as the reader.
    Moved,
    /// By a loader: be the reader.
    Loader(Loader),
}

/// Whoever started this program at power-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// A PVH loader.
    Pvh,
    /// A Multiboot2 loader.
    Multiboot2,
    /// A loader of Linux kernels.
    Linux,
    /// UEFI firmware.
    Uefi,
}

impl Door {
    /// The door with the number that `doors.S` gives it.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Kexec),
            2 => Some(Self::Loader(Loader::Pvh)),
            3 => Some(Self::Moved),
            4 => Some(Self::Loader(Loader::Multiboot2)),
            5 => Some(Self::Loader(Loader::Linux)),
            6 => Some(Self::Loader(Loader::Uefi)),
            _ => None,
        }
    }
}

/// What a loader did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoaderError {
    /// What it passed is not what its protocol says.
    Nothing(Loader),
    /// There is no memory map in it, or one of no known form.
    NoMemoryMap(Loader),
}

impl core::fmt::Display for LoaderError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Nothing(loader) => write!(
                f,
                "the loader entered by the {loader:?} door, but left nothing of its protocol"
            ),
            Self::NoMemoryMap(loader) => {
                write!(f, "the loader ({loader:?} door) left no memory map that can be read")
            }
        }
    }
}

impl Loader {
    /// What this loader left, in the common form.
    ///
    /// # Safety
    ///
    /// This program came by this loader's door, and has overwritten nothing
    /// but its own window.
    pub unsafe fn boot(self, space: &mut AddressSpace) -> Result<Boot, LoaderError> {
        // SAFETY: as the caller promises.
        let mut left = unsafe { Left::new(space) };
        match self {
            Self::Pvh => pvh::boot(state().left, &mut left),
            Self::Multiboot2 => multiboot2::boot(state().left, &mut left),
            Self::Linux => linux::boot(state().left, &mut left),
            Self::Uefi => uefi::boot(&mut left),
        }
    }
}

/// The processor's state for the way out; `doors.S` knows the offsets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WayOut {
    /// Unused.
    pub reserved: u64,
    /// The jump-back entry: physical.
    pub entry: u64,
    /// CR0.
    pub cr0: u64,
    /// CR3: the old kernel's identity map.
    pub cr3: u64,
    /// CR4; the same paging depth as now.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// Bytes of the GDT minus one.
    pub gdt_limit: u64,
    /// Linear address of the GDT under the old kernel's page tables.
    pub gdt: u64,
}

unsafe extern "C" {
    static entry_state: EntryState;
    fn way_out(state: u64) -> !;
    fn change_depth(root: u64, five_levels: u64);
    fn enter_copy(door: u64) -> !;
    fn enter_linux(entry: u64, parameters: u64) -> !;
    fn moved_door();
}

/// What the door found.
pub fn state() -> EntryState {
    // SAFETY: written by the entry code before Rust ran, never again.
    unsafe { entry_state }
}

/// Leaves into the old kernel.
///
/// # Safety
///
/// `state` lies in the window at `state_address` (physical), and describes an
/// old kernel whose memory is as it left it: its identity map at CR3, of the
/// depth that is in use now, the jump-back entry, and a GDT of its own. No
/// device writes into memory any more.
pub unsafe fn leave(state_address: PhysAddr) -> ! {
    // SAFETY: as the caller promises; interrupts are off.
    unsafe { way_out(state_address.0) }
}

/// Switches to the page tables at `root`, with `five_levels` or four.
///
/// # Safety
///
/// `root` is a top-level table of that depth which maps the window at its
/// virtual and at its physical address, and everything else that is in use;
/// the window lies below 4 GiB.
pub unsafe fn switch_depth(root: PhysAddr, five_levels: bool) {
    let before = sgdt();
    // SAFETY: as the caller promises.
    unsafe { change_depth(root.0, u64::from(five_levels)) };
    // SAFETY: the same GDT as before the switch, which used its physical address.
    unsafe { x86_64::instructions::tables::lgdt(&before) };
}

/// Goes on in a copy of this program whose window starts at `window`.
///
/// # Safety
///
/// The copy is complete, and both its window and the present one are
/// identity-mapped by the present page tables.
pub unsafe fn leave_to_copy(window: PhysAddr) -> ! {
    let offset = moved_door as *const () as u64 - crate::arch::window::KERNEL_BASE;
    // SAFETY: as the caller promises.
    unsafe { enter_copy(window.0 + offset) }
}

/// Leaves into a Linux by its 64-bit entry.
///
/// # Safety
///
/// A kernel is loaded with its 64-bit entry at `entry`, whose `boot_params` are
/// at `parameters`; both, and this window, are identity-mapped by the present
/// page tables. No device writes into memory.
pub unsafe fn start_linux(entry: PhysAddr, parameters: PhysAddr) -> ! {
    // SAFETY: as the caller promises.
    unsafe { enter_linux(entry.0, parameters.0) }
}
