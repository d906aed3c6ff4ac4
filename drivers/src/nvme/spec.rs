//! Layouts and numbers of the NVM Express base specification 2.0 and the NVM
//! command set specification 1.0, and nothing else.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Offsets of controller properties in bytes (§3.1.3).
pub mod register {
    /// Controller capabilities, 64 bits.
    pub const CAP: usize = 0x00;
    /// Version.
    pub const VS: usize = 0x08;
    /// Controller configuration.
    pub const CC: usize = 0x14;
    /// Controller status.
    pub const CSTS: usize = 0x1c;
    /// Admin queue attributes.
    pub const AQA: usize = 0x24;
    /// Admin submission queue base address, 64 bits.
    pub const ASQ: usize = 0x28;
    /// Admin completion queue base address, 64 bits.
    pub const ACQ: usize = 0x30;
    /// Controller ready timeouts.
    pub const CRTO: usize = 0x68;
    /// The first doorbell (NVMe over PCIe transport 1.0, §3.1.2).
    pub const DOORBELLS: usize = 0x1000;
}

/// Controller capabilities (§3.1.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Most entries in an I/O queue, 1 to 65536. (The register counts from 0.)
    pub fn max_queue_entries(self) -> u32 {
        (self.0 & 0xffff) as u32 + 1
    }

    /// Longest time to become ready or unready, in units of 500 ms.
    pub fn timeout(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Bytes from one doorbell to the next.
    pub fn doorbell_stride(self) -> usize {
        4 << (self.0 >> 32 & 0xf)
    }

    /// Whether the controller has I/O command sets, but not the NVM one.
    pub fn lacks_nvm_commands(self) -> bool {
        let sets = self.0 >> 37 & 0xff;
        sets & 1 << 7 != 0 && sets & 1 == 0
    }

    /// The smallest memory page that can be configured, in bytes.
    pub fn min_page_bytes(self) -> u64 {
        4096 << (self.0 >> 48 & 0xf)
    }

    /// Whether [`register::CRTO`] tells a time for becoming ready.
    pub fn has_ready_timeouts(self) -> bool {
        self.0 >> 59 & 1 != 0
    }
}

/// Version 1.1.0, from which on active namespaces can be listed (§3.1.3.2).
pub const VERSION_1_1: u32 = 0x0001_0100;

bitflags::bitflags! {
    /// Controller configuration (§3.1.3.5): those values of its fields that
    /// this driver uses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Configuration: u32 {
        /// Enable.
        const ENABLE = 1 << 0;
        /// Shutdown notification: normal.
        const SHUTDOWN_NORMAL = 0b01 << 14;
        /// Both bits of the shutdown notification.
        const SHUTDOWN_MASK = 0b11 << 14;
        /// I/O completion queue entries of 2^4 bytes.
        const CQ_ENTRY_16 = 4 << 20;
        const _ = !0;
    }
}

impl Configuration {
    /// I/O submission queue entries of 2^`shift` bytes.
    pub fn sq_entry(shift: u32) -> Self {
        Self::from_bits_retain((shift & 0xf) << 16)
    }
}

/// Controller status (§3.1.3.6).
#[derive(Clone, Copy, Debug)]
pub struct Status(pub u32);

impl Status {
    /// Whether the controller takes commands.
    pub fn ready(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether it had a fatal error.
    pub fn fatal(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// Whether it is shut down, or about to be.
    pub fn shutting_down(self) -> bool {
        self.0 >> 2 & 0b11 != 0
    }

    /// Whether shutting down is complete.
    pub fn shut_down(self) -> bool {
        self.0 >> 2 & 0b11 == 0b10
    }

    /// Whether there is no controller behind the register any more.
    pub fn gone(self) -> bool {
        self.0 == u32::MAX
    }
}

/// Admin command opcodes (§5, figure 138).
pub mod admin {
    /// Delete I/O submission queue.
    pub const DELETE_SQ: u8 = 0x00;
    /// Create I/O submission queue.
    pub const CREATE_SQ: u8 = 0x01;
    /// Delete I/O completion queue.
    pub const DELETE_CQ: u8 = 0x04;
    /// Create I/O completion queue.
    pub const CREATE_CQ: u8 = 0x05;
    /// Identify.
    pub const IDENTIFY: u8 = 0x06;
    /// Set features.
    pub const SET_FEATURES: u8 = 0x09;
}

/// NVM command set opcodes (NVM command set 1.0, §3.2).
pub mod nvm {
    /// Flush.
    pub const FLUSH: u8 = 0x00;
    /// Write.
    pub const WRITE: u8 = 0x01;
    /// Read.
    pub const READ: u8 = 0x02;
}

/// What an identify command asks for (§5.17.1, figure 273).
pub mod cns {
    /// A namespace.
    pub const NAMESPACE: u32 = 0x00;
    /// The controller.
    pub const CONTROLLER: u32 = 0x01;
    /// The identifiers of active namespaces.
    pub const ACTIVE_NAMESPACES: u32 = 0x02;
}

/// Feature identifier of the number of queues (§5.27.1.5).
pub const FEATURE_NUMBER_OF_QUEUES: u32 = 0x07;

/// Queue is physically contiguous (§5.4, §5.5: command dword 11, bit 0).
pub const QUEUE_CONTIGUOUS: u32 = 1;

/// A submission queue entry (§3.3.3.1).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Command {
    /// What to do.
    pub opcode: u8,
    /// Not fused; data by PRPs: zero.
    pub flags: u8,
    /// Command identifier.
    pub cid: u16,
    /// Namespace, or zero.
    pub nsid: u32,
    /// Zero.
    pub reserved: [u32; 2],
    /// Zero: no metadata.
    pub metadata: u64,
    /// The data's first page.
    pub prp1: u64,
    /// The second page, or the list of all pages but the first.
    pub prp2: u64,
    /// Command dwords 10 to 15.
    pub dwords: [u32; 6],
}

/// A completion queue entry (§3.3.3.2).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct CompletionEntry {
    /// Depends on the command.
    pub result: u32,
    /// Reserved.
    pub reserved: u32,
    /// How far the controller has read the submission queue.
    pub sq_head: u16,
    /// Which submission queue that is.
    pub sq_id: u16,
    /// Which command it was.
    pub cid: u16,
    /// Phase in bit 0, status field above.
    pub status: u16,
}

impl CompletionEntry {
    /// Where the word with command identifier, phase and status begins.
    pub const LAST_WORD: usize = 12;
    /// The phase bit in that word.
    pub const PHASE: u32 = 1 << 16;
}

/// The beginning of the identify controller data (§5.17.2.1, figure 275).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct IdentifyController {
    /// PCI vendor and subsystem vendor.
    pub vendor: [u16; 2],
    /// Serial number: ASCII, padded with spaces.
    pub serial: [u8; 20],
    /// Model number: ASCII, padded with spaces.
    pub model: [u8; 40],
    /// Firmware revision, arbitration burst, IEEE OUI, CMIC.
    pub reserved_64: [u8; 13],
    /// Maximum data transfer size: a power of two of the smallest memory page;
    /// zero where there is no limit.
    pub mdts: u8,
    /// Controller identifier, version, resume latency.
    pub reserved_78: [u8; 10],
    /// Longest time to shut down, in microseconds (RTD3E); zero where the
    /// controller does not say.
    pub shutdown_latency_us: u32,
    /// To the end of the admin attributes.
    pub reserved_92: [u8; 424],
    /// Number of namespaces: the highest valid identifier.
    pub namespaces: u32,
    /// Optional commands, fused operations, format attributes.
    pub reserved_520: [u8; 5],
    /// Volatile write cache: bit 0 says that there is one.
    pub write_cache: u8,
    /// To a multiple of 4.
    pub reserved_526: [u8; 2],
}

/// The beginning of the identify namespace data (NVM command set 1.0, §4.1.5.1,
/// figure 97).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct IdentifyNamespace {
    /// Size in blocks (NSZE).
    pub blocks: u64,
    /// Capacity, utilization.
    pub reserved_8: [u64; 2],
    /// Features.
    pub reserved_24: u8,
    /// Number of formats, counted from 0.
    pub formats: u8,
    /// The format in use: its index in bits 0 to 3 and 5 to 6.
    pub format_in_use: u8,
    /// To the list of formats.
    pub reserved_27: [u8; 101],
    /// Metadata bytes in bits 0 to 15, block size as a power of two in bits
    /// 16 to 23.
    pub format: [u32; 64],
}

const _: () = {
    assert!(size_of::<Command>() == 64);
    assert!(size_of::<CompletionEntry>() == 16);
    assert!(core::mem::offset_of!(IdentifyController, mdts) == 77);
    assert!(core::mem::offset_of!(IdentifyController, shutdown_latency_us) == 88);
    assert!(core::mem::offset_of!(IdentifyController, namespaces) == 516);
    assert!(core::mem::offset_of!(IdentifyController, write_cache) == 525);
    assert!(core::mem::offset_of!(IdentifyNamespace, format) == 128);
};
