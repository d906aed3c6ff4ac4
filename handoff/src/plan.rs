//! The plan: what Linux hands to the writer.
//!
//! It travels inside `writer.elf`, in the section [`SECTION`], stamped there by
//! the CLI (the kexec door passes no arguments). The writer copies it verbatim
//! into the image, where it tells the reader what the old kernel was.

use crate::checksum::{self, Nonce};
use crate::extents::Extent;
use crate::image::Kind;
use crate::mailbox;
use crate::memory_map::MemoryRange;
use crate::screen::Framebuffer;
use crate::units::{PAGE_SIZE, PhysAddr};
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod checked;
mod ecam;
mod methods;
mod power;
mod stage;
mod target;
mod way_back;

pub use checked::{CheckedPlan, PlanError};
pub use ecam::{Ecam, MAX_ECAM};
pub use methods::{MAX_STEPS, Methods, Step, Steps};
pub use power::{MAX_GPE_BYTES, PowerFacts, Register};
pub use stage::Stage;
pub use target::{Address, PciAddress, Target, Transport};
pub use way_back::WayBack;

/// The ELF section, and PT_LOAD of its own, that holds the plan.
pub const SECTION: &str = ".plan";

/// "This is a plan."
pub const MAGIC: [u8; 8] = *b"DORMPLAN";

/// The layout's version; a writer takes no other.
pub const VERSION: u32 = 3;

/// How many memory ranges a plan holds.
pub const MAX_MEMORY_RANGES: usize = 256;

/// How many extents a plan holds.
pub const MAX_EXTENTS: usize = 256;

/// How many bytes of VMCOREINFO a plan holds: as many as Linux makes.
pub const MAX_VMCOREINFO: usize = PAGE_SIZE as usize;

/// Where x86-64 Linux maps the first processor's GDT unless it randomises the
/// CPU entry area (arch/x86/include/asm/cpu_entry_area.h), as it does from 6.2.
pub const FIXED_GDT: u64 = 0xffff_fe00_0000_1000;

/// Granularity and alignment of the window, in bytes: one large page.
pub const WINDOW_ALIGNMENT: u64 = 2 << 20;

/// The largest window, in bytes.
pub const MAX_WINDOW: u64 = 4 << 20;

bitflags! {
    /// What the writer shall do besides the ordinary.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// Wait for a key on the console before the first write (tests take
        /// their memory dump there).
        const WAIT_BEFORE_WRITE = 1 << 0;
        /// Wait for a key on the console between commit and power-off.
        const WAIT_BEFORE_POWER = 1 << 1;
        /// Store zero pages like any other instead of as table entries.
        const STORE_ZERO_PAGES = 1 << 2;
        /// Store free pages like any other instead of leaving them out.
        const STORE_FREE_PAGES = 1 << 3;
        /// The reader fills every page that was left out as free with
        /// [`SCRIBBLE`], so that one left out wrongly shows (tests).
        const SCRIBBLE_FREE_PAGES = 1 << 4;
        /// Writer and reader move the stored pages once more, with no work on
        /// them, and log what each of their steps takes (`cargo xtask bench`).
        const MEASURE = 1 << 5;
        /// Read the image back and compare it with memory before going back
        /// ([`Action::Return`] only).
        const COMPARE = 1 << 8;
        /// Put the target's driver through its paces first, which overwrites a part
        /// of the first extent (tests; with [`Action::Return`] and no image only).
        const EXERCISE = 1 << 9;
    }
}

/// The byte that [`Flags::SCRIBBLE_FREE_PAGES`] fills pages with: no valid
/// pointer, length or character begins like that.
pub const SCRIBBLE: u8 = 0xa5;

/// What follows the commit.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Power off (ACPI S5).
    PowerOff = 1,
    /// Reset the machine.
    Reboot = 2,
    /// Go back at once: no sleep. Where an image is written, it is one that
    /// may lie beside a running system.
    Return = 3,
    /// Suspend to RAM (ACPI S3), and go back once the machine is woken. An
    /// image that was written becomes consumed first.
    Suspend = 4,
}

impl Action {
    /// The action with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::PowerOff),
            2 => Some(Self::Reboot),
            3 => Some(Self::Return),
            4 => Some(Self::Suspend),
            _ => None,
        }
    }

    /// Whether an image of this kind, or none, may go with it: what can be
    /// resumed once is only written where the system does not go on beside it.
    pub const fn allows(self, image: Option<Kind>) -> bool {
        matches!(
            (self, image),
            (Self::PowerOff | Self::Reboot | Self::Suspend, Some(Kind::Once))
                | (Self::Return, Some(Kind::Inspection | Kind::Reusable))
                | (Self::Return | Self::Suspend, None)
        )
    }
}

/// What a test makes go wrong, at [`Plan::fault_stage`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stage returns an error.
    Error = 1,
    /// The stage panics.
    Panic = 2,
    /// The stage touches an unmapped address.
    PageFault = 3,
}

/// An IOMMU of the machine, of which the writer makes sure that it does not
/// translate before it lets a device touch memory.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Iommu {
    /// Physical address of its registers; 0: there is none.
    pub base: PhysAddr,
    /// [`Iommu::INTEL`] or [`Iommu::AMD`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

impl Iommu {
    /// Intel VT-d: a remapping unit of the DMAR table.
    pub const INTEL: u32 = 1;
    /// AMD-Vi: an IVHD block of the IVRS table.
    pub const AMD: u32 = 2;
}

/// How many IOMMUs a plan names: as many as large servers have.
pub const MAX_IOMMUS: usize = 32;

/// What tells this machine from another, and this boot's firmware from the next.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Machine {
    /// CPUID leaf 0: EBX, EDX, ECX (vendor).
    pub cpu_vendor: [u32; 3],
    /// CPUID leaf 1: EAX (family, model, stepping).
    pub cpu_signature: u32,
    /// Features that the old kernel may use: CPUID 1 ECX, 1 EDX, 7.0 EBX,
    /// 7.0 ECX, 7.0 EDX, 0x80000001 ECX, 0x80000001 EDX, 0xd.1 EAX. The waking
    /// machine must have them all.
    pub cpu_features: [u32; 8],
    /// Checksum (seed 0) of the ACPI DSDT as the firmware handed it over; 0 if
    /// not known. Its address and bytes must be the same at wake-up.
    pub dsdt_checksum: u64,
    /// FACS hardware signature (ACPI 6.5 §5.2.10); 0 if not known.
    pub hardware_signature: u32,
    /// Zero.
    pub reserved: u32,
}

/// The plan, as it lies in `writer.elf` and in the image.
///
/// The first three fields and the checksum keep their places in every version.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Plan {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of this structure.
    pub length: u32,
    /// Checksum (seed 0) of all bytes that follow this field.
    pub checksum: u64,
    /// Identifies this attempt, the mailbox and the image.
    pub nonce: Nonce,
    /// When the plan was made, in seconds since 1970 (UTC).
    pub created: u64,
    /// [`Flags`].
    pub flags: u64,
    /// An [`Action`] as its number.
    pub action: u32,
    /// How many wake-ups that never get to the jump the reader tries.
    pub attempts: u32,
    /// I/O port of the 16550 that is the console; 0: none.
    pub console_port: u32,
    /// The console's rate in baud.
    pub console_baud: u32,
    /// Test only: the [`Stage`] at which [`Plan::fault`] happens; 0: none.
    pub fault_stage: u32,
    /// Test only: a [`Fault`] as its number; 0: none.
    pub fault: u32,
    /// Where `writer.elf` is loaded: physical, aligned to
    /// [`WINDOW_ALIGNMENT`].
    pub window_start: PhysAddr,
    /// Bytes of the window: a multiple of [`WINDOW_ALIGNMENT`], at most
    /// [`MAX_WINDOW`].
    pub window_bytes: u64,
    /// Linear address at which the old kernel maps physical address 0
    /// (`page_offset_base`).
    pub direct_map: u64,
    /// Linear address of the first processor's GDT, under the old kernel's page
    /// tables; 0: where Linux before 6.2 has it, [`FIXED_GDT`]. Up to 6.13 Linux
    /// expects it in GDTR when it comes back from a jump, the TSS in it included
    /// (`restore_processor_state`); later kernels see to it themselves.
    pub gdt: u64,
    /// Physical address of the ACPI RSDP; 0: to be searched for.
    pub rsdp: PhysAddr,
    /// How to power off and reset.
    pub power: PowerFacts,
    /// What the image needs of the machine that wakes it.
    pub machine: Machine,
    /// `uname -r` of the old kernel, filled with zero bytes.
    pub kernel_release: [u8; 64],
    /// Physical addresses of the mailbox's pages, the head first.
    pub mailbox: [PhysAddr; mailbox::PAGES],
    /// How many of `memory` are used.
    pub memory_count: u32,
    /// How many of `extents` are used.
    pub extent_count: u32,
    /// How many bytes of `vmcoreinfo` are used.
    pub vmcoreinfo_length: u32,
    /// A [`Kind`] as its number: of the image that is written; 0: none is.
    pub image: u32,
    /// Of a reusable snapshot: which one of its series it is, from 1; of all
    /// others 0.
    pub generation: u32,
    /// Of a reusable snapshot: the series of snapshots that replace each other,
    /// drawn at random for the first.
    pub series: u32,
    /// The screen that the writer may draw on. One that cannot be right is left
    /// alone, and nothing else comes of it.
    pub framebuffer: Framebuffer,
    /// What ACPI's methods around a sleep come to.
    pub methods: Methods,
    /// The machine's IOMMUs, as ACPI's DMAR and IVRS tables name them; the rest
    /// all zero.
    pub iommus: [Iommu; MAX_IOMMUS],
    /// Where the image goes.
    pub target: Target,
    /// What to save: ordered, disjoint.
    pub memory: [MemoryRange; MAX_MEMORY_RANGES],
    /// The blocks that the image may use, in image order.
    pub extents: [Extent; MAX_EXTENTS],
    /// The old kernel's VMCOREINFO note, text as it is (Linux
    /// Documentation/admin-guide/kdump/vmcoreinfo.rst).
    pub vmcoreinfo: [u8; MAX_VMCOREINFO],
    /// How fast the time-stamp counter runs, in kHz, as Linux' clock tells; 0: not
    /// known. The writer takes it if its own timer does not contradict.
    pub tsc_khz: u32,
    /// About how many pages are in use, to tell how long the rest takes; 0: not known.
    pub pages_in_use: u32,
    /// Where PCI's configuration space lies in memory; the rest all zero.
    pub ecam: [Ecam; MAX_ECAM],
}

/// Bytes that `.plan` occupies in `writer.elf` and in the image.
pub const SECTION_BYTES: usize = 32 << 10;
const _: () = assert!(size_of::<Plan>() <= SECTION_BYTES);

/// Where in `.plan` the [`WayBack`] lies.
pub const WAY_BACK_OFFSET: usize = SECTION_BYTES - size_of::<WayBack>();
const _: () = assert!(size_of::<Plan>() <= WAY_BACK_OFFSET);

/// Writes a sealed plan and its way back into the bytes of a `.plan` section.
pub fn stamp(section: &mut [u8; SECTION_BYTES], plan: &Plan) {
    section.fill(0);
    section[..size_of::<Plan>()].copy_from_slice(plan.as_bytes());
    section[WAY_BACK_OFFSET..].copy_from_slice(WayBack::of(plan).as_bytes());
}

/// Where the bytes begin that [`Plan::checksum`] covers.
const CHECKED_FROM: usize = core::mem::offset_of!(Plan, nonce);

impl Plan {
    /// An all-zero plan with magic, version and length set.
    pub fn empty() -> Self {
        let mut plan = Self::read_from_bytes(&[0; size_of::<Self>()][..])
            .unwrap_or_else(|_| unreachable!("the length is the structure's own"));
        plan.magic = MAGIC;
        plan.version = VERSION;
        plan.length = size_of::<Self>() as u32;
        plan
    }

    /// Sets the checksum: the last thing that happens to a plan.
    pub fn seal(&mut self) {
        self.checksum = checksum::plain(&self.as_bytes()[CHECKED_FROM..]);
    }
}

/// A zero-filled text field up to its first zero byte; invalid UTF-8 is cut off.
pub fn text(field: &[u8]) -> &str {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    let bytes = &field[..end];
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => core::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(),
    }
}

/// Writes `value` into a zero-filled text field, cut at a character boundary
/// if it is too long.
pub fn set_text(field: &mut [u8], value: &str) {
    let mut end = value.len().min(field.len());
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    field.fill(0);
    field[..end].copy_from_slice(&value.as_bytes()[..end]);
}
