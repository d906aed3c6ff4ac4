//! What a Linux says of itself, and the writer's own file.

use crate::bytes::{Bytes, padded};
use crate::handoff::good_plan;
use dormouse_cli::elf::{EM_X86_64, ET_CORE, ET_EXEC, FileHeader, PT_LOAD, PT_NOTE};
use dormouse_cli::elf::{ProgramHeader, SectionHeader};
use dormouse_cli::linux as text;
use dormouse_cli::stamp::WriterElf;
use dormouse_handoff::memory_map::MemoryRange;
use dormouse_handoff::plan::SECTION_BYTES;
use dormouse_handoff::units::{PageRange, Pfn};
use dormouse_page_set::vmcoreinfo::Vmcoreinfo;
use dormouse_page_set::{LinuxPages, PhysRead};
use dormouse_transfer::memory::{PageBytes, PageSet};
use zerocopy::IntoBytes;

/// Notes of real kernels, and what they were written by.
const NOTES: [&[u8]; 5] = [
    include_bytes!("../../../page-set/tests/vmcoreinfo/linux-5.10.0-32-debian-cloud.txt"),
    include_bytes!("../../../page-set/tests/vmcoreinfo/linux-6.1.0-56-debian-cloud.txt"),
    include_bytes!("../../../page-set/tests/vmcoreinfo/linux-6.1.192-tiny.txt"),
    include_bytes!("../../../page-set/tests/vmcoreinfo/linux-6.12.117-debian-cloud.txt"),
    include_bytes!("../../../page-set/tests/vmcoreinfo/linux-7.2.13-debian-cloud.txt"),
];

/// Memory whose every page is one of a few.
struct FewPages(Vec<PageBytes>);

impl FewPages {
    /// The bytes as pages, and a page of zeros.
    fn of(bytes: &[u8]) -> Self {
        let mut pages: Vec<PageBytes> = bytes.chunks(4096).map(padded).collect();
        pages.push([0; 4096]);
        Self(pages)
    }
}

impl PhysRead for FewPages {
    fn page(&self, frame: Pfn) -> &PageBytes {
        &self.0[frame.0 as usize % self.0.len()]
    }
}

const RAM: [MemoryRange; 2] = [
    MemoryRange { range: PageRange { start: Pfn(1), pages: 157 }, kind: 1, reserved: 0 },
    MemoryRange { range: PageRange { start: Pfn(256), pages: 16 << 10 }, kind: 1, reserved: 0 },
];
const WINDOW: PageRange = PageRange { start: Pfn(4096), pages: 512 };

fn ask(note: &[u8], memory: &FewPages) {
    let Ok(mut pages) = LinuxPages::new(note, &RAM, WINDOW, memory) else { return };
    for entry in RAM {
        let mut frame = entry.range.start;
        // Where verdicts are given page by page a part says all.
        for _ in 0..200 {
            let limit = (entry.range.end().0 - frame.0).min(256);
            if limit == 0 {
                break;
            }
            let (_, share) = pages.verdict(frame, limit);
            assert!((1..=limit).contains(&share), "{share} of {limit} frames");
            frame = Pfn(frame.0 + share);
        }
    }
}

/// The bytes are the note; behind a zero byte there is memory.
pub fn vmcoreinfo(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let note = Vmcoreinfo::new(&data[..end]);
    for key in ["SYMBOL(mem_section)", "NUMBER(phys_base)", "PAGESIZE", "", "="] {
        note.value(key);
    }
    ask(&data[..end], &FewPages::of(&data[end..]));
}

pub fn vmcoreinfo_seeds() -> Vec<Vec<u8>> {
    NOTES.iter().map(|note| [note, &[0; 64][..]].concat()).collect()
}

/// The first byte chooses a real note; the rest is memory.
pub fn page_set(data: &[u8]) {
    let Some((which, memory)) = data.split_first() else { return };
    ask(NOTES[usize::from(*which) % NOTES.len()], &FewPages::of(memory));
}

pub fn page_set_seeds() -> Vec<Vec<u8>> {
    // Page tables whose entries point at pages that are page tables.
    let entries: Vec<u8> = (0..512u64).flat_map(|i| (i << 12 | 0x63).to_le_bytes()).collect();
    let large: Vec<u8> = (0..512u64).flat_map(|i| (i << 21 | 0xe3).to_le_bytes()).collect();
    (0..NOTES.len() as u8).map(|which| [&[which][..], &entries, &large].concat()).collect()
}

pub fn iomem(data: &[u8]) {
    let Ok(words) = std::str::from_utf8(data) else { return };
    if let Ok(map) = text::iomem::parse(words) {
        let pages: u64 = map.ram().map(|range| range.pages).sum();
        assert!(pages <= map.pages());
    }
    text::kallsyms::values(words, ["a", "b"]);
    text::mounts::parse(words);
    text::swaps::parse(words);
    text::kernel_config::setting(words, "CONFIG_A");
    text::consoles::first_serial(words);
    text::consoles::rate(words, "ttyS0");
    text::consoles::port(words);
}

pub fn iomem_seeds() -> Vec<Vec<u8>> {
    let seeds: [&[u8]; 4] = [
        b"00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n\
          00100000-3ffdffff : System RAM\n  01000000-01c02477 : Kernel code\n\
          3ffe0000-3fffffff : ACPI Non-volatile Storage\nfeb00000-febfffff : PCI Bus 0000:00\n",
        b"100000000-13fffffff : System RAM\n  13f000000-13f1fffff : Crash kernel\n",
        b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n",
        b"Filename\tType\tSize\tUsed\tPriority\n/dev/vda2 partition 1048572 0 -2\n",
    ];
    seeds.map(<[u8]>::to_vec).to_vec()
}

/// A core file: its header, and what follows taken for whatever it names.
pub fn kcore(data: &[u8]) {
    if let Ok(words) = std::str::from_utf8(data) {
        text::kcore::vmcoreinfo_place(words);
    }
    text::kcore::vmcoreinfo(data);
    let segments = text::kcore::Segments::parse(data);
    look_into(&segments, data);
    let Ok(range) = text::kcore::program_headers_range(data) else { return };
    if let Some(headers) = data.get(range) {
        look_into(&text::kcore::Segments::parse(headers), data);
    }
}

fn look_into(segments: &text::kcore::Segments, data: &[u8]) {
    let mut bytes = Bytes(data);
    segments.direct_map();
    for _ in 0..4 {
        let address = bytes.u64();
        segments.physical(address);
        segments.linear(address, bytes.u64());
    }
    if let Some(notes) = segments.notes().and_then(|range| data.get(range)) {
        text::kcore::vmcoreinfo(notes);
    }
}

pub fn kcore_seeds() -> Vec<Vec<u8>> {
    let segments = [
        segment(PT_NOTE, 64 + 3 * 56, 0, 40, 0),
        segment(PT_LOAD, 0x1000, 0x1000, 0x9f000, 0xffff_8880_0000_1000),
        segment(PT_LOAD, 0x10_0000, 0x10_0000, 0x3fee_0000, 0xffff_8880_0010_0000),
    ];
    let mut note = Vec::new();
    for word in [11u32, 8, 0] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(b"VMCOREINFO\0\0PAGESIZE");
    let header = file_header(ET_CORE, segments.len() as u16, 0, 0);
    vec![[header.as_bytes(), segments.as_bytes(), &note].concat(), b"0x1e2000 1024".to_vec()]
}

pub fn elf_stamp(data: &[u8]) {
    let Ok(writer) = WriterElf::parse(data.to_vec()) else { return };
    assert!(writer.window_bytes() > 0);
    let mut plan = good_plan();
    for start in [plan.window_start.0, 0, u64::MAX - 4095, 1 << 40] {
        plan.window_start.0 = start;
        if let Ok(whole) = writer.stamped_with_symbols(&plan) {
            assert_eq!(whole.len(), data.len());
        }
        if let Ok(stamped) = writer.stamped(&plan) {
            assert!(stamped.len() <= data.len());
        }
    }
}

/// The smallest file that is a writer.
pub fn elf_stamp_seeds() -> Vec<Vec<u8>> {
    const BASE: u64 = 0x100_0000;
    const PLAN: usize = 0x300;
    const NAMES: &[u8] = b"\0.plan\0.shstrtab\0";
    let names = PLAN + SECTION_BYTES;
    let sections = names + 0x40;
    let mut bytes = vec![0; sections];
    let header = file_header(ET_EXEC, 2, sections as u64, 3);
    bytes[..64].copy_from_slice(header.as_bytes());
    let segments = [
        segment(PT_LOAD, 0, BASE, names as u64, BASE),
        segment(PT_NOTE, 0x200, BASE + 0x200, 24, BASE + 0x200),
    ];
    bytes[64..64 + 2 * 56].copy_from_slice(segments.as_bytes());
    let note = [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), BASE as u32 + 0x400, 0];
    bytes[0x200..0x218].copy_from_slice(note.map(u32::to_le).as_bytes());
    bytes[names..names + NAMES.len()].copy_from_slice(NAMES);
    for (name, kind, offset, size) in
        [(0, 0, 0, 0), (1, 1, PLAN, SECTION_BYTES), (7, 3, names, NAMES.len())]
    {
        let section = SectionHeader {
            sh_name: name.into(),
            sh_type: kind.into(),
            sh_flags: 0.into(),
            sh_addr: 0.into(),
            sh_offset: (offset as u64).into(),
            sh_size: (size as u64).into(),
            sh_link: 0.into(),
            sh_info: 0.into(),
            sh_addralign: 8.into(),
            sh_entsize: 0.into(),
        };
        bytes.extend_from_slice(section.as_bytes());
    }
    vec![bytes]
}

fn file_header(kind: u16, segments: u16, sections_at: u64, sections: u16) -> FileHeader {
    FileHeader {
        e_ident: *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
        e_type: kind.into(),
        e_machine: EM_X86_64.into(),
        e_version: 1.into(),
        e_entry: 0x100_0300.into(),
        e_phoff: 64.into(),
        e_shoff: sections_at.into(),
        e_flags: 0.into(),
        e_ehsize: 64.into(),
        e_phentsize: 56.into(),
        e_phnum: segments.into(),
        e_shentsize: 64.into(),
        e_shnum: sections.into(),
        e_shstrndx: sections.saturating_sub(1).into(),
    }
}

fn segment(kind: u32, offset: u64, physical: u64, bytes: u64, linear: u64) -> ProgramHeader {
    ProgramHeader {
        p_type: kind.into(),
        p_flags: 7.into(),
        p_offset: offset.into(),
        p_vaddr: linear.into(),
        p_paddr: physical.into(),
        p_filesz: bytes.into(),
        p_memsz: bytes.into(),
        p_align: 8.into(),
    }
}
