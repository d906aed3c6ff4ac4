//! `/proc/kcore`: the running kernel as a core file. Its program headers tell
//! where the kernel maps physical memory, its notes hold VMCOREINFO.

use crate::elf::{self, ET_CORE, ElfError, FileHeader, PT_LOAD, PT_NOTE, ProgramHeader};
use std::ops::Range;
use zerocopy::FromBytes;

/// Most bytes of notes: the largest, a task structure, has some 10 KiB.
const MAX_NOTES: usize = 1 << 20;

/// Where the kernel's own image is mapped, to the end of the address space
/// (Linux Documentation/arch/x86/x86_64/mm.rst).
const KERNEL_TEXT: u64 = 0xffff_ffff_8000_0000;

/// The lowest linear address of the kernel with four levels of page tables;
/// with five it lies lower still, but above this.
const KERNEL_HALF: u64 = 0xff00_0000_0000_0000;

/// "This segment has no one physical address."
const NO_ADDRESS: u64 = u64::MAX;

/// Bytes of the file header, to be read first.
pub const FILE_HEADER_BYTES: usize = size_of::<FileHeader>();

/// Where in the file the program headers lie, from the first
/// [`FILE_HEADER_BYTES`].
pub fn program_headers_range(file_header: &[u8]) -> Result<Range<usize>, ElfError> {
    FileHeader::parse(file_header, ET_CORE)?.program_headers()
}

/// The program headers.
#[derive(Clone, Debug)]
pub struct Segments(Vec<ProgramHeader>);

impl Segments {
    /// Reads the bytes at [`program_headers_range`].
    pub fn parse(bytes: &[u8]) -> Self {
        let (chunks, _) = bytes.as_chunks::<{ size_of::<ProgramHeader>() }>();
        Self(chunks.iter().filter_map(|c| ProgramHeader::read_from_bytes(c).ok()).collect())
    }

    /// The linear address at which the kernel maps physical address 0
    /// (`page_offset_base`); `None` where the segments do not agree on one.
    pub fn direct_map(&self) -> Option<u64> {
        let mut bases = self.ram().map(|s| s.p_vaddr.get().wrapping_sub(s.p_paddr.get()));
        let base = bases.next()?;
        (base >= KERNEL_HALF && bases.all(|other| other == base)).then_some(base)
    }

    /// Where in the file the bytes at a physical address are, up to the end of
    /// their segment.
    pub fn physical(&self, address: u64) -> Option<Range<u64>> {
        let segment = self.ram().find(|segment| {
            let start = segment.p_paddr.get();
            address >= start && address - start < segment.p_filesz.get()
        })?;
        let skipped = address - segment.p_paddr.get();
        let start = segment.p_offset.get();
        Some(start.checked_add(skipped)?..start.checked_add(segment.p_filesz.get())?)
    }

    /// Where in the file `bytes` bytes at a linear address are; `None` where no
    /// segment holds them all.
    pub fn linear(&self, address: u64, bytes: u64) -> Option<u64> {
        self.0.iter().filter(|segment| segment.p_type.get() == PT_LOAD).find_map(|segment| {
            let skipped = address.checked_sub(segment.p_vaddr.get())?;
            let is_inside = skipped.checked_add(bytes)? <= segment.p_filesz.get();
            segment.p_offset.get().checked_add(skipped).filter(|_| is_inside)
        })
    }

    /// Where in the file the notes lie.
    pub fn notes(&self) -> Option<Range<usize>> {
        let notes = self.0.iter().find(|segment| segment.p_type.get() == PT_NOTE)?;
        let range = elf::range(notes.p_offset.get(), notes.p_filesz.get())?;
        (range.len() <= MAX_NOTES).then_some(range)
    }

    /// The segments of RAM: mapped at a fixed distance from physical memory.
    fn ram(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.0.iter().filter(|segment| {
            segment.p_type.get() == PT_LOAD
                && segment.p_paddr.get() != NO_ADDRESS
                && segment.p_vaddr.get() < KERNEL_TEXT
        })
    }
}

/// The VMCOREINFO text among these notes.
pub fn vmcoreinfo(notes: &[u8]) -> Option<&[u8]> {
    elf::notes(notes).find(|note| note.name == b"VMCOREINFO").map(|note| note.description)
}

/// The physical address and size of the note that `/sys/kernel/vmcoreinfo`
/// names: `0x00000000001e2000 1024`.
pub fn vmcoreinfo_place(text: &str) -> Option<(u64, usize)> {
    let mut words = text.split_whitespace();
    let address = u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
    // The kernel prints the size in hexadecimal, without a prefix.
    let size = usize::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
    (size <= MAX_NOTES).then_some((address, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    fn segment(p_type: u32, p_vaddr: u64, p_paddr: u64, size: u64) -> ProgramHeader {
        ProgramHeader {
            p_type: p_type.into(),
            p_flags: 7.into(),
            p_offset: 0x1000.into(),
            p_vaddr: p_vaddr.into(),
            p_paddr: p_paddr.into(),
            p_filesz: size.into(),
            p_memsz: size.into(),
            p_align: 4096.into(),
        }
    }

    fn segments(list: &[ProgramHeader]) -> Segments {
        Segments::parse(&list.iter().flat_map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    /// As on a machine with KASLR: text, vmalloc, vmemmap and two ranges of RAM.
    fn machine() -> Segments {
        segments(&[
            segment(PT_NOTE, 0, 0, 0x2800),
            segment(PT_LOAD, 0xffff_ffff_8520_0000, 0x520_0000, 0x100_0000),
            segment(PT_LOAD, 0xffff_c900_0000_0000, NO_ADDRESS, 0x1fff_ffff_ffff),
            segment(PT_LOAD, 0xffff_9a40_0000_1000, 0x1000, 0x9e000),
            segment(PT_LOAD, 0xffff_9a40_0010_0000, 0x10_0000, 0x3fee_0000),
        ])
    }

    #[test]
    fn the_direct_map_is_where_ram_is_mapped() {
        assert_eq!(machine().direct_map(), Some(0xffff_9a40_0000_0000));
    }

    #[test]
    fn segments_that_disagree_name_no_direct_map() {
        let odd = segment(PT_LOAD, 0xffff_9a40_0000_0000, 0x1_0000_0000, 0x1000);
        let mut list = machine().0;
        list.push(odd);
        assert_eq!(Segments(list).direct_map(), None);
        assert_eq!(segments(&[]).direct_map(), None);
    }

    #[test]
    fn physical_memory_is_found_in_the_file() {
        assert_eq!(machine().physical(0x10_0040), Some(0x1040..0x1000 + 0x3fee_0000));
        assert_eq!(machine().physical(0x9_f000), None);
    }

    #[test]
    fn the_notes_place_is_hexadecimal() {
        assert_eq!(vmcoreinfo_place("0x00000000001e2000 1024\n"), Some((0x1e_2000, 0x1024)));
        assert_eq!(vmcoreinfo_place("0x1e2000"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_segments(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            address: u64,
        ) {
            let segments = Segments::parse(&bytes);
            let _ = (segments.direct_map(), segments.physical(address), segments.notes());
            let _ = vmcoreinfo(&bytes);
        }
    }
}
