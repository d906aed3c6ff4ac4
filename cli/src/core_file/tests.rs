//! Cores of images made by code.

use super::*;
use crate::elf::{self, ET_CORE, FileHeader, PT_LOAD, PT_NOTE, ProgramHeader};
use crate::image_file::fake::{Fake, file};
use dormouse_handoff::image::{RunKind, State};
use dormouse_handoff::memory_map::{MemoryKind, MemoryRange};
use dormouse_handoff::units::PageRange;
use zerocopy::FromBytes;

const PAGE: usize = PAGE_SIZE as usize;

/// Where the old kernel maps physical memory, and itself.
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const PHYS_BASE: i64 = -0x120_0000 + 0x10_0000;

/// Frames of what a jump leaves in memory.
const CONTROL: u64 = 3;
const LIST: [u64; 2] = [4, 5];
const TABLES: [u64; 4] = [6, 7, 8, 9];
const STACK: u64 = 10;
/// The first of the frames that the window's pages were swapped with, from the
/// last to the first.
const KEPT: u64 = 1024;

/// Memory after Linux' jump into a window of 512 pages at 2 MiB: two ranges
/// with a hole between them.
struct Jumped(Fake);

impl Jumped {
    fn new() -> Self {
        let mut fake = Fake::of(&[
            (RunKind::Stored, 16),
            (RunKind::Zero, 240),
            (RunKind::Free, 256),
            (RunKind::Window, 512),
            (RunKind::Stored, 512),
            (RunKind::Stored, 8),
        ]);
        // The last run is memory above the hole.
        fake.runs[5].start = Pfn(4096);
        let ram = |start, pages| MemoryRange {
            range: PageRange::new(start, pages),
            kind: MemoryKind::Ram as u32,
            reserved: 0,
        };
        fake.plan.memory[0] = ram(0, 1536);
        fake.plan.memory[1] = ram(4096, 8);
        fake.plan.memory_count = 2;
        fake.plan.direct_map = DIRECT_MAP;
        let note = format!(
            "OSRELEASE=6.1.192\nSYMBOL(_stext)=ffffffff81200000\n\
             SYMBOL(swapper_pg_dir)={:x}\nNUMBER(phys_base)={PHYS_BASE}\n",
            0xffff_ffff_8000_0000u64.wrapping_add_signed(-PHYS_BASE) + TABLES[0] * PAGE_SIZE
        );
        fake.plan.vmcoreinfo[..note.len()].copy_from_slice(note.as_bytes());
        fake.plan.vmcoreinfo_length = note.len() as u32;
        fake.jump_back.entry = CONTROL * PAGE_SIZE + 0x123;
        let mut jumped = Self(fake);
        jumped.write_list();
        jumped.write_stack();
        jumped
    }

    /// The stored bytes of a frame.
    fn frame(&mut self, frame: u64) -> &mut [u8] {
        let at = match frame {
            0..16 => frame,
            1024..1536 => 16 + frame - 1024,
            _ => panic!("frame {frame} is not stored"),
        };
        &mut self.0.data[at as usize * PAGE..][..PAGE]
    }

    fn set(&mut self, frame: u64, word: u64, value: u64) {
        self.frame(frame)[word as usize * 8..][..8].copy_from_slice(&value.to_le_bytes());
    }

    /// The list that says which pages were swapped (`kimage_entry_t`).
    fn write_list(&mut self) {
        self.set(CONTROL, 300, LIST[0] << 12 | 2);
        let mut words = vec![512 << 12 | 1];
        words.extend((0..512).map(|page| (KEPT + 511 - page) << 12 | 8));
        words.push(4);
        for (i, word) in words.iter().enumerate() {
            match i as u64 {
                i @ 0..511 => self.set(LIST[0], i, *word),
                i => self.set(LIST[1], i - 511, *word),
            }
        }
        self.set(LIST[0], 511, LIST[1] << 12 | 2);
    }

    /// Registers in the control page, and a stack in the direct map, which the
    /// kernel's page tables lead to.
    fn write_stack(&mut self) {
        let stack = DIRECT_MAP + STACK * PAGE_SIZE + 0x100;
        for (i, word) in [stack, 0x8005_0033, 0x1000, 0x6f0].into_iter().enumerate() {
            self.set(CONTROL, 256 + i as u64, word);
        }
        for table in TABLES {
            self.frame(table).fill(0);
        }
        self.set(TABLES[0], DIRECT_MAP >> 39 & 0x1ff, TABLES[1] << 12 | 0x63);
        self.set(TABLES[1], 0, TABLES[2] << 12 | 0x63);
        self.set(TABLES[2], 0, TABLES[3] << 12 | 0x63);
        self.set(TABLES[3], STACK, STACK << 12 | 0x63);
        for word in 0..7 {
            self.set(STACK, 32 + word, 0x100 + word);
        }
        self.set(STACK, 32 + 7, 0xffff_ffff_8123_4567);
    }
}

fn extracted(fake: &Fake) -> (Extracted, Vec<u8>) {
    let (image, folder) = (fake.file(), tempfile::tempdir().unwrap());
    let path = folder.path().join("core");
    let image = ImageFile::open(image.path()).unwrap();
    let found = extract(&image, &path, |_| ()).unwrap();
    (found, std::fs::read(path).unwrap())
}

fn segments(core: &[u8]) -> Vec<ProgramHeader> {
    let headers = FileHeader::parse(core, ET_CORE).unwrap().program_headers().unwrap();
    let (chunks, _) = core[headers].as_chunks::<{ size_of::<ProgramHeader>() }>();
    chunks.iter().map(|chunk| ProgramHeader::read_from_bytes(chunk).unwrap()).collect()
}

/// The bytes at a linear address.
fn linear(core: &[u8], address: u64) -> &[u8] {
    let all = segments(core);
    let inside = |s: &&ProgramHeader| {
        s.p_type.get() == PT_LOAD && address.wrapping_sub(s.p_vaddr.get()) < s.p_filesz.get()
    };
    let segment = all.iter().find(inside).unwrap();
    &core[(segment.p_offset.get() + address - segment.p_vaddr.get()) as usize..]
}

#[test]
fn every_page_is_where_the_headers_say() {
    let mut jumped = Jumped::new();
    let (found, core) = extracted(&jumped.0);
    assert_eq!((found.ranges, found.window_pages, found.window_found), (2, 512, 512));
    assert!(found.registers && found.vmcoreinfo);
    assert_eq!(found.bytes, core.len() as u64);
    let at = |frame: u64| &linear(&core, DIRECT_MAP + frame * PAGE_SIZE)[..PAGE];
    for frame in [0, 2, 15, 1024, 1535] {
        assert!(at(frame) == jumped.frame(frame), "frame {frame}");
    }
    for frame in [16, 255, 256, 511] {
        assert!(at(frame) == [0; PAGE], "frame {frame}");
    }
    assert!(at(4103) == &jumped.0.data[jumped.0.data.len() - PAGE..]);
    // The kernel's own mapping of itself leads to the same bytes.
    let text = linear(&core, 0xffff_ffff_8120_0000);
    assert!(text[..PAGE] == *at(256));
}

#[test]
fn the_window_has_what_the_kernel_moved_away() {
    let mut jumped = Jumped::new();
    let (_, core) = extracted(&jumped.0);
    for page in [0, 1, 510, 511] {
        let window = &linear(&core, DIRECT_MAP + (512 + page) * PAGE_SIZE)[..PAGE];
        assert!(window == jumped.frame(KEPT + 511 - page), "page {page}");
    }
}

#[test]
fn a_list_that_is_not_the_windows_is_not_believed() {
    let damages: [(u64, u64, u64); 5] = [
        // A page twice, one of no memory, another window, no end, in a circle.
        (LIST[0], 0, 513 << 12 | 1),
        (LIST[0], 1, 3000 << 12 | 8),
        (LIST[0], 0, 600 << 12 | 1),
        (LIST[1], 2, 0),
        (LIST[0], 511, LIST[0] << 12 | 2),
    ];
    for (frame, word, value) in damages {
        let mut jumped = Jumped::new();
        jumped.set(frame, word, value);
        let (found, core) = extracted(&jumped.0);
        assert_eq!(found.window_found, 0, "{frame} {word} {value:#x}");
        let window = &linear(&core, DIRECT_MAP + 512 * PAGE_SIZE)[..512 * PAGE];
        assert!(window.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn the_notes_tell_of_kernel_and_processor() {
    let jumped = Jumped::new();
    let (_, core) = extracted(&jumped.0);
    let all = segments(&core);
    let place = all.iter().find(|segment| segment.p_type.get() == PT_NOTE).unwrap();
    let place = elf::range(place.p_offset.get(), place.p_filesz.get()).unwrap();
    let notes: Vec<_> = elf::notes(&core[place]).collect();
    let names: Vec<_> = notes.iter().map(|note| (note.name, note.kind)).collect();
    assert_eq!(names, [(&b"CORE"[..], 1), (&b"VMCOREINFO"[..], 0)]);
    let note = &jumped.0.plan.vmcoreinfo[..jumped.0.plan.vmcoreinfo_length as usize];
    assert_eq!(notes[1].description, note);
    let registers = Registers::read_from_prefix(&notes[0].description[112..]).unwrap().0;
    assert_eq!(registers.rip, 0xffff_ffff_8123_4567);
    assert_eq!(registers.rsp, DIRECT_MAP + STACK * PAGE_SIZE + 0x140);
    assert_eq!((registers.eflags, registers.r15, registers.rbx), (0x100, 0x101, 0x106));
}

#[test]
fn registers_that_lead_nowhere_are_left_out() {
    let mut jumped = Jumped::new();
    jumped.set(STACK, 32 + 7, 0x1234);
    assert!(!extracted(&jumped.0).0.registers);
    let mut jumped = Jumped::new();
    jumped.set(TABLES[3], STACK, 0);
    assert!(!extracted(&jumped.0).0.registers);
}

#[test]
fn nothing_is_left_of_a_damaged_image_and_nothing_is_overwritten() {
    let mut bytes = Jumped::new().0.bytes(State::Valid);
    *bytes.last_mut().unwrap() ^= 1;
    let (image, folder) = (file(&bytes), tempfile::tempdir().unwrap());
    let path = folder.path().join("core");
    let image = ImageFile::open(image.path()).unwrap();
    assert!(matches!(extract(&image, &path, |_| ()), Err(Error::Image { .. })));
    assert!(!path.exists());
    std::fs::write(&path, "mine").unwrap();
    let refused = extract(&image, &path, |_| ());
    assert!(matches!(refused, Err(Error::Io { source, .. })
        if source.kind() == std::io::ErrorKind::AlreadyExists));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
}

#[test]
fn a_core_is_its_owners_alone_and_takes_no_room_for_holes() {
    use std::os::unix::fs::PermissionsExt;
    let (image, folder) = (Fake::small().file(), tempfile::tempdir().unwrap());
    let path = folder.path().join("core");
    let found = extract(&ImageFile::open(image.path()).unwrap(), &path, |_| ()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(found.bytes_on_disk < found.bytes / 2, "{found:?}");
    assert!(!found.registers && !found.vmcoreinfo && found.window_found == 0);
}
