//! `boot_params` and what it points at (Linux
//! Documentation/arch/x86/zero-page.rst, arch/x86/include/uapi/asm/bootparam.h).

use crate::bytes::{u32_at, u64_at};
use crate::bzimage::{Kernel, SETUP};
use crate::place::Places;
use alloc::vec;
use alloc::vec::Vec;
use dormouse_handoff::units::PAGE_SIZE;

/// Offsets in `boot_params`.
mod at {
    pub const SCREEN: usize = 0x000;
    pub const ACPI_RSDP: usize = 0x070;
    pub const INITRD_HIGH: usize = 0x0c0;
    pub const INITRD_BYTES_HIGH: usize = 0x0c4;
    pub const COMMAND_LINE_HIGH: usize = 0x0c8;
    pub const UEFI: usize = 0x1c0;
    pub const E820_ENTRIES: usize = 0x1e8;
    pub const LOADER: usize = 0x210;
    pub const INITRD: usize = 0x218;
    pub const INITRD_BYTES: usize = 0x21c;
    pub const COMMAND_LINE: usize = 0x228;
    pub const SETUP_DATA: usize = 0x250;
    pub const E820: usize = 0x2d0;
}

/// A loader without a number of its own.
const UNDEFINED_LOADER: u8 = 0xff;

const PAGE: usize = PAGE_SIZE as usize;

/// Entries of the memory map that `boot_params` itself has room for.
const E820_HERE: usize = 128;

/// Bytes of one.
const E820_BYTES: usize = 20;

/// Bytes of `screen_info`.
pub const SCREEN_BYTES: usize = 64;

/// Kinds of `setup_data`.
mod kind {
    pub const NONE: u32 = 0;
    pub const E820_EXT: u32 = 1;
}

/// Bytes before a piece of `setup_data`.
const SETUP_DATA_HEAD: usize = 16;

/// A range of memory, as firmware tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub bytes: u64,
    /// Its E820 type.
    pub kind: u32,
}

/// What UEFI firmware left, boot services left.
#[derive(Clone, Copy, Debug)]
pub struct Uefi<'a> {
    /// The system table's address.
    pub system_table: u64,
    /// The memory map.
    pub map: &'a [u8],
    /// Bytes from one descriptor to the next.
    pub descriptor_bytes: u32,
    /// The descriptors' version.
    pub descriptor_version: u32,
}

/// Everything that Linux is told.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The memory map.
    pub ranges: &'a [Range],
    /// The command line, without a zero at its end.
    pub command_line: &'a [u8],
    /// Bytes of the initramfs.
    pub initrd_bytes: u64,
    /// Physical address of the RSDP; 0 where Linux shall look for it.
    pub rsdp: u64,
    /// The screen, where one is known.
    pub screen: Option<[u8; SCREEN_BYTES]>,
    /// UEFI's tables.
    pub uefi: Option<Uefi<'a>>,
}

/// How long the parts of the parameters are, in bytes: each a whole number of
/// pages, as Linux lists what is reserved in them beside its RAM, and pages that
/// are only partly there would be in no image of it.
struct Lengths {
    command_line: usize,
    /// The data of the memory map's rest; 0 where there is none.
    e820: usize,
    /// The data of the piece behind, with UEFI's memory map in it; 0 where there is
    /// neither.
    last: usize,
}

impl Told<'_> {
    /// Bytes of memory that all of it takes.
    pub fn bytes(&self) -> u64 {
        let Lengths { command_line, e820, last } = self.lengths();
        let heads = [e820, last].iter().filter(|data| **data > 0).count() * SETUP_DATA_HEAD;
        (PAGE + command_line + heads + e820 + last) as u64
    }

    fn lengths(&self) -> Lengths {
        let command_line = (self.command_line.len() + 1).next_multiple_of(PAGE);
        let e820 = self.ranges.len().saturating_sub(E820_HERE) * E820_BYTES;
        let map = self.uefi.as_ref().map_or(0, |uefi| uefi.map.len());
        let before = if e820 > 0 { SETUP_DATA_HEAD + e820 } else { 0 };
        let last = match before + map {
            0 => 0,
            _ => {
                (before + SETUP_DATA_HEAD + map + 1).next_multiple_of(PAGE)
                    - before
                    - SETUP_DATA_HEAD
            }
        };
        Lengths { command_line, e820, last }
    }

    /// The bytes at `places.parameters`: `boot_params` first, then what it
    /// points at. Exactly [`Told::bytes`] of them.
    pub fn parameters(&self, kernel: &Kernel, places: &Places) -> Vec<u8> {
        let base = places.parameters.start.address().0;
        let lengths = self.lengths();
        let here = self.ranges.len().min(E820_HERE);
        let (first, more) = self.ranges.split_at(here);
        let mut bytes = vec![0; PAGE];
        put(&mut bytes, SETUP, kernel.header());
        if let Some(screen) = &self.screen {
            put(&mut bytes, at::SCREEN, screen);
        }
        put(&mut bytes, at::ACPI_RSDP, &self.rsdp.to_le_bytes());
        put(&mut bytes, at::LOADER, &[UNDEFINED_LOADER]);
        let initrd = if self.initrd_bytes > 0 { places.initrd.start.address().0 } else { 0 };
        put_split(&mut bytes, [at::INITRD, at::INITRD_HIGH], initrd);
        put_split(&mut bytes, [at::INITRD_BYTES, at::INITRD_BYTES_HIGH], self.initrd_bytes);
        put_split(&mut bytes, [at::COMMAND_LINE, at::COMMAND_LINE_HIGH], base + PAGE_SIZE);
        put(&mut bytes, at::E820_ENTRIES, &[here as u8]);
        put(&mut bytes, at::E820, &e820(first));
        put(&mut bytes, at::SETUP_DATA, &0u64.to_le_bytes());

        bytes.extend_from_slice(self.command_line);
        bytes.resize(PAGE + lengths.command_line, 0);
        let mut link = at::SETUP_DATA;
        if lengths.e820 > 0 {
            link = setup_data(&mut bytes, base, link, kind::E820_EXT, lengths.e820);
            bytes.extend_from_slice(&e820(more));
        }
        if lengths.last > 0 {
            // In setup data, as a kernel that looks for a random place for itself
            // keeps away from that.
            setup_data(&mut bytes, base, link, kind::NONE, lengths.last);
            let data = bytes.len();
            if let Some(uefi) = &self.uefi {
                bytes.extend_from_slice(uefi.map);
                put(&mut bytes, at::UEFI, &uefi_info(uefi, base + data as u64));
            }
            bytes.resize(data + lengths.last, 0);
        }
        bytes
    }
}

/// The memory map in these `boot_params`; `None` where they do not have all of it: where
/// they are full, the rest is in `setup_data`.
pub fn memory_map(params: &[u8]) -> Option<Vec<Range>> {
    let count = usize::from(*params.get(at::E820_ENTRIES)?);
    if count == 0 || count >= E820_HERE {
        return None;
    }
    let map = params.get(at::E820..)?.get(..count * E820_BYTES)?;
    let entries = map.chunks_exact(E820_BYTES).map(|entry| {
        let [start, bytes] = [0, 8].map(|field| u64_at(entry, field));
        Range { start, bytes, kind: u32_at(entry, 16) }
    });
    Some(entries.collect())
}

/// Appends the head of a piece of setup data to `bytes`, which will lie at
/// `base`, and has the link at `link` lead there; where its own link is.
fn setup_data(bytes: &mut Vec<u8>, base: u64, link: usize, kind: u32, length: usize) -> usize {
    let here = bytes.len();
    put(bytes, link, &(base + here as u64).to_le_bytes());
    bytes.extend_from_slice(&0u64.to_le_bytes());
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&(length as u32).to_le_bytes());
    here
}

/// `struct efi_info`.
fn uefi_info(uefi: &Uefi<'_>, map: u64) -> [u8; 32] {
    let [table, map] = [uefi.system_table, map].map(|at| (at as u32, (at >> 32) as u32));
    let words = [
        u32::from_le_bytes(*b"EL64"),
        table.0,
        uefi.descriptor_bytes,
        uefi.descriptor_version,
        map.0,
        uefi.map.len() as u32,
        table.1,
        map.1,
    ];
    let mut info = [0; 32];
    for (place, word) in info.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    info
}

fn e820(ranges: &[Range]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ranges.len() * E820_BYTES);
    for range in ranges {
        bytes.extend_from_slice(&range.start.to_le_bytes());
        bytes.extend_from_slice(&range.bytes.to_le_bytes());
        bytes.extend_from_slice(&range.kind.to_le_bytes());
    }
    bytes
}

/// A number in two halves.
fn put_split(bytes: &mut [u8], [low, high]: [usize; 2], value: u64) {
    put(bytes, low, &(value as u32).to_le_bytes());
    put(bytes, high, &((value >> 32) as u32).to_le_bytes());
}

/// Every place that is written here is inside: offsets of `boot_params`, or of
/// what was appended before.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::head;
    use dormouse_handoff::units::{PageRange, PhysAddr};

    const BASE: u64 = 0x3f00_0000;

    fn places() -> Places {
        Places {
            file: PhysAddr(0x11f_c000),
            kernel: PhysAddr(0x120_0000),
            kernel_pages: PageRange::new(0x11fc, 0x3000),
            initrd: PageRange::new(0x12_3456, 100),
            parameters: PageRange::new(BASE >> 12, 8),
        }
    }

    fn kernel() -> Kernel {
        Kernel::parse(&head(4096), 16384 + 4096).unwrap()
    }

    fn ranges(count: u64) -> Vec<Range> {
        (0..count).map(|i| Range { start: i << 20, bytes: 1 << 19, kind: 1 }).collect()
    }

    fn told<'a>(ranges: &'a [Range]) -> Told<'a> {
        Told {
            ranges,
            command_line: b"console=ttyS0",
            initrd_bytes: 400_000,
            rsdp: 0xf_5a00,
            screen: None,
            uefi: None,
        }
    }

    #[test]
    fn linux_finds_its_header_memory_initramfs_and_command_line() {
        let ranges = ranges(3);
        let told = told(&ranges);
        let bytes = told.parameters(&kernel(), &places());
        assert_eq!(bytes.len() as u64, told.bytes());
        assert_eq!(&bytes[0x202..0x206], b"HdrS");
        assert_eq!(bytes[at::LOADER], 0xff);
        assert_eq!(u64_at(&bytes, at::ACPI_RSDP), 0xf_5a00);
        assert_eq!(u32_at(&bytes, at::INITRD), 0x2345_6000);
        assert_eq!(u32_at(&bytes, at::INITRD_HIGH), 1);
        assert_eq!(u32_at(&bytes, at::INITRD_BYTES), 400_000);
        assert_eq!(u64::from(u32_at(&bytes, at::COMMAND_LINE)), BASE + 4096);
        assert_eq!(&bytes[4096..4110], b"console=ttyS0\0");
        assert_eq!(bytes[at::E820_ENTRIES], 3);
        assert_eq!(u64_at(&bytes, at::E820 + 2 * 20), 2 << 20);
        assert_eq!(u64_at(&bytes, at::SETUP_DATA), 0);
        assert_eq!(u32_at(&bytes, at::UEFI), 0);
    }

    #[test]
    fn all_of_it_is_whole_pages() {
        let map = [1; 8000];
        for (count, length) in [(3, 0), (128, 1), (129, 0), (256, 4080), (256, 8000), (5, 4079)] {
            let ranges = ranges(count);
            let uefi = Uefi {
                system_table: 0x1000,
                map: &map[..length],
                descriptor_bytes: 48,
                descriptor_version: 1,
            };
            let told = Told { uefi: (length > 0).then_some(uefi), ..told(&ranges) };
            let bytes = told.parameters(&kernel(), &places());
            assert_eq!(bytes.len() as u64, told.bytes(), "{count}, {length}");
            assert_eq!(bytes.len() % PAGE, 0, "{count}, {length}");
        }
    }

    #[test]
    fn a_long_memory_map_goes_on_in_setup_data() {
        let ranges = ranges(200);
        let told = told(&ranges);
        let bytes = told.parameters(&kernel(), &places());
        assert_eq!(bytes.len() as u64, told.bytes());
        assert_eq!(bytes[at::E820_ENTRIES], 128);
        let data = (u64_at(&bytes, at::SETUP_DATA) - BASE) as usize;
        assert_eq!(data, 2 * PAGE);
        let behind = (u64_at(&bytes, data) - BASE) as usize;
        assert_eq!(behind, data + SETUP_DATA_HEAD + 72 * 20, "no gap");
        assert_eq!(u64_at(&bytes, behind), 0, "the last piece");
        assert_eq!(behind + SETUP_DATA_HEAD + u32_at(&bytes, behind + 12) as usize, 3 * PAGE);
        assert_eq!(u32_at(&bytes, data + 8), kind::E820_EXT);
        assert_eq!(u32_at(&bytes, data + 12), 72 * 20);
        assert_eq!(u64_at(&bytes, data + 16), 128 << 20);
    }

    #[test]
    fn uefi_s_memory_map_is_where_no_kernel_puts_itself() {
        let ranges = ranges(130);
        let map = [7; 100];
        let uefi = Uefi {
            system_table: 0x1_7f9e_0018,
            map: &map,
            descriptor_bytes: 48,
            descriptor_version: 1,
        };
        let told = Told { uefi: Some(uefi), ..told(&ranges) };
        let bytes = told.parameters(&kernel(), &places());
        assert_eq!(bytes.len() as u64, told.bytes());
        let first = (u64_at(&bytes, at::SETUP_DATA) - BASE) as usize;
        let second = (u64_at(&bytes, first) - BASE) as usize;
        assert_eq!(u32_at(&bytes, second + 8), kind::NONE);
        assert_eq!(&bytes[at::UEFI..at::UEFI + 4], b"EL64");
        assert_eq!(u32_at(&bytes, at::UEFI + 4), 0x7f9e_0018);
        assert_eq!(u32_at(&bytes, at::UEFI + 24), 1);
        let at = u64::from(u32_at(&bytes, at::UEFI + 16)) - BASE;
        assert_eq!(at as usize, second + 16);
        assert_eq!(u32_at(&bytes, at::UEFI + 20), 100);
        assert_eq!(&bytes[second + 16..second + 116], &map);
    }
}
