//! Images made by code, whole and damaged.

use super::*;
use dormouse_handoff::extents::Extent;
use dormouse_handoff::image::{Codec, Counts, Kind, RunKind, State, seal_page};
use dormouse_handoff::memory_map::{MemoryKind, MemoryRange};
use dormouse_handoff::plan::{Action, Plan, Transport};
use dormouse_handoff::units::{Lba, PageRange, Pfn, PhysAddr};
use std::io::Write;
use tempfile::NamedTempFile;

/// Pages of the old kernel's memory in the image that the tests make.
const PAGES: u64 = 2048;
/// Pages that are stored.
const STORED: u64 = 300;

fn plan() -> Plan {
    let mut plan = Plan::empty();
    plan.nonce = [7; 16];
    plan.action = Action::PowerOff as u32;
    plan.image = Kind::Once as u32;
    plan.window_start = PhysAddr(2 << 20);
    plan.window_bytes = 2 << 20;
    plan.mailbox = std::array::from_fn(|i| PhysAddr(i as u64 * 4096));
    plan.memory_count = 1;
    let range = PageRange::new(0, PAGES);
    plan.memory[0] = MemoryRange { range, kind: MemoryKind::Ram as u32, reserved: 0 };
    plan.target.transport = Transport::Nvme as u32;
    plan.target.block_size = 512;
    plan.target.device_blocks = 1 << 20;
    plan.extent_count = 1;
    plan.extents[0] = Extent { start: Lba(0), blocks: 1 << 20 };
    plan.seal();
    plan
}

/// A whole image in the given state.
pub fn image(state: State) -> Vec<u8> {
    let mut header = Header::begin([7; 16], Kind::Once, 512, 1_800_000_000, PAGES);
    let seed = header.seed();
    let layout = header.layout();
    let mut bytes = vec![0; (layout.data.offset + STORED * PAGE_SIZE) as usize];
    fn put(bytes: &mut [u8], at: u64, what: &[u8]) {
        bytes[at as usize..at as usize + what.len()].copy_from_slice(what);
    }

    let plan = plan();
    let jump_back = JumpBack { entry: 0x1234, ..JumpBack::default() };
    let kept = [0x5a; PAGE_SIZE as usize];
    for (at, section, what) in [
        (Layout::PLAN, &mut header.plan, plan.as_bytes()),
        (Layout::JUMP_BACK, &mut header.jump_back, jump_back.as_bytes()),
        (Layout::KEPT_PAGE, &mut header.kept_page, &kept),
        (Layout::LOG, &mut header.log, b"plan ok\n".as_slice()),
    ] {
        *section = Section::of(seed, what);
        put(&mut bytes, at, what);
    }
    put(&mut bytes, Layout::ATTEMPTS, Attempts::new([7; 16], 1).as_bytes());

    let run =
        |start, pages: u64, kind| Run { start: Pfn(start), pages: pages as u32, kind: kind as u32 };
    let runs = [
        run(0, STORED, RunKind::Stored),
        run(STORED, 512 - STORED, RunKind::Zero),
        run(512, 512, RunKind::Window),
        run(1024, PAGES - 1024, RunKind::Free),
    ];
    header.counts =
        Counts { stored: STORED, zero: 512 - STORED, free: PAGES - 1024, excluded: 0, window: 512 };
    let data: Vec<u8> = (0..STORED * PAGE_SIZE).map(|i| (i / 4096 * 7 + i) as u8).collect();
    put(&mut bytes, layout.data.offset, &data);
    header.data_length = data.len() as u64;
    let chunks: Vec<Chunk> = data
        .chunks(256 * 4096)
        .enumerate()
        .map(|(i, piece)| Chunk {
            offset: i as u64 * 256 * 4096,
            checksum: seed.checksum(piece),
            length: piece.len() as u32,
            pages: (piece.len() / 4096) as u32,
            codec: Codec::Raw as u32,
            reserved: 0,
        })
        .collect();
    put(&mut bytes, layout.runs.offset, &table::<Run>(&header, &runs));
    header.runs = TableRegion { pages: 1, entries: runs.len() as u64 };
    put(&mut bytes, layout.chunks.offset, &table::<Chunk>(&header, &chunks));
    header.chunks = TableRegion { pages: 1, entries: chunks.len() as u64 };

    header = header.with_state(state);
    put(&mut bytes, 0, header.as_bytes());
    bytes
}

fn table<E: TableEntry>(header: &Header, entries: &[E]) -> Vec<u8> {
    let mut page = [0; 4096];
    let bytes = entries.as_bytes();
    page[32..32 + bytes.len()].copy_from_slice(bytes);
    seal_page::<E>(&mut page, header.seed(), 0, entries.len());
    page.to_vec()
}

/// A file with these bytes.
pub fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn fault(result: Result<impl Sized>) -> ImageError {
    match result.map(|_| ()).unwrap_err() {
        Error::Image { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn every_part_of_a_whole_image_comes_out() {
    let file = file(&image(State::Valid));
    let image = ImageFile::open(file.path()).unwrap();
    assert_eq!(image.header().state(), State::Valid);
    assert_eq!(image.attempts().unwrap(), 1);
    assert_eq!(image.plan().unwrap().checked().unwrap().memory_pages(), PAGES);
    assert_eq!(image.jump_back().unwrap().entry, 0x1234);
    assert_eq!(image.kept_page().unwrap().0, [0x5a; 4096]);
    assert_eq!(image.log().unwrap(), "plan ok\n");
    let mut seen = Vec::new();
    let verified = verify(&image, |done| seen.push(done)).unwrap();
    assert_eq!((verified.chunks, verified.runs.len()), (2, 4));
    assert_eq!(seen, [256 * 4096, 300 * 4096]);
}

#[test]
fn an_image_in_a_partition_is_found() {
    let mut disk = vec![0; 1 << 20];
    disk[446 + 4] = 0x82;
    disk[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    let image = image(State::Valid);
    disk[446 + 12..446 + 16].copy_from_slice(&(image.len() as u32 / 512).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.extend_from_slice(&image);
    let file = file(&disk);
    let image = ImageFile::open(file.path()).unwrap();
    assert_eq!(image.start(), 1 << 20);
    verify(&image, |_| ()).unwrap();
}

#[test]
fn a_disk_without_an_image_is_told() {
    let nothing = ImageFile::open(file(&[0; 8192]).path());
    assert_eq!(fault(nothing), ImageError::Header(HeaderError::None));
    let empty = ImageFile::open(file(&[]).path());
    assert_eq!(fault(empty), ImageError::Header(HeaderError::None));
}

#[test]
fn damage_is_named_where_it_is() {
    let whole = image(State::Valid);
    let data = Layout::for_pages(PAGES).data.offset as usize;
    let expected = [
        (Layout::PLAN as usize + 100, ImageError::Section("plan")),
        (Layout::KEPT_PAGE as usize, ImageError::Section("kept page")),
        (Layout::JUMP_BACK as usize, ImageError::Section("jump-back state")),
        (Layout::LOG as usize, ImageError::Section("log")),
        (data + 5, ImageError::Chunk { index: 0, offset: 0 }),
        (data + 299 * 4096, ImageError::Chunk { index: 1, offset: 256 * 4096 }),
    ];
    for (at, expected) in expected {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let file = file(&damaged);
        let image = ImageFile::open(file.path()).unwrap();
        assert_eq!(fault(verify(&image, |_| ())), expected, "byte {at}");
    }
}

#[test]
fn an_image_that_is_cut_short_is_told() {
    let mut cut = image(State::Valid);
    cut.truncate(cut.len() - 1);
    let file = file(&cut);
    let image = ImageFile::open(file.path()).unwrap();
    let offset = cut.len() as u64;
    assert_eq!(fault(verify(&image, |_| ())), ImageError::Truncated { offset });
}
