//! An ELF core of physical memory (System V ABI, chapter 5).

use dormouse_handoff::memory_map::{MemoryKind, MemoryRange};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};
use dormouse_page_set::PhysRead;
use dormouse_transfer::memory::PageBytes;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

struct Load {
    range: PageRange,
    /// Where in the file its first byte is.
    offset: usize,
}

pub struct Core {
    file: Vec<u8>,
    loads: Vec<Load>,
    ranges: Vec<MemoryRange>,
    vmcoreinfo: Vec<u8>,
}

impl Core {
    pub fn open(path: &str) -> Self {
        let file = std::fs::read(path).expect(path);
        let (headers, size, count) = (u64_at(&file, 32), u16_at(&file, 54), u16_at(&file, 56));
        let mut loads = Vec::new();
        let mut vmcoreinfo = Vec::new();
        for header in (0..count).map(|i| &file[headers + i * size..]) {
            let [offset, address, bytes] = [8, 24, 32].map(|field| u64_at(header, field));
            match u32_at(header, 0) {
                PT_LOAD => {
                    let range = PageRange::inside(
                        PhysAddr(address as u64),
                        PhysAddr((address + bytes) as u64),
                    );
                    assert_eq!(address as u64 % PAGE_SIZE, 0);
                    if range.pages > 0 {
                        loads.push(Load { range, offset });
                    }
                }
                PT_NOTE => vmcoreinfo = find_note(&file[offset..offset + bytes], b"VMCOREINFO\0"),
                _ => {}
            }
        }
        loads.sort_by_key(|load| load.range.start);
        let ram = |load: &Load| MemoryRange {
            range: load.range,
            kind: MemoryKind::Ram as u32,
            reserved: 0,
        };
        let ranges = loads.iter().map(ram).collect();
        Self { file, loads, ranges, vmcoreinfo }
    }

    pub fn vmcoreinfo(&self) -> &[u8] {
        &self.vmcoreinfo
    }

    pub fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
    }
}

impl PhysRead for Core {
    fn page(&self, frame: Pfn) -> &PageBytes {
        let load = self.loads.iter().find(|load| load.range.contains(frame));
        let load = load.expect("only frames of the memory map are read");
        let start = load.offset + ((frame.0 - load.range.start.0) * PAGE_SIZE) as usize;
        self.file[start..].first_chunk().expect("the core is cut short")
    }
}

fn find_note(mut notes: &[u8], name: &[u8]) -> Vec<u8> {
    while notes.len() >= 12 {
        let [name_bytes, bytes] = [0, 4].map(|field| u32_at(notes, field) as usize);
        let start = 12 + name_bytes.next_multiple_of(4);
        if &notes[12..12 + name_bytes] == name {
            return notes[start..start + bytes].to_vec();
        }
        notes = &notes[start + bytes.next_multiple_of(4)..];
    }
    panic!("the core has no note of that name");
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(*bytes[at..].first_chunk().expect("a field")))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("a field"))
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("a field")) as usize
}
