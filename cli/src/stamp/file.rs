//! `writer.elf` as bytes, and the few fields of it that stamping changes.

use crate::elf::{
    self, ET_EXEC, ElfError, FileHeader, PT_LOAD, PT_NOTE, ProgramHeader, SectionHeader,
};
use dormouse_handoff::plan::{
    MAX_WINDOW, Plan, SECTION, SECTION_BYTES, WAY_BACK_OFFSET, WINDOW_ALIGNMENT, WayBack,
};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, PhysAddr};
use std::fmt;
use std::ops::Range;
use zerocopy::{FromBytes, IntoBytes};

/// Name and type of the note with the PVH entry point (Xen
/// include/public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY).
const PVH_NOTE: (&[u8], u32) = (b"Xen", 18);

/// Why a file cannot be stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampError {
    /// It is not an executable that could be a writer.
    Elf(ElfError),
    /// It has nothing to load.
    NothingToLoad,
    /// What it loads does not begin at a multiple of the window's alignment.
    Unaligned(u64),
    /// What it loads takes more bytes than a window has.
    TooLarge(u64),
    /// What it loads leaves pages of its window out, from this address on.
    Hole(u64),
    /// It has no section for the plan, or one of another size.
    NoPlanSection,
    /// The window ends past the last physical address.
    Window,
}

impl fmt::Display for StampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf(error) => write!(f, "{error}"),
            Self::NothingToLoad => write!(f, "it has no segment to load"),
            Self::Unaligned(start) => write!(
                f,
                "its lowest address {start:#x} is not a multiple of {WINDOW_ALIGNMENT:#x}"
            ),
            Self::TooLarge(bytes) => {
                write!(f, "it needs a window of {bytes} bytes; at most {MAX_WINDOW} are possible")
            }
            Self::Hole(address) => {
                write!(f, "its segments leave out memory of its window from {address:#x} on")
            }
            Self::NoPlanSection => {
                write!(f, "it has no section {SECTION} of {SECTION_BYTES} bytes for the plan")
            }
            Self::Window => write!(f, "the window ends past the last physical address"),
        }
    }
}

impl From<ElfError> for StampError {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

/// A `writer.elf` whose every place that stamping touches has been checked.
#[derive(Clone, Debug)]
pub struct WriterElf {
    bytes: Vec<u8>,
    program_headers: Range<usize>,
    plan: Range<usize>,
    /// Where in the file ends what is loaded or needed for loading; symbols and
    /// what debuggers want lie behind it, three times as much.
    needed: usize,
    /// The lowest and one past the highest physical address that it loads.
    loaded: Range<u64>,
}

impl WriterElf {
    /// Checks the bytes of a `writer.elf`.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, StampError> {
        let header = FileHeader::parse(&bytes, ET_EXEC)?;
        let program_headers = header.program_headers()?;
        let segments = <[ProgramHeader]>::ref_from_bytes(
            bytes.get(program_headers.clone()).ok_or(ElfError::OutOfBounds("program headers"))?,
        )
        .map_err(|_| ElfError::OutOfBounds("program headers"))?;
        let loaded = loaded(segments, bytes.len())?;
        let plan = plan_section(&header, &bytes)?;
        let in_file = |segment: &ProgramHeader| {
            let used = matches!(segment.p_type.get(), PT_LOAD | PT_NOTE);
            let range = elf::range(segment.p_offset.get(), segment.p_filesz.get());
            range.filter(|range| used && range.end <= bytes.len()).map_or(0, |range| range.end)
        };
        let segments_end = segments.iter().map(in_file).max().unwrap_or(0);
        let needed = segments_end.max(program_headers.end).max(plan.end);
        Ok(Self { program_headers, plan, needed, loaded, bytes })
    }

    /// Where a boot loader puts this program: as large as its window, and aligned
    /// like it.
    pub fn loaded(&self) -> PageRange {
        PageRange::new(self.loaded.start / PAGE_SIZE, self.window_bytes() / PAGE_SIZE)
    }

    /// Bytes of the window that this writer needs.
    pub fn window_bytes(&self) -> u64 {
        self.loaded.end - self.loaded.start
    }

    /// The file with its addresses moved to the plan's window, and with the
    /// plan, sealed or deliberately not, in its section. Only what is loaded: it
    /// has no sections any more, and no symbols.
    pub fn stamped(&self, plan: &Plan) -> Result<Vec<u8>, StampError> {
        let mut bytes = self.stamp(self.bytes[..self.needed].to_vec(), plan)?;
        let outside = StampError::Elf(ElfError::NotElf);
        let (header, _) = FileHeader::mut_from_prefix(&mut bytes).map_err(|_| outside)?;
        header.e_shoff.set(0);
        for number in [&mut header.e_shnum, &mut header.e_shstrndx] {
            number.set(0);
        }
        Ok(bytes)
    }

    /// As [`WriterElf::stamped`], but for debuggers: all of the file.
    pub fn stamped_with_symbols(&self, plan: &Plan) -> Result<Vec<u8>, StampError> {
        self.stamp(self.bytes.clone(), plan)
    }

    fn stamp(&self, mut bytes: Vec<u8>, plan: &Plan) -> Result<Vec<u8>, StampError> {
        let window = plan.window_start;
        window.0.checked_add(self.window_bytes()).ok_or(StampError::Window)?;
        for pvh_entry in self.pvh_entries() {
            self.shift_entry(&mut bytes[pvh_entry], window);
        }
        self.shift_headers(&mut bytes, window)?;
        let section = &mut bytes[self.plan.clone()];
        section.fill(0);
        section[..size_of::<Plan>()].copy_from_slice(plan.as_bytes());
        let way_back = WayBack::of(plan);
        section[WAY_BACK_OFFSET..].copy_from_slice(way_back.as_bytes());
        Ok(bytes)
    }

    /// Where an address that the file was linked for lies in `window`.
    fn moved(&self, address: u64, window: PhysAddr) -> Option<u64> {
        let inside = self.loaded.contains(&address);
        inside.then(|| address - self.loaded.start + window.0)
    }

    fn shift_headers(&self, bytes: &mut [u8], window: PhysAddr) -> Result<(), StampError> {
        let outside = || StampError::Elf(ElfError::OutOfBounds("program headers"));
        let segments = <[ProgramHeader]>::mut_from_bytes(&mut bytes[self.program_headers.clone()])
            .map_err(|_| outside())?;
        for segment in segments {
            if let Some(address) = self.moved(segment.p_paddr.get(), window) {
                segment.p_paddr.set(address);
            }
        }
        let (header, _) = FileHeader::mut_from_prefix(bytes).map_err(|_| outside())?;
        if let Some(entry) = self.moved(header.e_entry.get(), window) {
            header.e_entry.set(entry);
        }
        Ok(())
    }

    /// Where in the file the PVH entry points are.
    fn pvh_entries(&self) -> Vec<Range<usize>> {
        let segments = &self.bytes[self.program_headers.clone()];
        let Ok(segments) = <[ProgramHeader]>::ref_from_bytes(segments) else { return Vec::new() };
        let mut entries = Vec::new();
        for segment in segments.iter().filter(|segment| segment.p_type.get() == PT_NOTE) {
            let Some(range) = elf::range(segment.p_offset.get(), segment.p_filesz.get()) else {
                continue;
            };
            let Some(notes) = self.bytes.get(range.clone()) else { continue };
            for note in elf::notes(notes).filter(|note| (note.name, note.kind) == PVH_NOTE) {
                let start = range.start + note.offset;
                entries.push(start..start + note.description.len());
            }
        }
        entries
    }

    /// Moves the address in `entry`, which has 4 or 8 bytes. An address that no
    /// longer fits stays: PVH enters below 4 GiB only, and the kexec door does
    /// not look at it.
    fn shift_entry(&self, entry: &mut [u8], window: PhysAddr) {
        let mut address = [0; 8];
        let Some(used) = address.get_mut(..entry.len()) else { return };
        used.copy_from_slice(entry);
        let Some(moved) = self.moved(u64::from_le_bytes(address), window) else { return };
        if u32::try_from(moved).is_ok() {
            entry.copy_from_slice(&moved.to_le_bytes()[..entry.len()]);
        }
    }
}

/// The physical addresses that the segments are loaded to: all of a window.
///
/// kexec-tools is asked to register what segments leave out, but in 2.0.25 and
/// later it forgets the last page of a range of memory. Such a page would be in
/// the window, so not in the image, and would not be swapped, so be lost.
fn loaded(segments: &[ProgramHeader], file_bytes: usize) -> Result<Range<u64>, StampError> {
    let mut ranges = Vec::new();
    for segment in segments.iter().filter(|s| s.p_type.get() == PT_LOAD && s.p_memsz.get() != 0) {
        let outside = ElfError::OutOfBounds("segments");
        let file = elf::range(segment.p_offset.get(), segment.p_filesz.get()).ok_or(outside)?;
        if file.end > file_bytes || segment.p_filesz.get() > segment.p_memsz.get() {
            return Err(outside.into());
        }
        let start = segment.p_paddr.get();
        let end = start.checked_add(segment.p_memsz.get()).ok_or(outside)?;
        let end = end.checked_next_multiple_of(PAGE_SIZE).ok_or(outside)?;
        ranges.push(start..end);
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let mut rest = ranges.into_iter();
    let mut loaded = rest.next().ok_or(StampError::NothingToLoad)?;
    for range in rest {
        if range.start > loaded.end {
            return Err(StampError::Hole(loaded.end));
        }
        loaded.end = loaded.end.max(range.end);
    }
    if !loaded.start.is_multiple_of(WINDOW_ALIGNMENT) {
        return Err(StampError::Unaligned(loaded.start));
    }
    let bytes = loaded.end - loaded.start;
    if bytes > MAX_WINDOW {
        Err(StampError::TooLarge(bytes))
    } else if !bytes.is_multiple_of(WINDOW_ALIGNMENT) {
        Err(StampError::Hole(loaded.end))
    } else {
        Ok(loaded)
    }
}

/// Where in the file the plan's section lies.
fn plan_section(header: &FileHeader, bytes: &[u8]) -> Result<Range<usize>, StampError> {
    let outside = || StampError::Elf(ElfError::OutOfBounds("section headers"));
    let sections = bytes.get(header.section_headers()?).ok_or_else(outside)?;
    let sections = <[SectionHeader]>::ref_from_bytes(sections).map_err(|_| outside())?;
    let names = sections.get(usize::from(header.e_shstrndx.get())).ok_or_else(outside)?;
    let names = elf::range(names.sh_offset.get(), names.sh_size.get()).ok_or_else(outside)?;
    let names = bytes.get(names).ok_or_else(outside)?;
    let is_plan = |section: &SectionHeader| {
        let name = names.get(section.sh_name.get() as usize..).unwrap_or_default();
        name.split(|byte| *byte == 0).next() == Some(SECTION.as_bytes())
    };
    let section = sections.iter().find(|s| is_plan(s)).ok_or(StampError::NoPlanSection)?;
    const SHT_PROGBITS: u32 = 1;
    let range = elf::range(section.sh_offset.get(), section.sh_size.get()).ok_or_else(outside)?;
    let usable = section.sh_type.get() == SHT_PROGBITS
        && range.len() == SECTION_BYTES
        && range.end <= bytes.len();
    if usable { Ok(range) } else { Err(StampError::NoPlanSection) }
}

#[cfg(test)]
mod tests;
