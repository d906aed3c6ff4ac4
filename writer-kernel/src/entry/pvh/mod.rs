//! The PVH door: `hvm_start_info` (Xen public/arch-x86/hvm/start_info.h).

use super::left::{Left, each};
use super::{Loader, LoaderError};
use crate::arch::window;
use crate::wake::boot::{Boot, FirmwareRange};
use dormouse_handoff::units::PhysAddr;
use zerocopy::{FromBytes, Immutable, KnownLayout};

const MAGIC: u32 = 0x336e_c578;

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

/// What the loader left at `start_info`, which was in EBX.
pub fn boot(start_info: u64, left: &mut Left<'_>) -> Result<Boot, LoaderError> {
    let info = left
        .read::<StartInfo>(start_info)
        .filter(|info| info.magic == MAGIC)
        .ok_or(LoaderError::Nothing(Loader::Pvh))?;
    let size = size_of::<MemoryMapEntry>();
    // Version 0 has no memory map.
    let map = Some(u64::from(info.memory_map_entries) * size as u64)
        .filter(|&bytes| info.version > 0 && bytes > 0)
        .and_then(|bytes| left.bytes(info.memory_map, bytes))
        .ok_or(LoaderError::NoMemoryMap(Loader::Pvh))?;
    let mut boot = Boot::new(PhysAddr(info.rsdp));
    // QEMU, the one PVH loader whose machines have S3, puts an ELF file into memory at
    // each reset, the one on the way up from S3 included (`rom_reset` in
    // hw/core/loader.c, QEMU 7.2): all that the file asks for, which is the window.
    boot.set_reloaded(window::range());
    for entry in each::<MemoryMapEntry>(map, size) {
        let (start, bytes, kind) = (PhysAddr(entry.address), entry.bytes, entry.kind);
        boot.add_range(FirmwareRange { start, bytes, kind });
    }
    if let Some(text) = left.command_line(info.command_line) {
        boot.set_command_line(text);
    }
    Ok(boot)
}
