//! Another program's opinion of which pages are free, and which of zeros:
//! makedumpfile's, of the memory that QEMU saw while the writer stood still.

use crate::compare::ImageFile;
use crate::error::Error;
use crate::kdump::Dumped;
use dormouse_handoff::image::{Run, RunKind, State};
use dormouse_handoff::plan::{CheckedPlan, Plan};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// How many frames are named where opinions differ.
const NAMED: usize = 10;

/// Sizes of an ELF-64 file header and program header (System V ABI, chapter
/// 5).
const FILE_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

/// What two programs agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Frames that both leave out.
    pub left_out: u64,
    /// Frames that both keep.
    pub kept: u64,
    /// Frames of the image of which makedumpfile says nothing: it does not take
    /// them for memory that the kernel has.
    pub unknown: u64,
}

/// What is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Free pages.
    Free,
    /// Pages of zeros as well.
    FreeAndZero,
}

impl Level {
    /// As makedumpfile's `-d` has it.
    fn option(self) -> &'static str {
        match self {
            Self::Free => "16",
            Self::FreeAndZero => "17",
        }
    }

    /// Whether pages of this kind are left out.
    fn leaves_out(self, kind: RunKind) -> bool {
        match kind {
            RunKind::Free | RunKind::Excluded => true,
            RunKind::Zero => self == Self::FreeAndZero,
            RunKind::Stored | RunKind::Window => false,
        }
    }
}

/// Compares the frames that the image leaves out, for being free or not to be
/// touched, with those that makedumpfile excludes as such; then the same with
/// pages of zeros. An error unless they are the same ones. The first agreement.
///
/// `memory` is the dump in which each byte lies at its physical address. It
/// becomes an ELF core: its first page, which is none of the plan's, takes the
/// headers, its end the note.
pub fn judge(image: &ImageFile, memory: &Path) -> Result<Agreement, Error> {
    let (plan, runs) = image.plan_and_runs(State::Valid)?;
    let plan = CheckedPlan::parse(plan.bytes())
        .map_err(|e| Error::verdict(format!("the image's plan: {e}")))?;
    make_core(memory, &plan)?;
    let at = |level| compare(&runs, &dump(memory, level)?, level);
    let agreement = at(Level::Free)?;
    let with_zeros = at(Level::FreeAndZero)?;
    if with_zeros.left_out == agreement.left_out {
        return Err(Error::verdict("makedumpfile found no page of zeros"));
    }
    Ok(agreement)
}

/// makedumpfile's dump of a core.
fn dump(core: &Path, level: Level) -> Result<Dumped, Error> {
    let dump = core.with_extension("kdump");
    make_dump(core, &dump, level)?;
    let bytes = fs::read(&dump).map_err(Error::host(format!("reading {}", dump.display())))?;
    fs::remove_file(&dump).map_err(Error::host(format!("removing {}", dump.display())))?;
    Dumped::parse(&bytes).ok_or_else(|| Error::verdict("makedumpfile made no dump"))
}

fn compare(runs: &[Run], dumped: &Dumped, level: Level) -> Result<Agreement, Error> {
    let mut agreement = Agreement::default();
    let mut differing = Vec::new();
    for run in runs {
        let left_out = match RunKind::from_number(run.kind) {
            Some(RunKind::Window) | None => continue,
            Some(kind) => level.leaves_out(kind),
        };
        for frame in (run.start.0..run.range().end().0).map(Pfn) {
            if !dumped.is_memory(frame) {
                agreement.unknown += 1;
            } else if dumped.is_dumped(frame) == left_out {
                differing.push((frame, left_out));
            } else if left_out {
                agreement.left_out += 1;
            } else {
                agreement.kept += 1;
            }
        }
    }
    if differing.is_empty() {
        return Ok(agreement);
    }
    let words = |(frame, left_out): &(Pfn, bool)| {
        let how = if *left_out { "left out" } else { "kept" };
        format!("{:#x} {how}", frame.0)
    };
    let named: Vec<String> = differing.iter().take(NAMED).map(words).collect();
    let count = differing.len();
    let named = named.join(", ");
    Err(Error::verdict(format!("makedumpfile thinks otherwise of {count} frames: {named}")))
}

/// Makes a memory dump a core of the old kernel. The window is left out: what
/// the dump has there is the writer.
fn make_core(memory: &Path, plan: &Plan) -> Result<(), Error> {
    let tried = || format!("making a core of {}", memory.display());
    let file = File::options().write(true).open(memory).map_err(Error::host(tried()))?;
    let end = file.metadata().map_err(Error::host(tried()))?.len().next_multiple_of(8);
    let text = &plan.vmcoreinfo[..plan.vmcoreinfo_length as usize];
    let note = note(b"VMCOREINFO\0", text);

    let window = PageRange::new(plan.window_start.0 / PAGE_SIZE, plan.window_bytes / PAGE_SIZE);
    let ranges = plan.memory[..plan.memory_count as usize].iter();
    let parts: Vec<PageRange> = ranges.flat_map(|entry| without(entry.range, window)).collect();
    let mut headers = file_header(parts.len() as u16 + 1);
    headers.extend(program_header(PT_NOTE, end, 0, 0, note.len() as u64));
    for part in parts {
        let (start, bytes) = (part.start.address().0, part.bytes());
        let linear = plan.direct_map.wrapping_add(start);
        headers.extend(program_header(PT_LOAD, start, linear, start, bytes));
    }
    if headers.len() as u64 > PAGE_SIZE {
        return Err(Error::verdict("the memory map has more ranges than a page takes"));
    }
    file.write_all_at(&note, end).map_err(Error::host(tried()))?;
    file.write_all_at(&headers, 0).map_err(Error::host(tried()))
}

/// What is left of `range` on either side of `hole`.
fn without(range: PageRange, hole: PageRange) -> Vec<PageRange> {
    let Some(hole) = range.intersection(&hole) else { return vec![range] };
    let before = PageRange { start: range.start, pages: hole.start.0 - range.start.0 };
    let after = PageRange { start: hole.end(), pages: range.end().0 - hole.end().0 };
    [before, after].into_iter().filter(|part| part.pages > 0).collect()
}

fn file_header(segments: u16) -> Vec<u8> {
    const CORE: u16 = 4;
    const X86_64: u16 = 62;
    // 64-bit, little-endian, version 1.
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend(CORE.to_le_bytes());
    header.extend(X86_64.to_le_bytes());
    header.extend(1u32.to_le_bytes());
    header.extend([0u64, FILE_HEADER as u64, 0].iter().flat_map(|word| word.to_le_bytes()));
    header.extend(0u32.to_le_bytes());
    let sizes = [FILE_HEADER as u16, PROGRAM_HEADER as u16, segments, 0, 0, 0];
    header.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
    header
}

fn program_header(kind: u32, offset: u64, linear: u64, physical: u64, bytes: u64) -> Vec<u8> {
    const READ_WRITE_EXECUTE: u32 = 7;
    let mut header = kind.to_le_bytes().to_vec();
    header.extend(READ_WRITE_EXECUTE.to_le_bytes());
    let words = [offset, linear, physical, bytes, bytes, 0];
    header.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    header
}

fn note(name: &[u8], text: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [name.len() as u32, text.len() as u32, 0] {
        note.extend(word.to_le_bytes());
    }
    for part in [name, text] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

/// Has makedumpfile make a dump without what the level leaves out.
fn make_dump(core: &Path, dump: &Path, level: Level) -> Result<(), Error> {
    let mut command = Command::new("makedumpfile");
    command.args(["-d", level.option(), "--message-level", "4"]).arg(core).arg(dump);
    let words = format!("{command:?}");
    let output = command.output().map_err(Error::host(&*words))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    let outcome = format!("{}, {}", output.status, String::from_utf8_lossy(&text).trim());
    Err(Error::Program { command: words, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_is_left_of_it() {
        let range = PageRange::new(10, 10);
        assert_eq!(without(range, PageRange::new(30, 5)), [range]);
        let inside = without(range, PageRange::new(12, 4));
        assert_eq!(inside, [PageRange::new(10, 2), PageRange::new(16, 4)]);
        assert_eq!(without(range, PageRange::new(5, 10)), [PageRange::new(15, 5)]);
        assert_eq!(without(range, PageRange::new(0, 40)), []);
    }

    #[test]
    fn headers_have_their_sizes() {
        assert_eq!(file_header(3).len(), FILE_HEADER);
        assert_eq!(program_header(PT_LOAD, 0, 0, 0, 0).len(), PROGRAM_HEADER);
        assert_eq!(note(b"VMCOREINFO\0", b"ABCDE").len(), 12 + 12 + 8);
    }
}
