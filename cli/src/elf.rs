//! ELF as far as it is needed: 64-bit, little-endian headers and notes (System
//! V ABI, chapters 4 and 5), from bytes that are not trusted.

use std::fmt;
use std::ops::Range;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most program or section headers that are looked at.
const MAX_HEADERS: usize = 4096;

/// An executable file.
pub const ET_EXEC: u16 = 2;
/// A core dump.
pub const ET_CORE: u16 = 4;
/// x86-64.
pub const EM_X86_64: u16 = 62;
/// A segment to be loaded.
pub const PT_LOAD: u32 = 1;
/// A segment of notes.
pub const PT_NOTE: u32 = 4;

/// The file header (`Elf64_Ehdr`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[allow(missing_docs)] // The names are the ABI's.
pub struct FileHeader {
    pub e_ident: [u8; 16],
    pub e_type: U16,
    pub e_machine: U16,
    pub e_version: U32,
    pub e_entry: U64,
    pub e_phoff: U64,
    pub e_shoff: U64,
    pub e_flags: U32,
    pub e_ehsize: U16,
    pub e_phentsize: U16,
    pub e_phnum: U16,
    pub e_shentsize: U16,
    pub e_shnum: U16,
    pub e_shstrndx: U16,
}

/// A program header (`Elf64_Phdr`).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[allow(missing_docs)] // The names are the ABI's.
pub struct ProgramHeader {
    pub p_type: U32,
    pub p_flags: U32,
    pub p_offset: U64,
    pub p_vaddr: U64,
    pub p_paddr: U64,
    pub p_filesz: U64,
    pub p_memsz: U64,
    pub p_align: U64,
}

/// A section header (`Elf64_Shdr`).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[allow(missing_docs)] // The names are the ABI's.
pub struct SectionHeader {
    pub sh_name: U32,
    pub sh_type: U32,
    pub sh_flags: U64,
    pub sh_addr: U64,
    pub sh_offset: U64,
    pub sh_size: U64,
    pub sh_link: U32,
    pub sh_info: U32,
    pub sh_addralign: U64,
    pub sh_entsize: U64,
}

/// Why bytes are not an ELF file that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfError {
    /// The magic is not there.
    NotElf,
    /// Not 64-bit, little-endian, x86-64, or not the expected type of file.
    OtherKind,
    /// A header names bytes that the file does not have; what it describes.
    OutOfBounds(&'static str),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => write!(f, "not an ELF file"),
            Self::OtherKind => write!(f, "not an x86-64 ELF file of the expected type"),
            Self::OutOfBounds(what) => write!(f, "the {what} lie outside the file"),
        }
    }
}

impl FileHeader {
    /// Reads the header of an x86-64 file of type `e_type`.
    pub fn parse(bytes: &[u8], e_type: u16) -> Result<Self, ElfError> {
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| ElfError::NotElf)?;
        if !header.e_ident.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        // EI_CLASS = ELFCLASS64, EI_DATA = ELFDATA2LSB.
        let right_kind = header.e_ident[4..6] == [2, 1]
            && header.e_machine.get() == EM_X86_64
            && header.e_type.get() == e_type;
        if right_kind { Ok(header) } else { Err(ElfError::OtherKind) }
    }

    /// Where the program headers lie in the file.
    pub fn program_headers(&self) -> Result<Range<usize>, ElfError> {
        headers::<ProgramHeader>(self.e_phoff, self.e_phnum, self.e_phentsize, "program headers")
    }

    /// Where the section headers lie in the file.
    pub fn section_headers(&self) -> Result<Range<usize>, ElfError> {
        headers::<SectionHeader>(self.e_shoff, self.e_shnum, self.e_shentsize, "section headers")
    }
}

fn headers<H>(
    offset: U64,
    count: U16,
    entry: U16,
    what: &'static str,
) -> Result<Range<usize>, ElfError> {
    let count = usize::from(count.get());
    if count > 0 && usize::from(entry.get()) != size_of::<H>() || count > MAX_HEADERS {
        return Err(ElfError::OutOfBounds(what));
    }
    range(offset.get(), (count * size_of::<H>()) as u64).ok_or(ElfError::OutOfBounds(what))
}

/// The byte range of so many bytes from `offset`, if it can be expressed.
pub fn range(offset: u64, length: u64) -> Option<Range<usize>> {
    let end = usize::try_from(offset.checked_add(length)?).ok()?;
    Some(usize::try_from(offset).ok()?..end)
}

/// One note: a name, a type and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// The name without its terminating zero.
    pub name: &'a [u8],
    /// What the bytes mean to who the name names.
    pub kind: u32,
    /// Where in the notes `description` begins.
    pub offset: usize,
    /// The bytes.
    pub description: &'a [u8],
}

/// The notes in `bytes`, up to the first that is not whole. Name and
/// description are padded to 4 bytes, as Linux pads them for every alignment.
pub fn notes(bytes: &[u8]) -> impl Iterator<Item = Note<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let (&[name_size, size, kind], _) = <[U32; 3]>::ref_from_prefix(rest).ok()?;
        let name = range(12, name_size.get().into())?;
        let description = range(name.end.checked_next_multiple_of(4)? as u64, size.get().into())?;
        let note = Note {
            name: rest.get(name)?.split(|byte| *byte == 0).next()?,
            kind: kind.get(),
            offset: at + description.start,
            description: rest.get(description.clone())?,
        };
        at = at.checked_add(description.end.checked_next_multiple_of(4)?)?;
        Some(note)
    })
}

/// Appends a note as the kernel writes it: name and description are padded to
/// 4 bytes.
pub fn push_note(notes: &mut Vec<u8>, name: &str, kind: u32, description: &[u8]) {
    for word in [name.len() as u32 + 1, description.len() as u32, kind] {
        notes.extend_from_slice(&word.to_le_bytes());
    }
    for part in [[name.as_bytes(), &[0]].concat().as_slice(), description] {
        notes.extend_from_slice(part);
        notes.resize(notes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A note as the kernel writes it.
    fn note(name: &str, kind: u32, description: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_note(&mut bytes, name, kind, description);
        bytes
    }

    #[test]
    fn notes_follow_each_other_with_padding() {
        let mut bytes = note("CORE", 1, &[1, 2, 3]);
        bytes.extend(note("VMCOREINFO", 0, b"OSRELEASE=6.1\n"));
        let found: Vec<_> = notes(&bytes).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].description, [1, 2, 3]);
        assert_eq!(found[1].name, b"VMCOREINFO");
        assert_eq!(found[1].description, b"OSRELEASE=6.1\n");
        assert_eq!(&bytes[found[1].offset..][..9], b"OSRELEASE");
    }

    #[test]
    fn a_note_that_is_cut_short_ends_them() {
        let bytes = note("CORE", 1, &[0; 64]);
        assert_eq!(notes(&bytes[..bytes.len() - 1]).count(), 0);
        assert_eq!(notes(&[0xff; 40]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_notes_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for note in notes(&bytes) {
                prop_assert_eq!(&bytes[note.offset..][..note.description.len()], note.description);
            }
        }

        #[test]
        fn any_bytes_are_a_header_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(header) = FileHeader::parse(&bytes, ET_EXEC) {
                let _ = (header.program_headers(), header.section_headers());
            }
        }
    }
}
