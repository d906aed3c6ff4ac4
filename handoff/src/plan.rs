//! The plan: what Linux hands to the writer.
//!
//! It travels inside `writer.elf`, in the section [`SECTION`], stamped there by
//! the CLI (the kexec door passes no arguments). The writer copies it verbatim
//! into the image, where it tells the reader what the old kernel was.

use crate::checksum::{self, Nonce};
use crate::extents::{Extent, ExtentError, ExtentMap};
use crate::image::Kind;
use crate::mailbox;
use crate::memory_map::{self, MapError, MemoryRange};
use crate::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The ELF section, and PT_LOAD of its own, that holds the plan.
pub const SECTION: &str = ".plan";

/// "This is a plan."
pub const MAGIC: [u8; 8] = *b"DORMPLAN";

/// The layout's version; a writer takes no other.
pub const VERSION: u32 = 1;

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

/// Which driver the target needs.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// NVM Express over PCI.
    Nvme = 1,
    /// virtio-blk over PCI.
    VirtioBlk = 2,
    /// SATA behind an AHCI host bus adapter.
    Ahci = 3,
    /// virtio-blk whose registers lie in memory: virtio-mmio, version 1 or 2.
    VirtioMmio = 4,
}

/// A step of writer or reader, as mailbox and messages name it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Entered; own stack, page tables and exceptions are being set up.
    Enter = 1,
    /// Checking the plan.
    Plan = 2,
    /// Finding and initialising the target's device.
    Device = 3,
    /// Preparing the target: identity, older image made invalid.
    Prepare = 4,
    /// Writing pages and tables.
    Write = 5,
    /// Making the image valid.
    Commit = 6,
    /// Entering the sleep state.
    Power = 7,
    /// Reading the image back and comparing it with memory.
    Compare = 8,
    /// Looking for an image (reader).
    Find = 16,
    /// Checking image against machine and memory map (reader).
    Check = 17,
    /// Moving into the image's window (reader).
    Move = 18,
    /// Reading pages into place (reader).
    Read = 19,
    /// Making the image consumed (reader).
    Consume = 20,
    /// Jumping into the old kernel (reader).
    Jump = 21,
}

impl Stage {
    /// All stages, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Enter,
        Self::Plan,
        Self::Device,
        Self::Prepare,
        Self::Write,
        Self::Commit,
        Self::Power,
        Self::Compare,
        Self::Find,
        Self::Check,
        Self::Move,
        Self::Read,
        Self::Consume,
        Self::Jump,
    ];

    /// The stage with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage as u32 == number)
    }

    /// The stage's name in messages and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Plan => "plan",
            Self::Device => "device",
            Self::Prepare => "prepare",
            Self::Write => "write",
            Self::Commit => "commit",
            Self::Power => "power",
            Self::Compare => "compare",
            Self::Find => "find",
            Self::Check => "check",
            Self::Move => "move",
            Self::Read => "read",
            Self::Consume => "consume",
            Self::Jump => "jump",
        }
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

/// A register as ACPI describes it (Generic Address Structure, ACPI 6.5 §5.2.3.2).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Register {
    /// 0: system memory; 1: system I/O.
    pub space: u32,
    /// Width of an access in bits: 8, 16 or 32. 0: there is no such register.
    pub width: u32,
    /// Physical address or I/O port.
    pub address: u64,
}

impl Register {
    /// Whether there is such a register.
    pub const fn is_there(&self) -> bool {
        self.width != 0
    }

    /// The register of the same kind `bytes` further on.
    pub const fn after(&self, bytes: u64) -> Self {
        Self { address: self.address.saturating_add(bytes), ..*self }
    }
}

/// The most enable registers that are kept of a block of general-purpose
/// events.
pub const MAX_GPE_BYTES: usize = 32;

/// What powering off, resetting, suspending and ACPI's events take on this
/// machine (ACPI 6.5 §4.8, §7.4.2).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct PowerFacts {
    /// PM1a control block.
    pub pm1a_control: Register,
    /// PM1b control block; width 0 where there is none.
    pub pm1b_control: Register,
    /// SLEEP_CONTROL_REG of hardware-reduced ACPI; width 0 elsewhere.
    pub sleep_control: Register,
    /// RESET_REG; width 0 where there is none.
    pub reset: Register,
    /// What to write to `reset`.
    pub reset_value: u32,
    /// SLP_TYPa of `\_S5`, 0 to 7; [`PowerFacts::UNKNOWN`] if not known.
    pub s5_type_a: u32,
    /// SLP_TYPb of `\_S5`, as `s5_type_a`.
    pub s5_type_b: u32,
    /// SLP_TYPa of `\_S3`; [`PowerFacts::UNKNOWN`] where there is no S3.
    pub s3_type_a: u32,
    /// SLP_TYPb of `\_S3`, as `s3_type_a`.
    pub s3_type_b: u32,
    /// I/O port of the SMI command register; 0: ACPI is always on.
    pub smi_command: u32,
    /// What to write there to switch ACPI on.
    pub acpi_enable: u32,
    /// Bytes from PM1 status to PM1 enable: half of PM1_EVT_LEN.
    pub pm1_enable_offset: u32,
    /// PM1a status; width 0 where there is none.
    pub pm1a_status: Register,
    /// PM1b status; width 0 where there is none.
    pub pm1b_status: Register,
    /// The first status register of GPE block 0; width 0 where there is none.
    pub gpe0_status: Register,
    /// The first status register of GPE block 1; width 0 where there is none.
    pub gpe1_status: Register,
    /// How many status registers block 0 has; as many enable registers follow.
    pub gpe0_bytes: u32,
    /// As `gpe0_bytes`, of block 1.
    pub gpe1_bytes: u32,
    /// Physical address of the FACS; 0 where there is none.
    pub facs: PhysAddr,
}

impl PowerFacts {
    /// "There is no such sleep type."
    pub const UNKNOWN: u32 = u32::MAX;
}

/// Where a device sits on PCI.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct PciAddress {
    /// Segment group ("domain").
    pub segment: u16,
    /// Bus number.
    pub bus: u8,
    /// Device number, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl core::fmt::Display for PciAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}

/// Where a controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// On PCI.
    Pci(PciAddress),
    /// On no bus: its registers lie at this physical address.
    Mmio(PhysAddr),
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Pci(address) => write!(f, "{address}"),
            Self::Mmio(address) => write!(f, "{address}"),
        }
    }
}

impl From<PciAddress> for Address {
    fn from(address: PciAddress) -> Self {
        Self::Pci(address)
    }
}

impl Target {
    /// Where the controller is.
    pub fn address(&self) -> Address {
        match self.transport == Transport::VirtioMmio as u32 {
            true => Address::Mmio(PhysAddr(self.mmio.into())),
            false => Address::Pci(self.pci),
        }
    }
}

/// The device that the image goes to, and how to be sure that it is this one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Target {
    /// A [`Transport`] as its number.
    pub transport: u32,
    /// NVMe namespace, AHCI port; 0 for virtio-blk.
    pub unit: u32,
    /// The controller's place on PCI; zero for virtio-mmio.
    pub pci: PciAddress,
    /// Bytes in a logical block: 512 or 4096.
    pub block_size: u32,
    /// Physical address of the registers of virtio-mmio, which lie below 4 GiB;
    /// 0 for all others.
    pub mmio: u32,
    /// Blocks of the whole device or namespace.
    pub device_blocks: u64,
    /// Serial number as the device tells it (ASCII, trimmed, filled with zero
    /// bytes); all zero where it tells none.
    pub serial: [u8; 40],
    /// XXH64 (seed 0) of the target's first page as Linux read it last: the
    /// writer finds the same or does not write.
    pub first_page_checksum: u64,
    /// The page to put back at the target's start once the image is used up:
    /// the swap header where the target is a swap partition.
    pub kept_page: [u8; PAGE_SIZE as usize],
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
    /// 1: Intel VT-d; 2: AMD-Vi.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
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
    /// XXH64 (seed 0) of the ACPI DSDT as the firmware handed it over; 0 if
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
    /// XXH64 (seed 0) of all bytes that follow this field.
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
    /// tables; 0: where Linux before 6.2 has it, [`FIXED_GDT`]. Up to 6.12 Linux
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
    /// Zero.
    pub reserved: [u32; 2],
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
}

/// Bytes that `.plan` occupies in `writer.elf` and in the image.
pub const SECTION_BYTES: usize = 32 << 10;
const _: () = assert!(size_of::<Plan>() <= SECTION_BYTES);

/// Where in `.plan` the [`WayBack`] lies.
pub const WAY_BACK_OFFSET: usize = SECTION_BYTES - size_of::<WayBack>();
const _: () = assert!(size_of::<Plan>() <= WAY_BACK_OFFSET);

/// What the writer needs to return with a message even where the plan itself is
/// unreadable. The CLI stamps it beside the plan, with a checksum of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct WayBack {
    /// [`WayBack::MAGIC`].
    pub magic: [u8; 8],
    /// XXH64 (seed 0) of all bytes that follow this field.
    pub checksum: u64,
    /// As [`Plan::nonce`].
    pub nonce: Nonce,
    /// As [`Plan::gdt`].
    pub gdt: u64,
    /// As [`Plan::mailbox`].
    pub mailbox: [PhysAddr; mailbox::PAGES],
    /// As [`Plan::console_port`].
    pub console_port: u32,
    /// As [`Plan::console_baud`].
    pub console_baud: u32,
}

impl WayBack {
    /// "This is the way back."
    pub const MAGIC: [u8; 8] = *b"DORMBACK";

    /// The way back that goes with `plan`, sealed.
    pub fn of(plan: &Plan) -> Self {
        let mut way = Self {
            magic: Self::MAGIC,
            checksum: 0,
            nonce: plan.nonce,
            gdt: plan.gdt,
            mailbox: plan.mailbox,
            console_port: plan.console_port,
            console_baud: plan.console_baud,
        };
        way.checksum = checksum::plain(&way.as_bytes()[16..]);
        way
    }

    /// Reads the way back from the bytes of a `.plan` section; `None` where
    /// none was stamped or it is damaged.
    pub fn parse(section: &[u8]) -> Option<Self> {
        let (way, _) = Self::read_from_prefix(section.get(WAY_BACK_OFFSET..)?).ok()?;
        let intact =
            way.magic == Self::MAGIC && way.checksum == checksum::plain(&way.as_bytes()[16..]);
        intact.then_some(way)
    }
}

/// Writes a sealed plan and its way back into the bytes of a `.plan` section.
pub fn stamp(section: &mut [u8; SECTION_BYTES], plan: &Plan) {
    section.fill(0);
    section[..size_of::<Plan>()].copy_from_slice(plan.as_bytes());
    section[WAY_BACK_OFFSET..].copy_from_slice(WayBack::of(plan).as_bytes());
}

/// Where the bytes begin that [`Plan::checksum`] covers.
const CHECKED_FROM: usize = core::mem::offset_of!(Plan, nonce);

/// Why a plan is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// No plan was stamped into this `writer.elf`.
    Unstamped,
    /// Fewer bytes than a plan has.
    Truncated,
    /// Another version than [`VERSION`].
    Version(u32),
    /// The checksum does not match.
    Checksum,
    /// A count is larger than its array, or an enumeration has an unknown
    /// number; the field's name.
    Field(&'static str),
    /// The window is not aligned, too large, or outside RAM.
    Window,
    /// The memory map is not usable.
    Memory(MapError),
    /// The extents are not usable.
    Extents(ExtentError),
    /// The mailbox page with this index is outside RAM or in the window.
    Mailbox(usize),
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unstamped => write!(f, "no plan was stamped into this writer.elf"),
            Self::Truncated => write!(f, "the plan is cut short"),
            Self::Version(v) => {
                write!(f, "the plan has version {v}, this writer.elf takes {VERSION}")
            }
            Self::Checksum => write!(f, "the plan's checksum does not match"),
            Self::Field(name) => write!(f, "the plan's field `{name}` is out of range"),
            Self::Window => write!(f, "the plan's window is not a usable range of RAM"),
            Self::Memory(e) => write!(f, "the plan's memory map: {e}"),
            Self::Extents(e) => write!(f, "the plan's target: {e}"),
            Self::Mailbox(i) => write!(f, "mailbox page {i} is not a usable page of RAM"),
        }
    }
}

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

/// A plan whose every field has been checked: a view of the bytes.
#[derive(Clone, Copy)]
pub struct CheckedPlan<'a> {
    plan: &'a Plan,
    action: Action,
    image: Option<Kind>,
    transport: Option<Transport>,
    extents: ExtentMap<'a>,
}

impl core::ops::Deref for CheckedPlan<'_> {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        self.plan
    }
}

impl<'a> CheckedPlan<'a> {
    /// Checks the bytes of a `.plan` section or of an image's plan.
    ///
    /// `bytes` must be aligned to 8 and may be longer than the plan.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PlanError> {
        let (plan, _) = Plan::ref_from_prefix(bytes).map_err(|_| PlanError::Truncated)?;
        if plan.magic != MAGIC {
            return Err(PlanError::Unstamped);
        }
        if plan.version != VERSION {
            return Err(PlanError::Version(plan.version));
        }
        if plan.length as usize != size_of::<Plan>() {
            return Err(PlanError::Truncated);
        }
        if plan.checksum != checksum::plain(&plan.as_bytes()[CHECKED_FROM..]) {
            return Err(PlanError::Checksum);
        }
        let action = Action::from_number(plan.action).ok_or(PlanError::Field("action"))?;
        let image = match plan.image {
            0 => None,
            number => Some(Kind::from_number(number).ok_or(PlanError::Field("image"))?),
        };
        if !action.allows(image) {
            return Err(PlanError::Field("image"));
        }
        let transport = match plan.target.transport {
            // Suspending to RAM alone takes no target.
            0 if action == Action::Suspend && image.is_none() => None,
            1 => Some(Transport::Nvme),
            2 => Some(Transport::VirtioBlk),
            3 => Some(Transport::Ahci),
            4 => Some(Transport::VirtioMmio),
            _ => return Err(PlanError::Field("transport")),
        };
        let memory = plan
            .memory
            .get(..plan.memory_count as usize)
            .ok_or(PlanError::Field("memory_count"))?;
        memory_map::check(memory).map_err(PlanError::Memory)?;
        let extents = plan
            .extents
            .get(..plan.extent_count as usize)
            .ok_or(PlanError::Field("extent_count"))?;
        let extents = match transport {
            Some(_) => ExtentMap::new(extents, plan.target.block_size, plan.target.device_blocks),
            None => Ok(ExtentMap::none()),
        };
        let extents = extents.map_err(PlanError::Extents)?;
        if plan.vmcoreinfo_length as usize > plan.vmcoreinfo.len() {
            return Err(PlanError::Field("vmcoreinfo_length"));
        }
        let checked = Self { plan, action, image, transport, extents };
        let window = checked.window();
        let aligned = |n: u64| n.is_multiple_of(WINDOW_ALIGNMENT);
        if !aligned(plan.window_start.0)
            || !aligned(plan.window_bytes)
            || plan.window_bytes == 0
            || plan.window_bytes > MAX_WINDOW
            || !checked.is_ram(&window)
        {
            return Err(PlanError::Window);
        }
        for (i, page) in plan.mailbox.iter().enumerate() {
            let frame = Pfn::containing(*page);
            let range = PageRange { start: frame, pages: 1 };
            if page.0 % PAGE_SIZE != 0 || window.contains(frame) || !checked.is_ram(&range) {
                return Err(PlanError::Mailbox(i));
            }
        }
        Ok(checked)
    }

    /// What follows the commit.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Of which kind the image is that is written; `None`: none is.
    pub fn image(&self) -> Option<Kind> {
        self.image
    }

    /// Which driver the target needs; `None`: there is no target.
    pub fn transport(&self) -> Option<Transport> {
        self.transport
    }

    /// The flags; unknown ones are ignored.
    pub fn flags(&self) -> Flags {
        Flags::from_bits_truncate(self.plan.flags)
    }

    /// What to save, ordered and disjoint.
    pub fn memory(&self) -> &'a [MemoryRange] {
        &self.plan.memory[..self.plan.memory_count as usize]
    }

    /// Pages in all of [`CheckedPlan::memory`].
    pub fn memory_pages(&self) -> u64 {
        self.memory().iter().map(|entry| entry.range.pages).sum()
    }

    /// The blocks that the image may use.
    pub fn extents(&self) -> ExtentMap<'a> {
        self.extents
    }

    /// The window's frames.
    pub fn window(&self) -> PageRange {
        PageRange {
            start: Pfn::containing(self.plan.window_start),
            pages: self.plan.window_bytes / PAGE_SIZE,
        }
    }

    /// The old kernel's VMCOREINFO note; empty where it was not to be had.
    pub fn vmcoreinfo(&self) -> &'a [u8] {
        &self.plan.vmcoreinfo[..self.plan.vmcoreinfo_length as usize]
    }

    /// The whole structure as bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.plan.as_bytes()
    }

    /// The structure itself.
    pub fn plan(&self) -> &'a Plan {
        self.plan
    }

    fn is_ram(&self, range: &PageRange) -> bool {
        let ram = self.memory().iter().map(|entry| entry.range);
        memory_map::first_missing(*range, ram).is_none()
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
