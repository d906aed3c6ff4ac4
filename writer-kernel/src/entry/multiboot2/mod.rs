//! The Multiboot2 door: the boot information (Multiboot2 specification 2.0, 3.6).

use super::left::{Left, each};
use super::{Loader, LoaderError, uefi};
use crate::wake::boot::{Boot, FirmwareRange};
use dormouse_boot::params::Uefi;
use dormouse_handoff::screen::{Channel, Framebuffer};
use dormouse_handoff::units::PhysAddr;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// What each tag begins with; its size includes this.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct Tag {
    kind: u32,
    size: u32,
}

/// Kinds of tags.
mod kind {
    pub const END: u32 = 0;
    pub const COMMAND_LINE: u32 = 1;
    pub const MEMORY_MAP: u32 = 6;
    pub const UEFI_SYSTEM_TABLE: u32 = 12;
    pub const FRAMEBUFFER: u32 = 8;
    pub const RSDP_OF_ACPI_1: u32 = 14;
    pub const RSDP_OF_ACPI_2: u32 = 15;
    pub const UEFI_MEMORY_MAP: u32 = 17;
}

/// Before the entries of either memory map: the size of one, and a version.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct MapHead {
    entry_bytes: u32,
    version: u32,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct MemoryMapEntry {
    address: u64,
    bytes: u64,
    kind: u32,
    reserved: u32,
}

/// A framebuffer (3.6.12), the places of whose colours follow.
#[repr(C, packed)]
#[derive(Clone, Copy, FromBytes, KnownLayout, Immutable)]
struct FramebufferTag {
    address: u64,
    pitch: u32,
    width: u32,
    height: u32,
    depth: u8,
    kind: u8,
    reserved: u16,
    red: [u8; 2],
    green: [u8; 2],
    blue: [u8; 2],
}

/// One whose pixels are colours, not numbers of colours or letters.
const DIRECT_COLOUR: u8 = 1;

fn framebuffer(body: &[u8]) -> Option<Framebuffer> {
    let (tag, _) = FramebufferTag::read_from_prefix(body).ok()?;
    let channel = |[position, bits]: [u8; 2]| Channel { position, bits };
    (tag.kind == DIRECT_COLOUR).then(|| Framebuffer {
        address: PhysAddr(tag.address),
        width: tag.width,
        height: tag.height,
        pitch: tag.pitch,
        depth: tag.depth.into(),
        red: channel(tag.red),
        green: channel(tag.green),
        blue: channel(tag.blue),
        reserved: [0; 2],
    })
}

/// What the loader left at `information`, which was in EBX.
pub fn boot(information: u64, left: &mut Left<'_>) -> Result<Boot, LoaderError> {
    const HEAD: usize = 8;
    let nothing = LoaderError::Nothing(Loader::Multiboot2);
    let total = left.read::<u32>(information).ok_or(nothing)?;
    let mut rest =
        left.bytes(information, total.into()).and_then(|bytes| bytes.get(HEAD..)).ok_or(nothing)?;

    let mut boot = Boot::new(PhysAddr(0));
    let mut at = information + HEAD as u64;
    let mut uefi_map = None;
    let mut map = None;
    let mut system_table = None;
    while let Ok((tag, _)) = Tag::read_from_prefix(rest) {
        let size = tag.size as usize;
        let Some(body) = rest.get(size_of::<Tag>()..size) else { break };
        match tag.kind {
            kind::END => break,
            kind::COMMAND_LINE => boot.set_command_line(body),
            kind::MEMORY_MAP => map = Some(body),
            kind::FRAMEBUFFER => {
                if let Some(framebuffer) = framebuffer(body) {
                    boot.set_framebuffer(framebuffer);
                }
            }
            kind::UEFI_MEMORY_MAP => uefi_map = Some(body),
            kind::UEFI_SYSTEM_TABLE => {
                system_table = u64::read_from_prefix(body).ok().map(|(table, _)| table);
            }
            // A copy of it lies in the tag.
            kind::RSDP_OF_ACPI_1 if boot.rsdp().0 == 0 => {
                boot.set_rsdp(PhysAddr(at + size_of::<Tag>() as u64));
            }
            kind::RSDP_OF_ACPI_2 => boot.set_rsdp(PhysAddr(at + size_of::<Tag>() as u64)),
            _ => {}
        }
        // Tags begin at multiples of 8.
        let step = size.next_multiple_of(8);
        at += step as u64;
        rest = rest.get(step..).unwrap_or_default();
    }

    let entries = |body: &'static [u8]| {
        let (head, entries) = MapHead::read_from_prefix(body).ok()?;
        Some((head, entries, head.entry_bytes as usize))
    };
    // The firmware's own map says more than what the loader made of it.
    if let Some((head, entries, stride)) = uefi_map.and_then(entries) {
        uefi::add_memory_map(&mut boot, entries, stride);
        if let Some(system_table) = system_table {
            boot.set_uefi(Uefi {
                system_table,
                map: entries,
                descriptor_bytes: head.entry_bytes,
                descriptor_version: head.version,
            });
        }
    } else if let Some((_, entries, stride)) = map.and_then(entries) {
        for entry in each::<MemoryMapEntry>(entries, stride) {
            let (start, bytes, kind) = (PhysAddr(entry.address), entry.bytes, entry.kind);
            boot.add_range(FirmwareRange { start, bytes, kind });
        }
    } else {
        return Err(LoaderError::NoMemoryMap(Loader::Multiboot2));
    }
    Ok(boot)
}
