//! What any door for the reader finds, in one form.

use crate::power::Fallback;
use alloc::vec::Vec;
use dormouse_boot::params::{Range, Uefi};
use dormouse_handoff::memory_map::MemoryKind;
use dormouse_handoff::plan;
use dormouse_handoff::screen::Framebuffer;
use dormouse_handoff::units::{PageRange, PhysAddr};

/// Most ranges of a firmware's memory map that are taken.
const MAX_RANGES: usize = 256;

/// A range of the firmware's memory map.
#[derive(Clone, Copy, Debug)]
pub struct FirmwareRange {
    /// The first byte.
    pub start: PhysAddr,
    /// How many bytes.
    pub bytes: u64,
    /// E820 type (ACPI 6.5 table 15.1).
    pub kind: u32,
}

/// Most bytes of UEFI's memory map that are kept for a Linux: some 300
/// descriptors.
const MAX_UEFI_MAP: usize = 16 << 10;

/// What the reader was started with.
pub struct Boot {
    rsdp: PhysAddr,
    ranges: Vec<FirmwareRange>,
    framebuffer: Framebuffer,
    command_line: [u8; 1024],
    uefi: Option<UefiTables>,
    reloaded: PageRange,
}

/// What UEFI firmware left, for a Linux that is started.
struct UefiTables {
    system_table: PhysAddr,
    map: Vec<u8>,
    descriptor_bytes: u32,
    descriptor_version: u32,
}

impl Boot {
    /// Nothing yet but the ACPI root pointer; 0 where there is none.
    pub fn new(rsdp: PhysAddr) -> Self {
        Self {
            rsdp,
            ranges: Vec::new(),
            framebuffer: Framebuffer::default(),
            command_line: [0; 1024],
            uefi: None,
            reloaded: PageRange::default(),
        }
    }

    /// Adds a range of the memory map; ranges beyond [`MAX_RANGES`] are left
    /// out, so that an image that needs them is refused.
    pub fn add_range(&mut self, range: FirmwareRange) {
        // UEFI lists its neighbours of one kind apart, by the hundred.
        if let Some(last) = self.ranges.last_mut()
            && last.kind == range.kind
            && last.start.0.checked_add(last.bytes) == Some(range.start.0)
        {
            last.bytes = last.bytes.saturating_add(range.bytes);
        } else if range.bytes > 0 && self.ranges.len() < MAX_RANGES {
            self.ranges.push(range);
        }
    }

    /// Takes another ACPI root pointer.
    pub fn set_rsdp(&mut self, rsdp: PhysAddr) {
        self.rsdp = rsdp;
    }

    /// Keeps the screen that was set up.
    pub fn set_framebuffer(&mut self, framebuffer: Framebuffer) {
        self.framebuffer = framebuffer;
    }

    /// The screen; its address is 0 where none was set up.
    pub fn framebuffer(&self) -> &Framebuffer {
        &self.framebuffer
    }

    /// Keeps the command line, up to its first zero byte.
    pub fn set_command_line(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.command_line.len() - 1);
        self.command_line[..taken].copy_from_slice(&bytes[..taken]);
    }

    /// Notes which frames the machine fills anew on its way up from S3, whatever
    /// they hold.
    pub fn set_reloaded(&mut self, frames: PageRange) {
        self.reloaded = frames;
    }

    /// Frames that the machine fills anew on its way up from S3; none where nobody
    /// does so.
    pub fn reloaded(&self) -> PageRange {
        self.reloaded
    }

    /// Keeps what UEFI firmware left, boot services left: its runtime services
    /// were not moved to virtual addresses yet. A map that is too long is not kept.
    pub fn set_uefi(&mut self, uefi: Uefi<'_>) {
        self.uefi = (uefi.map.len() <= MAX_UEFI_MAP).then(|| UefiTables {
            system_table: PhysAddr(uefi.system_table),
            map: uefi.map.to_vec(),
            descriptor_bytes: uefi.descriptor_bytes,
            descriptor_version: uefi.descriptor_version,
        });
    }

    /// What UEFI firmware left.
    pub fn uefi(&self) -> Option<Uefi<'_>> {
        self.uefi.as_ref().map(|tables| Uefi {
            system_table: tables.system_table.0,
            map: &tables.map,
            descriptor_bytes: tables.descriptor_bytes,
            descriptor_version: tables.descriptor_version,
        })
    }

    /// The memory map, as the loader told it.
    pub fn ranges(&self) -> impl Iterator<Item = Range> {
        let range = |range: &FirmwareRange| Range {
            start: range.start.0,
            bytes: range.bytes,
            kind: range.kind,
        };
        self.ranges.iter().map(range)
    }

    /// The RSDP's address, if it is the firmware's own and no copy that a loader
    /// left in RAM; else 0.
    pub fn lasting_rsdp(&self) -> u64 {
        let at = self.rsdp.0;
        let in_ram = self.ranges.iter().any(|range| {
            range.kind == MemoryKind::Ram as u32
                && at.checked_sub(range.start.0).is_some_and(|offset| offset < range.bytes)
        });
        if in_ram { 0 } else { at }
    }

    /// Physical address of the RSDP; 0 where the loader told none.
    pub fn rsdp(&self) -> PhysAddr {
        self.rsdp
    }

    /// The whole pages of one kind of memory, ordered and disjoint.
    pub fn memory(&self, kind: MemoryKind) -> Vec<PageRange> {
        let mut pages: Vec<PageRange> = self
            .ranges
            .iter()
            .filter(|range| range.kind == kind as u32)
            .map(|range| {
                let end = PhysAddr(range.start.0.saturating_add(range.bytes));
                PageRange::inside(range.start, end)
            })
            .filter(|range| range.pages > 0 && range.end().0 <= PageRange::MAX_PFN)
            .collect();
        pages.sort_unstable_by_key(|range| range.start);
        // Firmware that lists a page twice is believed once.
        let mut past = dormouse_handoff::units::Pfn(0);
        pages.retain_mut(|range| {
            let start = range.start.max(past);
            let end = range.end();
            *range = PageRange { start, pages: end.0.saturating_sub(start.0) };
            past = past.max(end);
            range.pages > 0
        });
        pages
    }

    /// The command line.
    pub fn command_line(&self) -> &str {
        plan::text(&self.command_line)
    }

    /// The value of `key=value` on the command line.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.command_line()
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// What to do when nothing is woken: `fallback=` on the command line.
    pub fn fallback(&self) -> Fallback {
        self.option("fallback").and_then(Fallback::from_name).unwrap_or(Fallback::PowerOff)
    }

    /// The console's I/O port: `console=` on the command line, in hexadecimal;
    /// COM1 where nothing is said.
    pub fn console_port(&self) -> u16 {
        const COM1: u16 = 0x3f8;
        self.option("console")
            .and_then(|port| u16::from_str_radix(port.trim_start_matches("0x"), 16).ok())
            .unwrap_or(COM1)
    }
}
