//! The door for UEFI firmware.

mod services;

use super::left::{Left, each};
use super::{Loader, LoaderError};
use crate::wake::boot::{Boot, FirmwareRange};
use alloc::vec::Vec;
use dormouse_boot::e820;
use dormouse_boot::params::Uefi;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};
use uefi_raw::table::boot::{MemoryDescriptor, MemoryType};
use uefi_raw::{Guid, guid};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Configuration tables that point at the RSDP (UEFI 2.10, 4.6.1).
const ACPI_2: Guid = guid!("8868e871-e4f1-11d3-bc22-0080c73c8881");
const ACPI_1: Guid = guid!("eb9d2d30-2d88-11d3-9a16-0090273fc14d");

/// Most configuration tables that are looked at.
const MAX_TABLES: u64 = 256;

/// Most letters of a command line that are taken.
const MAX_LETTERS: usize = 1023;

/// The system table, as far as it is looked at (4.3), and a configuration table.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct SystemTable {
    signature: [u8; 8],
    unused: [u64; 12],
    tables: u64,
    table: u64,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct ConfigurationTable {
    guid: [u8; 16],
    table: u64,
}

/// The part of a memory descriptor that the specification fixes (7.2.3).
#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct Descriptor {
    kind: u32,
    padding: u32,
    start: u64,
    virtual_start: u64,
    pages: u64,
    attributes: u64,
}

const _: () = assert!(size_of::<Descriptor>() == size_of::<MemoryDescriptor>());

/// What the firmware left, once its boot services are left.
pub fn boot(left: &mut Left<'_>) -> Result<Boot, LoaderError> {
    let noted = services::noted();
    let mut boot = Boot::new(PhysAddr(rsdp(noted.system_table, left).unwrap_or(0)));
    let map = left
        .bytes(noted.map, noted.map_bytes)
        .filter(|map| !map.is_empty())
        .ok_or(LoaderError::NoMemoryMap(Loader::Uefi))?;
    add_memory_map(&mut boot, map, noted.descriptor_bytes as usize);
    boot.set_uefi(Uefi {
        system_table: noted.system_table,
        map,
        descriptor_bytes: noted.descriptor_bytes as u32,
        descriptor_version: noted.descriptor_version,
    });
    boot.set_framebuffer(noted.framebuffer);
    if let Some(letters) = left.bytes(noted.options, noted.options_bytes) {
        boot.set_command_line(&in_ascii(letters));
    }
    Ok(boot)
}

/// UCS-2 as ASCII, up to a zero; what is not ASCII becomes a question mark.
fn in_ascii(letters: &[u8]) -> [u8; MAX_LETTERS] {
    let mut text = [0; MAX_LETTERS];
    let letters = letters.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    for (place, letter) in text.iter_mut().zip(letters.take_while(|&letter| letter != 0)) {
        *place = u8::try_from(letter).ok().filter(u8::is_ascii).unwrap_or(b'?');
    }
    text
}

/// The RSDP that the system table at this physical address names.
pub fn rsdp(system_table: u64, left: &mut Left<'_>) -> Option<u64> {
    let system = left.read::<SystemTable>(system_table)?;
    if system.signature != *b"IBI SYST" {
        return None;
    }
    let size = size_of::<ConfigurationTable>();
    let tables = left.bytes(system.table, system.tables.min(MAX_TABLES) * size as u64)?;
    let named = |guid: Guid| {
        let guid = guid.to_bytes();
        each::<ConfigurationTable>(tables, size).find(|table| table.guid == guid)
    };
    named(ACPI_2).or_else(|| named(ACPI_1)).map(|table| table.table)
}

/// Adds a memory map of UEFI's, whose descriptors are `stride` bytes apart.
pub fn add_memory_map(boot: &mut Boot, map: &[u8], stride: usize) {
    for entry in each::<Descriptor>(map, stride) {
        boot.add_range(FirmwareRange {
            start: PhysAddr(entry.start),
            bytes: entry.pages.saturating_mul(PAGE_SIZE),
            kind: e820::of_uefi(entry.kind),
        });
    }
}

/// Where boot services were. It is RAM, but tables that Linux reads lie there as
/// well (memory attributes, firmware resources), and Linux frees it itself
/// (`efi_reserve_boot_services` in arch/x86/platform/efi/quirks.c).
pub fn boot_services(uefi: &Uefi<'_>) -> Vec<PageRange> {
    each::<Descriptor>(uefi.map, uefi.descriptor_bytes as usize)
        .filter(|entry| {
            let kind = MemoryType(entry.kind);
            kind == MemoryType::BOOT_SERVICES_CODE || kind == MemoryType::BOOT_SERVICES_DATA
        })
        .map(|entry| PageRange {
            start: Pfn::containing(PhysAddr(entry.start)),
            pages: entry.pages.min(PageRange::MAX_PFN),
        })
        .collect()
}
