//! Host tests of the whole path: what is saved comes back, and what must not
//! happen does not.

use crate::error::Error;
use crate::fakes::{Disk, Event, Recorder, SharedRam, plan};
use crate::image;
use crate::memory::{Everything, Memory, PageSet, Verdict};
use crate::{compare, read_ahead, restore, save, survey};
use dormouse_drivers::guard::Guarded;
use dormouse_drivers::queue::BlockQueue;
use dormouse_handoff::checksum;
use dormouse_handoff::extents::ExtentMap;
use dormouse_handoff::image::{Attempts, Carried, Header, JumpBack, Kind, State};
use dormouse_handoff::memory_map::{MemoryKind, MemoryRange};
use dormouse_handoff::plan::{Action, CheckedPlan, Flags, Plan, SCRIBBLE, Stage};
use dormouse_handoff::units::{Lba, PageRange, Pfn};
use zerocopy::IntoBytes;

/// Frames of the test machine that the plan knows; buffers lie above.
const PAGES: u64 = 4096;
const WINDOW: u64 = 1024;
const START: u64 = 64;

fn machine() -> SharedRam {
    let ram = SharedRam::new(PAGES as usize + 128);
    for frame in 0..PAGES {
        // Every third page is zero, the others differ from each other.
        if frame % 3 != 0 {
            let mut page = [0; 4096];
            page[..8].copy_from_slice(&(frame * 0x9e37_79b9).to_le_bytes());
            page[4000..4008].copy_from_slice(&frame.to_le_bytes());
            ram.write(Pfn(frame).address(), &page);
        }
    }
    ram
}

fn save_buffers(ram: &SharedRam) -> save::Buffers {
    save::Buffers {
        runs: ram.buffer(PAGES, save::TABLE_BUFFER_PAGES),
        chunks: ram.buffer(PAGES + 16, save::TABLE_BUFFER_PAGES),
        scratch: ram.buffer(PAGES + 32, save::SCRATCH_BYTES / 4096),
    }
}

fn save_to(
    ram: &SharedRam,
    disk: &mut Disk,
    plan: &Plan,
    pages: &mut dyn PageSet,
) -> Result<Header, Error> {
    let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
    let mut stream = crate::stream::Stream::new(disk, checked.extents())?;
    let jump_back = JumpBack { entry: 0x1234, ..JumpBack::default() };
    let mut observer = Recorder::default();
    save::save(&mut stream, ram, pages, &checked, &jump_back, save_buffers(ram), &mut observer)
}

fn restore_from(disk: &mut Disk, ram: &mut SharedRam) -> Result<(image::Opened, Attempts), Error> {
    let mut scratch = ram.buffer(PAGES + 64, 16);
    let opened = image::open(disk, Lba(START), &mut scratch)?;
    let plan = opened.plan()?;
    let mut stream = crate::stream::Stream::new(disk, plan.extents())?;
    let renew = |old: &Carried| old.map(|byte| byte + 1);
    let attempts =
        image::count_attempt(&mut stream, &mut scratch, &opened.header, plan.attempts, renew)?;
    let buffers = restore::Buffers {
        runs: ram.buffer(PAGES, restore::TABLE_BUFFER_PAGES),
        chunks: ram.buffer(PAGES + 16, restore::TABLE_BUFFER_PAGES),
    };
    let mut observer = Recorder::default();
    let (header, own) = (&opened.header, plan.window());
    restore::restore(&mut stream, ram, &plan, header, own, buffers, &mut observer)?;
    Ok((opened, attempts))
}

fn assert_same(plan: &Plan, before: &SharedRam, after: &SharedRam) {
    let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
    let window = checked.window();
    for entry in checked.memory() {
        for frame in (entry.range.start.0..entry.range.end().0).map(Pfn) {
            if !window.contains(frame) {
                assert!(before.page(frame) == after.page(frame), "frame {frame:?}");
            }
        }
    }
}

fn new_disk(ram: &SharedRam) -> Disk {
    let mut disk = Disk::new(ram, 64 + (PAGES + 512) * 8);
    for (i, byte) in disk.bytes.iter_mut().enumerate() {
        *byte = i as u8 ^ 0xc3;
    }
    disk
}

#[test]
fn memory_comes_back_as_it_was() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let plan = plan(PAGES, WINDOW, START, &disk);
    let header = save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    assert_eq!(header.state(), State::Valid);
    assert_eq!(header.counts.window, 512);
    assert_eq!(header.counts.total(), header.layout_pages);
    assert!(header.counts.zero > 1000);

    let mut woken = SharedRam::new(PAGES as usize + 128);
    for frame in 0..PAGES {
        woken.write(Pfn(frame).address(), &[0xee; 4096]);
    }
    let mut disk = Disk::with_contents(&woken, disk.bytes);
    let (opened, _) = restore_from(&mut disk, &mut woken).unwrap();
    assert_eq!(opened.jump_back.entry, 0x1234);
    assert_same(&plan, &ram, &woken);
    // The window is the reader's own: nothing was put there.
    assert_eq!(woken.page(Pfn(WINDOW)), &[0xee; 4096]);
}

/// A machine, and its image for inspection.
fn inspected() -> (SharedRam, Disk, Box<Plan>) {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let mut plan = plan(PAGES, WINDOW, START, &disk);
    plan.action = Action::Return as u32;
    plan.image = Kind::Inspection as u32;
    plan.seal();
    let header = save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    assert_eq!((header.state(), header.kind()), (State::Inert, Kind::Inspection));
    (ram, disk, plan)
}

fn compare_with(ram: &SharedRam, disk: &mut Disk) -> Result<(), Error> {
    let mut scratch = ram.buffer(PAGES + 32, 16);
    let opened = image::open_in(disk, Lba(START), &mut scratch, State::Inert)?;
    let plan = opened.plan()?;
    let mut stream = crate::stream::Stream::new(disk, plan.extents())?;
    let buffers = restore::Buffers {
        runs: ram.buffer(PAGES, restore::TABLE_BUFFER_PAGES),
        chunks: ram.buffer(PAGES + 16, restore::TABLE_BUFFER_PAGES),
    };
    let pages = read_ahead::PIECE_BYTES / 4096;
    let staging = std::array::from_fn(|i| ram.buffer(PAGES + 64 + (i * pages) as u64, pages));
    let (header, own, mut observer) = (&opened.header, plan.window(), Recorder::default());
    compare::compare(&mut stream, ram, &plan, header, own, buffers, staging, &mut observer)
}

#[test]
fn an_image_for_inspection_is_the_same_as_memory_and_is_never_resumed() {
    let (mut ram, mut disk, _) = inspected();
    compare_with(&ram, &mut disk).unwrap();
    let refused = restore_from(&mut disk, &mut ram).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::NotValid(State::Inert)), "{refused}");
}

#[test]
fn what_would_be_stored_is_counted_as_it_is_when_it_is_stored() {
    let (ram, disk, plan) = inspected();
    let header = Header::parse(&disk.bytes[START as usize * 512..]).unwrap();
    let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
    let mut observer = Recorder::default();
    let counted = survey::count(&ram, &mut Everything, &checked, &mut observer).unwrap();
    assert_eq!(counted, header.counts);
}

#[test]
fn whatever_differs_from_memory_is_found() {
    let (ram, mut disk, plan) = inspected();
    let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
    // A stored page, one of zeros, the last of all; not one of the window.
    for frame in [400, 402, PAGES - 1] {
        let mut page = *ram.page(Pfn(frame));
        page[4095] ^= 1;
        ram.write(Pfn(frame).address(), &page);
        let found = compare_with(&ram, &mut disk).unwrap_err();
        assert!(matches!(found, Error::Differs { frame: at } if at == Pfn(frame)), "{found}");
        page[4095] ^= 1;
        ram.write(Pfn(frame).address(), &page);
    }
    ram.write(checked.window().start.address(), &[0xee; 4096]);
    compare_with(&ram, &mut disk).unwrap();
}

#[test]
fn a_reusable_image_is_woken_again_and_again() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let mut plan = plan(PAGES, WINDOW, START, &disk);
    plan.action = Action::Return as u32;
    plan.image = Kind::Reusable as u32;
    plan.seal();
    save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    let mut contents = disk.bytes;
    for wake_up in 0..2 * u64::from(plan.attempts) {
        let mut woken = SharedRam::new(PAGES as usize + 128);
        let mut disk = Disk::with_contents(&woken, contents);
        let (opened, attempts) = restore_from(&mut disk, &mut woken).unwrap();
        assert_eq!((attempts.woken, attempts.carried), (wake_up, [wake_up as u8 + 1; 32]));
        assert_same(&plan, &ram, &woken);
        let mut scratch = woken.buffer(PAGES + 64, 16);
        let extents = opened.plan().unwrap().plan().extents;
        let extents = ExtentMap::new(&extents[..1], 512, disk.geometry.blocks).unwrap();
        let mut stream = crate::stream::Stream::new(&mut disk, extents).unwrap();
        image::consume(&mut stream, &mut scratch, &opened.header, &attempts).unwrap();
        contents = disk.bytes;
    }
    // Wake-ups that do not come through are counted all the same.
    for attempt in 0..=plan.attempts {
        let mut woken = SharedRam::new(PAGES as usize + 128);
        let mut disk = Disk::with_contents(&woken, contents);
        let tried = restore_from(&mut disk, &mut woken).map(|_| ());
        match attempt < plan.attempts {
            true => tried.unwrap(),
            false => assert!(matches!(tried, Err(Error::Attempts { .. }))),
        }
        contents = disk.bytes;
    }
}

#[test]
fn nothing_outside_the_extents_is_written() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let before = disk.bytes.clone();
    let plan = plan(PAGES, WINDOW, START, &disk);
    save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    assert_eq!(disk.bytes[..START as usize * 512], before[..START as usize * 512]);
    let end = plan.extents[0].end().0 as usize * 512;
    assert_eq!(disk.bytes[end..], before[end..]);
}

struct FreeFrom(u64);

impl PageSet for FreeFrom {
    fn verdict(&mut self, from: Pfn, limit: u64) -> (Verdict, u64) {
        match from.0 {
            frame if frame >= self.0 => (Verdict::Free, limit),
            3000 => (Verdict::Excluded, 1),
            frame if frame < 3000 => (Verdict::InUse, limit.min(3000 - frame)),
            frame => (Verdict::InUse, limit.min(self.0 - frame)),
        }
    }
}

#[test]
fn free_and_excluded_pages_are_neither_stored_nor_touched() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let plan = plan(PAGES, WINDOW, START, &disk);
    let header = save_to(&ram, &mut disk, &plan, &mut FreeFrom(3500)).unwrap();
    assert_eq!(header.counts.free, PAGES - 3500);
    assert_eq!(header.counts.excluded, 1);

    let mut woken = SharedRam::new(PAGES as usize + 128);
    woken.write(Pfn(3000).address(), &[0x11; 4096]);
    woken.write(Pfn(4000).address(), &[0x22; 4096]);
    let mut disk = Disk::with_contents(&woken, disk.bytes);
    restore_from(&mut disk, &mut woken).unwrap();
    assert_eq!(woken.page(Pfn(3000)), &[0x11; 4096]);
    assert_eq!(woken.page(Pfn(4000)), &[0x22; 4096]);
    assert_eq!(woken.page(Pfn(3499)), ram.page(Pfn(3499)));
}

#[test]
fn measuring_changes_neither_image_nor_memory() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let mut plan = plan(PAGES, WINDOW, START, &disk);
    plan.flags = Flags::MEASURE.bits();
    plan.seal();
    let header = save_to(&ram, &mut disk, &plan, &mut FreeFrom(3500)).unwrap();
    let data = header.data_length as usize / 4096;
    let pages = |event: &Event| match event {
        Event::Write { bytes, .. } => bytes.len() / 4096,
        Event::Flush => 0,
    };
    assert!(disk.events.iter().map(pages).sum::<usize>() >= 2 * data, "written only once");

    let mut woken = SharedRam::new(PAGES as usize + 128);
    for frame in 3500..PAGES {
        woken.write(Pfn(frame).address(), &[0x22; 4096]);
    }
    let mut disk = Disk::with_contents(&woken, disk.bytes);
    let (opened, _) = restore_from(&mut disk, &mut woken).unwrap();
    let requests = disk.requests;
    let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
    let mut stream = crate::stream::Stream::new(&mut disk, checked.extents()).unwrap();
    let buffer = woken.buffer(PAGES + 96, restore::TABLE_BUFFER_PAGES);
    let observer = Recorder::default();
    crate::measure::restoring(&mut stream, &opened.header, buffer, &observer).unwrap();
    assert!(disk.requests > requests);
    for frame in (1..157).chain(256..WINDOW).chain(WINDOW + 512..3500).map(Pfn) {
        if frame != Pfn(3000) {
            assert!(ram.page(frame) == woken.page(frame), "frame {frame:?}");
        }
    }
    assert_eq!(woken.page(Pfn(4000)), &[0x22; 4096]);
}

#[test]
fn a_test_may_have_free_pages_scribbled_over() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let mut plan = plan(PAGES, WINDOW, START, &disk);
    plan.flags = Flags::SCRIBBLE_FREE_PAGES.bits();
    plan.seal();
    save_to(&ram, &mut disk, &plan, &mut FreeFrom(3500)).unwrap();
    let mut woken = SharedRam::new(PAGES as usize + 128);
    let mut disk = Disk::with_contents(&woken, disk.bytes);
    restore_from(&mut disk, &mut woken).unwrap();
    assert_eq!(woken.page(Pfn(3500)), &[SCRIBBLE; 4096]);
    assert_eq!(woken.page(Pfn(3499)), ram.page(Pfn(3499)));
}

#[test]
fn free_pages_that_the_plan_wants_and_the_firmwares_memory_are_stored() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let mut plan = plan(PAGES, WINDOW, START, &disk);
    let free = |disk: &mut Disk, plan: &mut Plan| {
        plan.seal();
        let counts = save_to(&ram, disk, plan, &mut FreeFrom(3500)).unwrap().counts;
        let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
        let mut observer = Recorder::default();
        let counted = survey::count(&ram, &mut FreeFrom(3500), &checked, &mut observer).unwrap();
        assert_eq!(counted, counts);
        plan.target.first_page_checksum =
            checksum::plain(&disk.bytes[START as usize * 512..][..4096]);
        counts.free
    };
    let [_, main, storage] = &mut plan.memory[..3] else { unreachable!() };
    *storage = MemoryRange {
        range: PageRange::new(4000, PAGES - 4000),
        kind: MemoryKind::AcpiNvs as u32,
        reserved: 0,
    };
    main.range.pages -= PAGES - 4000;
    plan.memory_count = 3;
    assert_eq!(free(&mut disk, &mut plan), 500);
    plan.flags = Flags::STORE_FREE_PAGES.bits();
    assert_eq!(free(&mut disk, &mut plan), 0);
}

#[test]
fn a_changed_first_page_stops_everything_before_the_first_write() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let plan = plan(PAGES, WINDOW, START, &disk);
    disk.bytes[START as usize * 512 + 77] ^= 1;
    let result = save_to(&ram, &mut disk, &plan, &mut Everything);
    assert!(matches!(result, Err(Error::FirstPageChanged)), "{result:?}");
    assert_eq!(disk.events, []);
}

#[test]
fn a_target_that_could_be_too_small_is_refused_before_the_first_write() {
    let ram = machine();
    let mut disk = Disk::new(&ram, 64 + PAGES * 8);
    let plan = plan(PAGES, WINDOW, START, &disk);
    let result = save_to(&ram, &mut disk, &plan, &mut Everything);
    assert!(matches!(result, Err(Error::TooSmall { .. })), "{result:?}");
    assert_eq!(disk.events, []);
}

#[test]
fn whatever_request_fails_the_image_is_not_valid() {
    let ram = machine();
    let mut requests = usize::MAX;
    let mut n = 0;
    while n < requests {
        let mut disk = new_disk(&ram);
        let plan = plan(PAGES, WINDOW, START, &disk);
        disk.fail_at = Some(n);
        let result = save_to(&ram, &mut disk, &plan, &mut Everything);
        if n == 0 {
            let mut whole = new_disk(&ram);
            save_to(&ram, &mut whole, &plan, &mut Everything).unwrap();
            requests = whole.requests;
        }
        assert!(matches!(result, Err(Error::Device(_))), "request {n}: {result:?}");
        let state = Header::parse(&disk.bytes[START as usize * 512..]).map(|header| header.state());
        match state {
            Ok(State::Writing) => {}
            // The device may have lied about the header that says `Valid`.
            Ok(State::Discarded) => assert_eq!(n, requests - 1),
            other => assert!(n < 3, "request {n}: {other:?}"),
        }
        n += 1;
    }
    assert!(requests > 20);
}

#[test]
fn the_header_turns_valid_last_and_alone() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let plan = plan(PAGES, WINDOW, START, &disk);
    save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    let [.., before, Event::Write { lba, bytes }, last] = &disk.events[..] else { panic!() };
    assert_eq!((before, last), (&Event::Flush, &Event::Flush));
    assert_eq!((*lba, bytes.len()), (START, 512));
    assert_eq!(Header::parse(bytes).unwrap().state(), State::Valid);
    // And the first write of all is not to the header: the kept page is safe first.
    let [Event::Write { lba: kept, .. }, Event::Flush, Event::Write { lba: header, .. }, ..] =
        &disk.events[..]
    else {
        panic!()
    };
    assert_eq!((*kept, *header), (START + 16, START));
}

#[test]
fn attempts_that_never_got_to_the_jump_come_to_an_end() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let plan = plan(PAGES, WINDOW, START, &disk);
    save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    for _ in 0..3 {
        let mut woken = SharedRam::new(PAGES as usize + 128);
        let mut again = Disk::with_contents(&woken, disk.bytes);
        restore_from(&mut again, &mut woken).unwrap();
        disk = again;
    }
    let mut woken = SharedRam::new(PAGES as usize + 128);
    let mut again = Disk::with_contents(&woken, disk.bytes);
    let result = restore_from(&mut again, &mut woken).map(|_| ());
    assert!(matches!(result, Err(Error::Attempts { begun: 3 })), "{result:?}");
}

#[test]
fn a_copy_on_another_disk_is_not_woken() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let plan = plan(PAGES, WINDOW, START, &disk);
    save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    let mut moved = vec![0; 8 * 512];
    moved.extend_from_slice(&disk.bytes);
    let mut other = Disk::with_contents(&ram, moved);
    let mut scratch = ram.buffer(PAGES + 64, 16);
    let result = image::open(&mut other, Lba(START + 8), &mut scratch).map(|_| ());
    assert!(matches!(result, Err(Error::Elsewhere)), "{result:?}");
}

#[test]
fn damage_to_any_page_of_the_image_is_noticed() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let plan = plan(PAGES, WINDOW, START, &disk);
    let header = save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    let layout = header.layout();
    let used = [
        (0, 1),
        (12288, 1),
        (16384, size_of::<Plan>().div_ceil(4096) as u64),
        (layout.runs.offset, header.runs.pages),
        (layout.chunks.offset, header.chunks.pages),
        (layout.data.offset, header.data_length / 4096),
    ];
    let mut tried = 0;
    for (offset, pages) in used {
        // Every page of the small parts, a sample of the data.
        for page in (0..pages).step_by(1 + pages as usize / 24) {
            let mut bytes = disk.bytes.clone();
            bytes[(START * 512 + offset + page * 4096) as usize + 9] ^= 0x10;
            let mut woken = SharedRam::new(PAGES as usize + 128);
            let mut damaged = Disk::with_contents(&woken, bytes);
            let result = restore_from(&mut damaged, &mut woken).map(|_| ());
            assert!(result.is_err(), "offset {offset} page {page}");
            tried += 1;
        }
    }
    assert!(tried > 40);
}

#[test]
fn a_page_under_the_reader_itself_is_refused() {
    let ram = machine();
    let mut disk = new_disk(&ram);
    let plan = plan(PAGES, WINDOW, START, &disk);
    save_to(&ram, &mut disk, &plan, &mut Everything).unwrap();
    let mut woken = SharedRam::new(PAGES as usize + 128);
    let mut disk = Disk::with_contents(&woken, disk.bytes);
    let mut scratch = woken.buffer(PAGES + 64, 16);
    let opened = image::open(&mut disk, Lba(START), &mut scratch).unwrap();
    let plan = opened.plan().unwrap();
    let mut stream = crate::stream::Stream::new(&mut disk, plan.extents()).unwrap();
    let buffers = restore::Buffers {
        runs: woken.buffer(PAGES, restore::TABLE_BUFFER_PAGES),
        chunks: woken.buffer(PAGES + 16, restore::TABLE_BUFFER_PAGES),
    };
    let elsewhere = PageRange::new(2048, 512);
    let result = restore::restore(
        &mut stream,
        &mut woken,
        &plan,
        &opened.header,
        elsewhere,
        buffers,
        &mut Recorder::default(),
    );
    assert!(matches!(result, Err(Error::Window)), "{result:?}");
}

#[test]
fn an_error_of_the_observer_ends_the_attempt_before_the_commit() {
    let ram = machine();
    for stage in [Stage::Prepare, Stage::Write, Stage::Commit] {
        let mut disk = new_disk(&ram);
        let plan = plan(PAGES, WINDOW, START, &disk);
        let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
        let mut stream = crate::stream::Stream::new(&mut disk, checked.extents()).unwrap();
        let mut observer = Recorder { fail_at: Some(stage), ..Recorder::default() };
        let result = save::save(
            &mut stream,
            &ram,
            &mut Everything,
            &checked,
            &JumpBack::default(),
            save_buffers(&ram),
            &mut observer,
        );
        assert!(result.is_err());
        let header = Header::parse(&disk.bytes[START as usize * 512..]);
        assert!(!header.is_ok_and(|h| h.state() == State::Valid), "{stage:?}");
    }
}

#[test]
fn the_guard_refuses_what_was_not_granted() {
    use dormouse_drivers::queue::{Direction, Request, Segment, SubmitError};
    use dormouse_handoff::extents::Extent;
    use dormouse_handoff::units::PhysAddr;
    let ram = machine();
    let mut guarded = Guarded::new(Box::new(new_disk(&ram)));
    guarded.grant(&[Extent { start: Lba(64), blocks: 16 }]);
    let segments = [Segment { address: PhysAddr(4096), bytes: 4096 }];
    let mut submit = |direction, lba| {
        guarded.submit(&Request { direction, lba: Lba(lba), segments: &segments, tag: 1 })
    };
    assert!(submit(Direction::Write, 64).is_ok());
    assert!(submit(Direction::Write, 72).is_ok());
    for lba in [0, 57, 63, 73, 80, u64::MAX - 3] {
        let refused = submit(Direction::Write, lba);
        assert!(matches!(refused, Err(SubmitError::NotGranted { .. })), "{lba}");
    }
    assert!(submit(Direction::Read, 0).is_ok());
}
