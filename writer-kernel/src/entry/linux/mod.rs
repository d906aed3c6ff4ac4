//! Linux's door: `boot_params` (Linux Documentation/arch/x86/zero-page.rst,
//! arch/x86/include/uapi/asm/bootparam.h).

use super::left::{Left, each};
use super::{Loader, LoaderError, uefi};
use crate::wake::boot::{Boot, FirmwareRange};
use dormouse_boot::params::Uefi;
use dormouse_handoff::screen::Framebuffer;
use dormouse_handoff::units::PhysAddr;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Bytes of `boot_params`.
const BYTES: u64 = 4096;

/// Offsets in `boot_params`.
mod at {
    pub const ACPI_RSDP: usize = 0x070;
    pub const COMMAND_LINE_HIGH: usize = 0x0c8;
    pub const UEFI: usize = 0x1c0;
    pub const E820_ENTRIES: usize = 0x1e8;
    pub const MAGIC: usize = 0x202;
    pub const COMMAND_LINE: usize = 0x228;
    pub const SETUP_DATA: usize = 0x250;
    pub const E820: usize = 0x2d0;
}

/// In the setup header, "HdrS".
const MAGIC: u32 = u32::from_le_bytes(*b"HdrS");

/// Most entries that `boot_params` itself has room for.
const MAX_E820: usize = 128;

/// `struct setup_data`, of which more of the memory map is one kind.
#[repr(C, packed)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct SetupData {
    next: u64,
    kind: u32,
    bytes: u32,
}

const SETUP_E820_EXT: u32 = 1;

/// What a kernel whose firmware's runtime services were moved leaves for the
/// next one.
const SETUP_EFI: u32 = 4;

/// Most pieces of setup data that are looked at.
const MAX_SETUP_DATA: usize = 64;

/// `struct boot_e820_entry`.
#[repr(C, packed)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct E820 {
    address: u64,
    bytes: u64,
    kind: u32,
}

/// `struct efi_info`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct UefiInfo {
    signature: [u8; 4],
    system_table: u32,
    descriptor_bytes: u32,
    descriptor_version: u32,
    map: u32,
    map_bytes: u32,
    system_table_high: u32,
    map_high: u32,
}

/// What the loader left at `boot_params`, which was in ESI.
pub fn boot(boot_params: u64, left: &mut Left<'_>) -> Result<Boot, LoaderError> {
    let params = left
        .bytes(boot_params, BYTES)
        .filter(|params| field::<u32>(params, at::MAGIC) == Some(MAGIC))
        .ok_or(LoaderError::Nothing(Loader::Linux))?;
    let rsdp = field::<u64>(params, at::ACPI_RSDP).unwrap_or(0);
    let rsdp = if rsdp == 0 { rsdp_of_uefi(params, left).unwrap_or(0) } else { rsdp };
    let mut boot = Boot::new(PhysAddr(rsdp));

    let count = usize::from(params[at::E820_ENTRIES]).min(MAX_E820);
    let map = &params[at::E820..][..count * size_of::<E820>()];
    if map.is_empty() {
        return Err(LoaderError::NoMemoryMap(Loader::Linux));
    }
    add(&mut boot, map);
    let mut uefi = uefi_left(params, left);
    let mut next = field::<u64>(params, at::SETUP_DATA).unwrap_or(0);
    for _ in 0..MAX_SETUP_DATA {
        let Some(data) = left.read::<SetupData>(next) else { break };
        if data.kind == SETUP_E820_EXT
            && let Some(more) = left.bytes(next + size_of::<SetupData>() as u64, data.bytes.into())
        {
            add(&mut boot, more);
        }
        if data.kind == SETUP_EFI {
            uefi = None;
        }
        next = data.next;
    }
    if let Some(uefi) = uefi {
        boot.set_uefi(uefi);
    }

    if let Some(framebuffer) = Framebuffer::of_screen_info(params) {
        boot.set_framebuffer(framebuffer);
    }
    let low = u64::from(field::<u32>(params, at::COMMAND_LINE).unwrap_or(0));
    let high = u64::from(field::<u32>(params, at::COMMAND_LINE_HIGH).unwrap_or(0));
    if let Some(text) = left.command_line(high << 32 | low) {
        boot.set_command_line(text);
    }
    Ok(boot)
}

fn add(boot: &mut Boot, map: &[u8]) {
    for entry in each::<E820>(map, size_of::<E820>()) {
        let (start, bytes, kind) = (PhysAddr(entry.address), entry.bytes, entry.kind);
        boot.add_range(FirmwareRange { start, bytes, kind });
    }
}

/// The RSDP that UEFI firmware named, where the loader was told of it.
fn rsdp_of_uefi(params: &[u8], left: &mut Left<'_>) -> Option<u64> {
    uefi::rsdp(uefi_info(params)?.system_table(), left)
}

/// What UEFI firmware left, where the loader was told of it.
fn uefi_left(params: &[u8], left: &mut Left<'_>) -> Option<Uefi<'static>> {
    let info = uefi_info(params)?;
    let map = u64::from(info.map_high) << 32 | u64::from(info.map);
    Some(Uefi {
        system_table: info.system_table(),
        map: left.bytes(map, info.map_bytes.into())?,
        descriptor_bytes: info.descriptor_bytes,
        descriptor_version: info.descriptor_version,
    })
}

fn uefi_info(params: &[u8]) -> Option<UefiInfo> {
    field::<UefiInfo>(params, at::UEFI).filter(|uefi| uefi.signature == *b"EL64")
}

impl UefiInfo {
    fn system_table(&self) -> u64 {
        u64::from(self.system_table_high) << 32 | u64::from(self.system_table)
    }
}

fn field<T: FromBytes>(params: &[u8], at: usize) -> Option<T> {
    Some(T::read_from_prefix(params.get(at..)?).ok()?.0)
}
