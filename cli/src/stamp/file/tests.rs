use super::*;
use dormouse_handoff::plan::{CheckedPlan, PlanError};
use proptest::prelude::*;
use zerocopy::little_endian::U32;

const BASE: u64 = 0x100_0000;
const NOTE_OFFSET: usize = 0x200;
const PLAN_OFFSET: usize = 0x1000;
const NAMES: &[u8] = b"\0.plan\0.shstrtab\0";

/// The smallest file that is a writer: a note and the plan in one segment, with
/// a second one that takes up the rest of 2 MiB.
fn writer() -> Vec<u8> {
    let names_offset = PLAN_OFFSET + SECTION_BYTES;
    let sections_offset = names_offset + 0x40;
    let mut bytes = vec![0; sections_offset + 3 * size_of::<SectionHeader>()];
    let header = FileHeader {
        e_ident: *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
        e_type: ET_EXEC.into(),
        e_machine: elf::EM_X86_64.into(),
        e_version: 1.into(),
        e_entry: (BASE + 0x300).into(),
        e_phoff: 64.into(),
        e_shoff: (sections_offset as u64).into(),
        e_flags: 0.into(),
        e_ehsize: 64.into(),
        e_phentsize: 56.into(),
        e_phnum: 3.into(),
        e_shentsize: 64.into(),
        e_shnum: 3.into(),
        e_shstrndx: 2.into(),
    };
    bytes[..64].copy_from_slice(header.as_bytes());
    let segments = [
        segment(PT_LOAD, 0, BASE, PLAN_OFFSET + SECTION_BYTES, 0x10_0000),
        segment(PT_LOAD, 0, BASE + 0x10_0000, 0, 0x10_0000),
        segment(PT_NOTE, NOTE_OFFSET, BASE + NOTE_OFFSET as u64, 24, 24),
    ];
    bytes[64..64 + 168].copy_from_slice(segments.as_bytes());
    let note: [U32; 6] =
        [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), BASE as u32 + 0x400, 0].map(U32::new);
    bytes[NOTE_OFFSET..NOTE_OFFSET + 24].copy_from_slice(note.as_bytes());
    bytes[names_offset..names_offset + NAMES.len()].copy_from_slice(NAMES);
    let sections = [
        section(0, 0, 0, 0),
        section(1, 1, PLAN_OFFSET, SECTION_BYTES),
        section(7, 3, names_offset, NAMES.len()),
    ];
    bytes[sections_offset..].copy_from_slice(sections.as_bytes());
    bytes
}

fn segment(kind: u32, offset: usize, address: u64, file: usize, memory: usize) -> ProgramHeader {
    ProgramHeader {
        p_type: kind.into(),
        p_flags: 7.into(),
        p_offset: (offset as u64).into(),
        p_vaddr: (0xffff_ffff_8000_0000 + address).into(),
        p_paddr: address.into(),
        p_filesz: (file as u64).into(),
        p_memsz: (memory as u64).into(),
        p_align: 4096.into(),
    }
}

fn section(name: u32, kind: u32, offset: usize, size: usize) -> SectionHeader {
    SectionHeader {
        sh_name: name.into(),
        sh_type: kind.into(),
        sh_flags: 0.into(),
        sh_addr: 0.into(),
        sh_offset: (offset as u64).into(),
        sh_size: (size as u64).into(),
        sh_link: 0.into(),
        sh_info: 0.into(),
        sh_addralign: 0.into(),
        sh_entsize: 0.into(),
    }
}

fn plan(window: u64) -> Plan {
    let mut plan = Plan::empty();
    plan.nonce = [7; 16];
    plan.window_start = PhysAddr(window);
    plan.seal();
    plan
}

fn headers(bytes: &[u8]) -> (FileHeader, Vec<ProgramHeader>) {
    let header = FileHeader::parse(bytes, ET_EXEC).unwrap();
    let segments = <[ProgramHeader]>::ref_from_bytes(&bytes[header.program_headers().unwrap()]);
    (header, segments.unwrap().to_vec())
}

#[test]
fn every_address_moves_to_the_window() {
    let writer = WriterElf::parse(writer()).unwrap();
    assert_eq!(writer.window_bytes(), 2 << 20);
    let stamped = writer.stamped(&plan(0x2e00_0000)).unwrap();
    let (header, segments) = headers(&stamped);
    assert_eq!(header.e_entry.get(), 0x2e00_0300);
    assert_eq!(segments[0].p_paddr.get(), 0x2e00_0000);
    assert_eq!(segments[1].p_paddr.get(), 0x2e10_0000);
    assert_eq!(segments[2].p_paddr.get(), 0x2e00_0200);
    assert_eq!(segments[0].p_vaddr.get(), 0xffff_ffff_8100_0000, "linear addresses stay");
    assert_eq!(stamped[NOTE_OFFSET + 16..NOTE_OFFSET + 20], 0x2e00_0400u32.to_le_bytes());
}

#[test]
fn a_window_below_the_linked_address_is_reached() {
    let stamped = WriterElf::parse(writer()).unwrap().stamped(&plan(0x80_0000)).unwrap();
    assert_eq!(headers(&stamped).0.e_entry.get(), 0x80_0300);
}

#[test]
fn above_4_gib_the_pvh_entry_stays() {
    let stamped = WriterElf::parse(writer()).unwrap().stamped(&plan(0x1_4000_0000)).unwrap();
    assert_eq!(headers(&stamped).0.e_entry.get(), 0x1_4000_0300);
    assert_eq!(stamped[NOTE_OFFSET + 16..NOTE_OFFSET + 20], (BASE as u32 + 0x400).to_le_bytes());
}

#[test]
fn plan_and_way_back_are_found_where_the_writer_looks() {
    let plan = plan(0x2e00_0000);
    let stamped = WriterElf::parse(writer()).unwrap().stamped(&plan).unwrap();
    let section = &stamped[PLAN_OFFSET..PLAN_OFFSET + SECTION_BYTES];
    assert_eq!(&section[..size_of::<Plan>()], plan.as_bytes());
    assert_eq!(WayBack::parse(section).unwrap().nonce, [7; 16]);
    // The plan is one that nobody would follow, but its checksum holds.
    let mut aligned = vec![0u64; SECTION_BYTES / 8];
    aligned.as_mut_bytes().copy_from_slice(section);
    let error = CheckedPlan::parse(aligned.as_bytes()).map(|_| ()).unwrap_err();
    assert_eq!(error, PlanError::Field("action"));
}

#[test]
fn what_is_not_loaded_is_left_out_but_for_debuggers() {
    let mut bytes = writer();
    // As if symbols lay behind what is loaded.
    bytes.extend([0x5a; 0x1000]);
    let length = bytes.len();
    let writer = WriterElf::parse(bytes).unwrap();
    let (plan, loaded) = (plan(0x2e00_0000), PLAN_OFFSET + SECTION_BYTES);
    let stamped = writer.stamped(&plan).unwrap();
    let whole = writer.stamped_with_symbols(&plan).unwrap();
    assert_eq!((stamped.len(), whole.len()), (loaded, length));
    let (header, segments) = headers(&stamped);
    assert_eq!((header.e_shoff.get(), header.e_shnum.get(), header.e_shstrndx.get()), (0, 0, 0));
    assert_eq!(segments, headers(&whole).1);
    assert_eq!(stamped[64..], whole[64..loaded], "all that is loaded is the same");
}

#[test]
fn a_file_without_room_for_the_plan_is_refused() {
    let mut bytes = writer();
    let at = bytes.windows(5).position(|w| w == b".plan").unwrap();
    bytes[at + 1] = b'q';
    assert_eq!(WriterElf::parse(bytes).unwrap_err(), StampError::NoPlanSection);
}

#[test]
fn a_writer_that_is_too_large_is_refused() {
    let mut bytes = writer();
    let segments = [segment(PT_LOAD, 0, BASE, 0, MAX_WINDOW as usize + 0x10_0000)];
    bytes[64..64 + 56].copy_from_slice(segments.as_bytes());
    let error = WriterElf::parse(bytes).unwrap_err();
    assert_eq!(error, StampError::TooLarge(MAX_WINDOW + 0x10_0000));
}

#[test]
fn a_writer_that_leaves_pages_of_its_window_out_is_refused() {
    for (first, second, hole) in [
        (0x10_0000, 0xf_f000, BASE + 0x1f_f000), //
        (0xf_f000, 0x10_0000, BASE + 0xf_f000),
    ] {
        let mut bytes = writer();
        let segments = [
            segment(PT_LOAD, 0, BASE, PLAN_OFFSET + SECTION_BYTES, first),
            segment(PT_LOAD, 0, BASE + 0x10_0000, 0, second),
        ];
        bytes[64..64 + 112].copy_from_slice(segments.as_bytes());
        assert_eq!(WriterElf::parse(bytes).unwrap_err(), StampError::Hole(hole));
    }
}

#[test]
fn other_files_are_refused() {
    assert_eq!(WriterElf::parse(vec![]).unwrap_err(), StampError::Elf(ElfError::NotElf));
    let mut bytes = writer();
    bytes[16] = 3;
    assert_eq!(WriterElf::parse(bytes).unwrap_err(), StampError::Elf(ElfError::OtherKind));
}

proptest! {
    /// Whatever is damaged, in headers or in pieces cut off: an error or a file
    /// that is no longer, never a panic.
    #[test]
    fn damaged_files_are_stamped_or_refused(
        damage in proptest::collection::vec((0usize..0x240, any::<u8>()), 0..6),
        section_damage in proptest::collection::vec((0usize..0x100, any::<u8>()), 0..6),
        cut in 0usize..0x400,
        window in any::<u32>(),
    ) {
        let mut bytes = writer();
        let length = bytes.len();
        for (at, value) in damage {
            bytes[at] = value;
        }
        for (at, value) in section_damage {
            bytes[length - 1 - at] = value;
        }
        bytes.truncate(length - cut.saturating_sub(0x200));
        let length = bytes.len();
        let window = u64::from(window) << 20;
        if let Ok(stamped) = WriterElf::parse(bytes).and_then(|writer| writer.stamped(&plan(window))) {
            prop_assert!(stamped.len() <= length);
        }
    }
}
