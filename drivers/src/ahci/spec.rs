//! Registers and layouts of the Serial ATA Advanced Host Controller Interface,
//! revision 1.3.1.

use bitflags::bitflags;
use zerocopy::{Immutable, IntoBytes};

/// The base address register that leads to the others (§2.1.11).
pub const ABAR: usize = 5;
/// Ports that a controller can have, and commands that a port can have.
pub const PORTS: u32 = 32;

/// The controller's registers (§3.1): offsets in bytes.
pub mod host {
    /// Capabilities.
    pub const CAP: usize = 0x00;
    /// Global control.
    pub const GHC: usize = 0x04;
    /// A bit for each port that there is.
    pub const PI: usize = 0x0c;
    /// Capabilities, continued.
    pub const CAP2: usize = 0x24;
    /// Handoff between firmware and operating system.
    pub const BOHC: usize = 0x28;
    /// Where the first port's registers begin.
    pub const PORTS: usize = 0x100;
    /// Bytes of one port's registers.
    pub const PORT_BYTES: usize = 0x80;
}

/// A port's registers (§3.3): offsets from the port's first, in bytes.
pub mod port {
    /// Physical address of the command list; 64 bits.
    pub const CLB: usize = 0x00;
    /// Physical address of the area for received FISes; 64 bits.
    pub const FB: usize = 0x08;
    /// What happened since it was cleared.
    pub const IS: usize = 0x10;
    /// Which of it interrupts.
    pub const IE: usize = 0x14;
    /// Command and status.
    pub const CMD: usize = 0x18;
    /// The device's status and error registers.
    pub const TFD: usize = 0x20;
    /// What kind of device it is.
    pub const SIG: usize = 0x24;
    /// State of the link.
    pub const SSTS: usize = 0x28;
    /// Control of the link.
    pub const SCTL: usize = 0x2c;
    /// Errors of the link.
    pub const SERR: usize = 0x30;
    /// Queued commands that the device has not answered.
    pub const SACT: usize = 0x34;
    /// Commands that the controller has not finished with.
    pub const CI: usize = 0x38;
}

/// The capabilities register (§3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Queued commands work (SNCQ).
    pub const QUEUES: Self = Self(1 << 30);
    /// Addresses have 64 bits (S64A).
    pub const WIDE: Self = Self(1 << 31);

    /// Commands that a port takes, 1 to 32.
    pub fn command_slots(self) -> u32 {
        (self.0 >> 8 & 0x1f) + 1
    }

    /// Whether queued commands work (SNCQ).
    pub fn queues(self) -> bool {
        self.0 & Self::QUEUES.0 != 0
    }

    /// Whether addresses have 64 bits (S64A).
    pub fn wide(self) -> bool {
        self.0 & Self::WIDE.0 != 0
    }
}

bitflags! {
    /// Global control (§3.1.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Global: u32 {
        /// Reset everything; reads 1 until that is done (HR).
        const RESET = 1 << 0;
        /// Send interrupts (IE).
        const INTERRUPTS = 1 << 1;
        /// Speak AHCI, not the legacy interface (AE).
        const ENABLE = 1 << 31;
    }

    /// BIOS/OS handoff control and status (§3.1.11).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Handoff: u32 {
        /// Firmware owns the controller (BOS).
        const FIRMWARE = 1 << 0;
        /// The operating system wants it (OOS).
        const SYSTEM = 1 << 1;
        /// The change of owner is to be cleared by writing 1 (OOC).
        const CHANGED = 1 << 3;
        /// Firmware has commands to finish (BB).
        const BUSY = 1 << 4;
    }

    /// A port's command and status register (§3.3.7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u32 {
        /// Work on the command list (ST).
        const START = 1 << 0;
        /// Spin the device up (SUD).
        const SPIN_UP = 1 << 1;
        /// Give the device power (POD).
        const POWER_ON = 1 << 2;
        /// Take FISes from the device (FRE).
        const RECEIVE = 1 << 4;
        /// It takes FISes (FR).
        const RECEIVING = 1 << 14;
        /// It works on the command list (CR).
        const RUNNING = 1 << 15;
        /// Power can be switched (CPD).
        const POWER_SWITCH = 1 << 20;
        /// Wake the link (ICC = active); reads 0 once that is done.
        const LINK_ACTIVE = 1 << 28;
        const _ = !0;
    }

    /// What of a port's interrupt status (§3.3.5) means that a command failed
    /// or that the controller stopped working on commands (§6.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Fault: u32 {
        /// The device sent more than was asked for (OFS).
        const OVERFLOW = 1 << 24;
        /// The link failed, the controller recovered (INFS).
        const INTERFACE = 1 << 26;
        /// The link failed, the controller stopped (IFS).
        const INTERFACE_FATAL = 1 << 27;
        /// Data could not be reached in memory (HBDS).
        const BUS_DATA = 1 << 28;
        /// A descriptor could not be reached in memory (HBFS).
        const BUS_FATAL = 1 << 29;
        /// The device reports an error (TFES).
        const TASK_FILE = 1 << 30;
    }

    /// The device's status register (ATA/ATAPI-8 ACS, §6.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DeviceStatus: u8 {
        /// The error register says what failed.
        const ERR = 1 << 0;
        /// Data is to be moved.
        const DRQ = 1 << 3;
        /// The device itself has failed.
        const DF = 1 << 5;
        /// It works, and no register means anything.
        const BSY = 1 << 7;
        const _ = !0;
    }
}

/// CAP2: there is a handoff register (BOH, §3.1.10).
pub const CAP2_HANDOFF: u32 = 1 << 0;

/// PxSSTS: the device detection field (§3.3.10).
pub const DETECT_MASK: u32 = 0xf;
/// No device.
pub const DETECT_NONE: u32 = 0;
/// There is a device, and the link is up.
pub const DETECT_UP: u32 = 3;

/// PxSCTL (§3.3.11): the speed limit, which is firmware's to choose.
pub const CONTROL_SPEED: u32 = 0xf << 4;
/// No power saving of the link.
pub const CONTROL_NO_POWER_SAVING: u32 = 3 << 8;
/// Reset the link for as long as this stands there.
pub const CONTROL_RESET: u32 = 1;

/// PxSIG of an ATA disk (§3.3.9).
pub const SIGNATURE_DISK: u32 = 0x0000_0101;

/// An entry of the command list (§4.2.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
pub struct CommandHeader {
    /// The FIS's length in words of 4 bytes, and [`CommandHeader::WRITE`].
    pub flags: u16,
    /// Entries of the scatter list.
    pub entries: u16,
    /// Bytes moved, as the controller counts them.
    pub moved: u32,
    /// Physical address of the command table, in multiples of 128.
    pub table: u64,
    /// Zero.
    pub reserved: [u32; 4],
}

impl CommandHeader {
    /// Memory to device (W).
    pub const WRITE: u16 = 1 << 6;
    /// Bytes of an entry.
    pub const SIZE: usize = size_of::<Self>();
}

/// An entry of a command's scatter list (§4.2.3.3).
#[repr(C)]
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
pub struct ScatterEntry {
    /// Physical address, a multiple of 2.
    pub address: u64,
    /// Zero.
    pub reserved: u32,
    /// Bytes less one: an odd number of at most [`ScatterEntry::MOST_BYTES`].
    pub last_byte: u32,
}

impl ScatterEntry {
    /// Bytes of an entry.
    pub const SIZE: usize = size_of::<Self>();
    /// Bytes that one entry can name.
    pub const MOST_BYTES: u32 = 4 << 20;
}

/// Where the scatter list begins in a command table (§4.2.3).
pub const TABLE_SCATTER: usize = 0x80;
/// A command table begins at a multiple of this.
pub const TABLE_ALIGNMENT: usize = 128;
/// Bytes of a port's command list; its alignment too.
pub const LIST_BYTES: usize = 1024;
/// Bytes of the area for received FISes; its alignment too.
pub const RECEIVED_BYTES: usize = 256;

/// A FIS from host to device that carries a command (Serial ATA 3.1, §10.3.4).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
pub struct CommandFis {
    /// [`CommandFis::KIND`].
    pub kind: u8,
    /// [`CommandFis::IS_COMMAND`].
    pub flags: u8,
    /// The command.
    pub command: u8,
    /// Its feature, low byte.
    pub feature_low: u8,
    /// The block's address, bytes 0 to 2.
    pub lba_low: [u8; 3],
    /// [`CommandFis::LBA`].
    pub device: u8,
    /// The block's address, bytes 3 to 5.
    pub lba_high: [u8; 3],
    /// Its feature, high byte.
    pub feature_high: u8,
    /// The count, low byte first.
    pub count: [u8; 2],
    /// Zero.
    pub reserved: [u8; 6],
}

impl CommandFis {
    /// A register FIS from the host.
    pub const KIND: u8 = 0x27;
    /// It is a command, not a change of device control.
    pub const IS_COMMAND: u8 = 1 << 7;
    /// The address is a block's number.
    pub const LBA: u8 = 1 << 6;
    /// Bytes.
    pub const SIZE: usize = size_of::<Self>();
}

const _: () = {
    assert!(CommandHeader::SIZE == 32);
    assert!(ScatterEntry::SIZE == 16);
    assert!(CommandFis::SIZE == 20);
};
