//! The PVH door: `hvm_start_info` (Xen public/arch-x86/hvm/start_info.h).

use crate::wake::boot::{Boot, FirmwareRange};
use core::slice;
use dormouse_handoff::units::PhysAddr;
use zerocopy::{FromBytes, Immutable, KnownLayout};

const MAGIC: u32 = 0x336e_c578;

/// The longest command line that is taken, in bytes.
const MAX_COMMAND_LINE: usize = 1024;

#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct MemoryMapEntry {
    address: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

/// What keeps the PVH door shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PvhError {
    /// EBX did not point at a `hvm_start_info`.
    NoStartInfo,
    /// The structure is of version 0, without a memory map.
    NoMemoryMap,
}

impl core::fmt::Display for PvhError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoStartInfo => write!(f, "the loader passed no PVH start info"),
            Self::NoMemoryMap => write!(f, "the loader's PVH start info has no memory map"),
        }
    }
}

/// Copies what the loader left.
///
/// # Safety
///
/// `start_info` is EBX of the PVH door, nothing has been overwritten since, and
/// `at` gives readable memory for every physical address below 4 GiB.
pub unsafe fn boot(start_info: u64, at: impl Fn(PhysAddr) -> *const u8) -> Result<Boot, PvhError> {
    let bytes = |address: u64, length: usize| {
        // SAFETY: the loader put the structure there, as the caller promises.
        unsafe { slice::from_raw_parts(at(PhysAddr(address)), length) }
    };
    let below_4g = |address: u64, length: u64| {
        address != 0 && address.checked_add(length).is_some_and(|end| end <= 1 << 32)
    };
    if !below_4g(start_info, size_of::<StartInfo>() as u64) {
        return Err(PvhError::NoStartInfo);
    }
    let info = StartInfo::read_from_bytes(bytes(start_info, size_of::<StartInfo>()))
        .map_err(|_| PvhError::NoStartInfo)?;
    if info.magic != MAGIC {
        return Err(PvhError::NoStartInfo);
    }
    let map_bytes = u64::from(info.memory_map_entries) * size_of::<MemoryMapEntry>() as u64;
    if info.version == 0 || map_bytes == 0 || !below_4g(info.memory_map, map_bytes) {
        return Err(PvhError::NoMemoryMap);
    }
    let mut boot = Boot::new(PhysAddr(info.rsdp));
    for entry in bytes(info.memory_map, map_bytes as usize).chunks(size_of::<MemoryMapEntry>()) {
        if let Ok(entry) = MemoryMapEntry::read_from_bytes(entry) {
            boot.add_range(FirmwareRange {
                start: PhysAddr(entry.address),
                bytes: entry.bytes,
                kind: entry.kind,
            });
        }
    }
    if below_4g(info.command_line, MAX_COMMAND_LINE as u64) {
        boot.set_command_line(bytes(info.command_line, MAX_COMMAND_LINE));
    }
    Ok(boot)
}
