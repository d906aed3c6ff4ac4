//! What the loader found, in the terms of Linux's boot protocol.

use alloc::vec::Vec;
use bootloader_api::BootInfo;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use dormouse_boot::e820;
use dormouse_boot::params::Range;
use dormouse_handoff::units::{PAGE_SIZE, PageRange};

/// The RAM disk's bytes.
pub fn ram_disk(info: &BootInfo) -> Option<&'static [u8]> {
    let start = info.ramdisk_addr.into_option()?;
    // SAFETY: the loader mapped this much there, and nobody writes to it.
    Some(unsafe { core::slice::from_raw_parts(start as *const u8, info.ramdisk_len as usize) })
}

/// The memory map: neighbours of one kind are one range.
pub fn ranges(regions: &[MemoryRegion]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for region in regions.iter().filter(|region| region.end > region.start) {
        let (start, bytes, kind) = (region.start, region.end - region.start, kind(region.kind));
        match ranges.last_mut() {
            Some(last) if last.kind == kind && last.start + last.bytes == start => {
                last.bytes += bytes;
            }
            _ => ranges.push(Range { start, bytes, kind }),
        }
    }
    ranges
}

/// The whole pages that nobody uses, in order.
pub fn usable(regions: &[MemoryRegion]) -> Vec<PageRange> {
    let usable = regions.iter().filter(|region| region.kind == MemoryRegionKind::Usable);
    let mut pages: Vec<PageRange> = usable
        .map(|region| (region.start.div_ceil(PAGE_SIZE), region.end / PAGE_SIZE))
        .filter(|(start, end)| start < end)
        .map(|(start, end)| PageRange::new(start, end - start))
        .collect();
    pages.sort_by_key(|range| range.start);
    pages
}

/// What the loader itself used is RAM again once it is left.
fn kind(kind: MemoryRegionKind) -> u32 {
    match kind {
        MemoryRegionKind::Usable | MemoryRegionKind::Bootloader => e820::RAM,
        MemoryRegionKind::UnknownBios(kind) => kind,
        MemoryRegionKind::UnknownUefi(kind) => e820::of_uefi(kind),
        _ => e820::RESERVED,
    }
}
