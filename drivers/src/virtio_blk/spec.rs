//! Numbers and layouts of virtio 1.2 that this driver uses.
//!
//! Everything is little-endian, as the processor is.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes};

bitflags! {
    /// Feature bits of a block device (§5.2.3) and of any device (§6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// `size_max` bounds the bytes of a data descriptor.
        const SIZE_MAX = 1 << 1;
        /// `seg_max` bounds the data descriptors of a request.
        const SEG_MAX = 1 << 2;
        /// The device cannot be written.
        const RO = 1 << 5;
        /// `blk_size` is the size of a logical block.
        const BLK_SIZE = 1 << 6;
        /// The device understands flush requests.
        const FLUSH = 1 << 9;
        /// `writeback` says whether the write cache is volatile.
        const CONFIG_WCE = 1 << 11;
        /// A descriptor may point to a table of descriptors.
        const INDIRECT_DESC = 1 << 28;
        /// The device follows version 1 of the specification or a later one.
        const VERSION_1 = 1 << 32;
        /// The device reaches memory through the platform's IOMMU.
        const ACCESS_PLATFORM = 1 << 33;
    }
}

impl Features {
    /// Those that the legacy interface can tell: 32 bits.
    pub const LEGACY: Self = Self::from_bits_truncate(u32::MAX as u64);
}

/// Offsets in the block device's configuration (§5.2.4), in bytes.
pub mod config {
    /// Capacity in sectors of 512 bytes, whatever `blk_size` is; 64 bits.
    pub const CAPACITY: usize = 0;
    /// Most bytes in a data descriptor; 32 bits.
    pub const SIZE_MAX: usize = 8;
    /// Most data descriptors in a request; 32 bits.
    pub const SEG_MAX: usize = 12;
    /// Bytes in a logical block; 32 bits.
    pub const BLK_SIZE: usize = 20;
    /// 1 where the write cache is volatile; 8 bits.
    pub const WRITEBACK: usize = 32;
}

/// Bytes in a sector, the unit of capacity and of every request.
pub const SECTOR_SIZE: u32 = 512;

/// Bytes of a device's identity as GET_ID answers it (§5.2.6).
pub const ID_BYTES: usize = 20;

/// An entry of a descriptor table (§2.7.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct Descriptor {
    /// Physical address of the piece of memory.
    pub address: u64,
    /// Its length in bytes.
    pub length: u32,
    /// The three flags below.
    pub flags: u16,
    /// The next descriptor of the chain, if [`Descriptor::NEXT`] is set.
    pub next: u16,
}

impl Descriptor {
    /// The chain goes on.
    pub const NEXT: u16 = 1;
    /// The device writes here; else it reads.
    pub const WRITE: u16 = 2;
    /// What lies there is a table of descriptors.
    pub const INDIRECT: u16 = 4;
    /// Bytes of an entry.
    pub const SIZE: usize = size_of::<Self>();
}

/// An entry of the used ring (§2.7.8).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct UsedElement {
    /// The head of the chain that is done with.
    pub id: u32,
    /// Bytes written into it.
    pub length: u32,
}

/// In the available ring: the driver polls, it needs no interrupts (§2.7.7).
pub const AVAIL_NO_INTERRUPT: u16 = 1;
/// In the used ring: the device looks by itself, it needs no notification
/// (§2.7.10).
pub const USED_NO_NOTIFY: u16 = 1;

/// What a request begins with (§5.2.6).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct RequestHeader {
    /// An [`Operation`] as its number.
    pub operation: u32,
    /// Zero.
    pub reserved: u32,
    /// The first sector; zero where the operation has none.
    pub sector: u64,
}

/// What a request asks for (§5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    /// Device to memory.
    Read = 0,
    /// Memory to device.
    Write = 1,
    /// Make durable what is in the write cache.
    Flush = 4,
    /// Tell the serial number.
    GetId = 8,
}

impl Operation {
    /// What errors call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::GetId => "read the serial number",
        }
    }

    /// Whether the device writes the data descriptors.
    pub fn is_device_to_memory(self) -> bool {
        matches!(self, Self::Read | Self::GetId)
    }
}

/// How a request ended: its last byte (§5.2.6).
pub mod status {
    /// Well.
    pub const OK: u8 = 0;
    /// The device or its storage failed.
    pub const IOERR: u8 = 1;
    /// The device does not know the request.
    pub const UNSUPP: u8 = 2;
    /// No status of the specification: the driver puts it there first, so that
    /// a device which never answered is found out.
    pub const UNANSWERED: u8 = 0xff;
}

const _: () = {
    assert!(size_of::<Descriptor>() == 16);
    assert!(size_of::<UsedElement>() == 8);
    assert!(size_of::<RequestHeader>() == 16);
};
