//! The PVH door: `hvm_start_info` (Xen public/arch-x86/hvm/start_info.h).

use crate::wake::boot::{Boot, FirmwareRange};
use core::slice;
use dormouse_handoff::units::PhysAddr;
use zerocopy::{FromBytes, Immutable, KnownLayout};

const MAGIC: u32 = 0x336e_c578;

/// The longest command line that is taken, in bytes.
const MAX_COMMAND_LINE: u64 = 1024;

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
/// `at` maps physical memory below 4 GiB and answers where it is.
///
/// # Safety
///
/// `start_info` is EBX of the PVH door, nothing has been overwritten since, and
/// what `at` answers is readable for as many bytes as it was asked for.
pub unsafe fn boot(
    start_info: u64,
    mut at: impl FnMut(PhysAddr, u64) -> Option<*const u8>,
) -> Result<Boot, PvhError> {
    let mut bytes = |address: u64, length: u64| {
        let end = address.checked_add(length)?;
        let pointer = at(PhysAddr(address), length).filter(|_| address != 0 && end <= 1 << 32)?;
        // SAFETY: the loader put something there, as the caller promises.
        Some(unsafe { slice::from_raw_parts(pointer, length as usize) })
    };
    let info = bytes(start_info, size_of::<StartInfo>() as u64)
        .and_then(|bytes| StartInfo::read_from_bytes(bytes).ok())
        .filter(|info| info.magic == MAGIC)
        .ok_or(PvhError::NoStartInfo)?;
    let map_bytes = u64::from(info.memory_map_entries) * size_of::<MemoryMapEntry>() as u64;
    let has_map = info.version > 0 && map_bytes > 0 && map_bytes < 1 << 20;
    let map = Some(info.memory_map)
        .filter(|_| has_map)
        .and_then(|address| bytes(address, map_bytes))
        .ok_or(PvhError::NoMemoryMap)?;
    let mut boot = Boot::new(PhysAddr(info.rsdp));
    for entry in map.chunks_exact(size_of::<MemoryMapEntry>()) {
        if let Ok(entry) = MemoryMapEntry::read_from_bytes(entry) {
            boot.add_range(FirmwareRange {
                start: PhysAddr(entry.address),
                bytes: entry.bytes,
                kind: entry.kind,
            });
        }
    }
    if let Some(text) = bytes(info.command_line, MAX_COMMAND_LINE) {
        boot.set_command_line(text);
    }
    Ok(boot)
}
