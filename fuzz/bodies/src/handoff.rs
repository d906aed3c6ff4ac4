//! Plan and image.

use crate::bytes::padded;
use dormouse_handoff::checksum::Seed;
use dormouse_handoff::extents::Extent;
use dormouse_handoff::image::{
    Attempts, Chunk, HEADER_BYTES, Header, Kind, Run, State, parse_page, seal_page,
};
use dormouse_handoff::mailbox;
use dormouse_handoff::memory_map::MemoryRange;
use dormouse_handoff::plan::{CheckedPlan, Plan, WayBack};
use dormouse_handoff::units::{Lba, PAGE_SIZE, PageRange, PhysAddr};
use zerocopy::{FromBytes, IntoBytes};

/// A plan that any writer follows.
pub fn good_plan() -> Box<Plan> {
    let mut plan = Box::new(Plan::empty());
    plan.nonce = [7; 16];
    plan.action = 1;
    plan.image = 1;
    plan.window_start = PhysAddr(16 << 20);
    plan.window_bytes = 2 << 20;
    plan.memory[0] = MemoryRange { range: PageRange::new(0, 16 << 10), kind: 1, reserved: 0 };
    plan.memory_count = 1;
    plan.target.transport = 1;
    plan.target.block_size = 512;
    plan.target.device_blocks = 1 << 20;
    plan.extents[0] = Extent { start: Lba(2048), blocks: 1 << 19 };
    plan.extent_count = 1;
    for (i, page) in plan.mailbox.iter_mut().enumerate() {
        *page = PhysAddr((32 << 20) + i as u64 * PAGE_SIZE);
    }
    plan.seal();
    plan
}

/// As they are, and with a checksum that fits.
pub fn plan(data: &[u8]) {
    WayBack::parse(data);
    let mut words = vec![0u64; data.len().div_ceil(8)];
    words.as_mut_bytes()[..data.len()].copy_from_slice(data);
    follow(words.as_bytes());
    let mut plan = good_plan();
    let length = data.len().min(size_of::<Plan>());
    plan.as_mut_bytes()[..length].copy_from_slice(&data[..length]);
    let good = Plan::empty();
    (plan.magic, plan.version, plan.length) = (good.magic, good.version, good.length);
    plan.seal();
    follow(plan.as_bytes());
}

fn follow(bytes: &[u8]) {
    let Ok(plan) = CheckedPlan::parse(bytes) else { return };
    let window = plan.window();
    assert!(window.pages > 0);
    let pages: u64 = plan.memory().iter().map(|entry| entry.range.pages).sum();
    assert_eq!(pages, plan.memory_pages());
    for page in plan.mailbox {
        assert!(!window.contains(dormouse_handoff::units::Pfn::containing(page)));
    }
    if !plan.extents().extents().is_empty() {
        let extents = plan.extents();
        let last = extents.capacity() - 1;
        let (lba, blocks) = extents.locate(last / 4096 * 4096).expect("inside");
        assert!(lba.0 + blocks <= plan.target.device_blocks);
        assert!(extents.locate(extents.capacity()).is_none());
    }
}

pub fn plan_seeds() -> Vec<Vec<u8>> {
    let plan = good_plan();
    let mut reset = good_plan();
    reset.action = 2;
    reset.extents[1] = Extent { start: Lba(1 << 19 | 4096), blocks: 4096 };
    reset.extent_count = 2;
    reset.seal();
    // Most of a plan are empty arrays: a fuzzer gets further with its start.
    let start = plan.as_bytes()[..1024].to_vec();
    vec![plan.as_bytes().to_vec(), reset.as_bytes().to_vec(), start]
}

/// The first byte says how; the rest is header, count of attempts, table page.
pub fn image_header_table(data: &[u8]) {
    let Some((how, data)) = data.split_first() else { return };
    header(data);
    let mut sealed: [u8; HEADER_BYTES] = padded(data);
    if let Ok(header) = Header::mut_from_bytes(&mut sealed) {
        (header.magic, header.version) = (Header::MAGIC, Header::VERSION);
        header.seal();
    }
    header(&sealed);

    Attempts::of(&[7; 16], data);
    mailbox::belongs(data, &[7; 16], usize::from(*how));
    let seed = Seed::of(&[7; 16]);
    let mut page: [u8; 4096] = padded(data);
    let _ = parse_page::<Run>(&page, seed, 0);
    let entries = usize::from(how >> 1);
    if how & 1 == 0 {
        seal_page::<Run>(&mut page, seed, 3, entries.min(254));
        if let Ok(runs) = parse_page::<Run>(&page, seed, 3) {
            assert!(runs.iter().all(|run| run.range().start == run.start));
        }
    } else {
        seal_page::<Chunk>(&mut page, seed, 3, entries.min(127));
        let _ = parse_page::<Chunk>(&page, seed, 3);
    }
}

fn header(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else { return };
    let layout = header.layout();
    assert!(layout.total() >= layout.data.offset);
    assert!(header.runs.pages * PAGE_SIZE <= layout.runs.length);
    assert!(header.chunks.pages * PAGE_SIZE <= layout.chunks.length);
    assert!(header.data_length <= layout.data.length);
    let discarded = header.with_state(State::Discarded);
    assert_eq!(
        Header::parse(discarded.as_bytes()).map(|header| header.state()),
        Ok(State::Discarded)
    );
}

pub fn image_header_table_seeds() -> Vec<Vec<u8>> {
    let header = Header::begin([7; 16], Kind::Once, 512, 1, 1 << 18);
    let mut run = [0; 4096];
    let first = Run { start: dormouse_handoff::units::Pfn(5), pages: 7, kind: 1 };
    run[32..48].copy_from_slice(first.as_bytes());
    let with = |how: u8, bytes: &[u8]| [&[how], bytes].concat();
    let valid = header.with_state(State::Valid);
    vec![with(0, header.as_bytes()), with(3, valid.as_bytes()), with(2, &run), with(3, &run)]
}
