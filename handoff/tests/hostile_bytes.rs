//! Whatever bytes a disk or a damaged file holds: an answer or an error, never
//! a panic, and nothing that was accepted breaks a promise.

use dormouse_handoff::extents::Extent;
use dormouse_handoff::image::{
    Attempts, CHUNK_ENTRIES, Chunk, Header, Kind, RUN_ENTRIES, Run, State, parse_page, seal_page,
};
use dormouse_handoff::mailbox;
use dormouse_handoff::memory_map::{MapError, MemoryRange};
use dormouse_handoff::plan::{
    self, Action, CheckedPlan, Ecam, MAX_EXTENTS, MAX_MEMORY_RANGES, Plan, PlanError,
    SECTION_BYTES, WayBack,
};
use dormouse_handoff::units::{Lba, PAGE_SIZE, PageRange, PhysAddr};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// A plan that any writer follows: 64 MiB of RAM, the window at 16 MiB.
fn good_plan() -> Box<Plan> {
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

fn refusal(change: impl FnOnce(&mut Plan)) -> PlanError {
    let mut plan = good_plan();
    change(&mut plan);
    plan.seal();
    CheckedPlan::parse(plan.as_bytes()).map(|_| ()).unwrap_err()
}

#[test]
fn a_good_plan_is_followed() {
    let plan = good_plan();
    let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
    assert_eq!(checked.memory_pages(), 16 << 10);
    assert_eq!(checked.window(), PageRange::new(4096, 512));
    assert_eq!(checked.extents().capacity(), 256 << 20);
}

#[test]
fn what_could_be_resumed_is_never_written_beside_a_running_system() {
    let allowed = |action: u32, image: u32| {
        let mut plan = good_plan();
        plan.action = action;
        plan.image = image;
        plan.seal();
        CheckedPlan::parse(plan.as_bytes()).is_ok()
    };
    let pairs = (0..=5).flat_map(|action| (0..=4).map(move |image| (action, image)));
    let good: Vec<(u32, u32)> = pairs.filter(|(action, image)| allowed(*action, *image)).collect();
    // Power-off and reboot with an image that is resumed once; the return with
    // any other, or none; the suspend with one that is resumed once, or none.
    assert_eq!(good, [(1, 1), (2, 1), (3, 0), (3, 2), (3, 3), (4, 0), (4, 1)]);
}

#[test]
fn only_a_suspend_without_an_image_needs_no_target() {
    let without_target = |action: Action, image: u32| {
        let mut plan = good_plan();
        plan.action = action as u32;
        plan.image = image;
        plan.target.transport = 0;
        plan.extent_count = 0;
        plan.seal();
        CheckedPlan::parse(plan.as_bytes()).map(|checked| checked.transport())
    };
    assert_eq!(without_target(Action::Suspend, 0).unwrap(), None);
    assert_eq!(without_target(Action::Suspend, 1).unwrap_err(), PlanError::Field("transport"));
    assert_eq!(without_target(Action::Return, 0).unwrap_err(), PlanError::Field("transport"));
}

#[test]
fn each_fault_of_a_plan_has_its_own_words() {
    assert_eq!(refusal(|plan| plan.magic = [0; 8]), PlanError::Unstamped);
    assert_eq!(refusal(|plan| plan.version = 1), PlanError::Version(1));
    assert_eq!(refusal(|plan| plan.length -= 8), PlanError::Truncated);
    assert_eq!(refusal(|plan| plan.action = 0), PlanError::Field("action"));
    assert_eq!(refusal(|plan| plan.image = 9), PlanError::Field("image"));
    assert_eq!(refusal(|plan| plan.target.transport = 9), PlanError::Field("transport"));
    assert_eq!(refusal(|plan| plan.memory_count = 257), PlanError::Field("memory_count"));
    assert_eq!(refusal(|plan| plan.extent_count = u32::MAX), PlanError::Field("extent_count"));
    assert_eq!(
        refusal(|plan| plan.vmcoreinfo_length = 4097),
        PlanError::Field("vmcoreinfo_length")
    );
    assert_eq!(refusal(|plan| plan.memory_count = 0), PlanError::Memory(MapError::Empty));
    assert!(matches!(refusal(|plan| plan.extent_count = 0), PlanError::Extents(_)));
    assert!(matches!(refusal(|plan| plan.target.block_size = 520), PlanError::Extents(_)));
    let region = |base| Ecam { base: PhysAddr(base), last_bus: 255, ..Ecam::default() };
    assert_eq!(refusal(|plan| plan.ecam[1] = region(3 << 20)), PlanError::Field("ecam"), "RAM");
    assert_eq!(refusal(|plan| plan.ecam[0] = region(u64::MAX << 20)), PlanError::Field("ecam"));
    let mut plan = good_plan();
    plan.created ^= 1;
    assert_eq!(CheckedPlan::parse(plan.as_bytes()).map(|_| ()).unwrap_err(), PlanError::Checksum);
    let cut = &plan.as_bytes()[..size_of::<Plan>() - 8];
    assert_eq!(CheckedPlan::parse(cut).map(|_| ()).unwrap_err(), PlanError::Truncated);
}

#[test]
fn a_window_that_is_no_place_to_be_is_refused() {
    for (start, bytes) in [
        ((16 << 20) + 4096, 2 << 20), // not aligned
        (16 << 20, 4096),             // not a multiple
        (16 << 20, 0),                // nothing
        (16 << 20, 6 << 20),          // too large
        (63 << 20, 2 << 20),          // not aligned either
        (64 << 20, 2 << 20),          // past RAM
        (u64::MAX << 21, 2 << 20),    // past everything
    ] {
        let refused = refusal(|plan| {
            plan.window_start = PhysAddr(start);
            plan.window_bytes = bytes;
        });
        assert_eq!(refused, PlanError::Window, "{start:#x}, {bytes:#x}");
    }
}

#[test]
fn a_mailbox_that_nobody_could_read_is_refused() {
    for (index, page) in [(0, 16 << 20), (3, (32 << 20) + 8), (16, 64 << 20), (5, u64::MAX)] {
        let refused = refusal(|plan| plan.mailbox[index] = PhysAddr(page));
        assert_eq!(refused, PlanError::Mailbox(index));
    }
}

#[test]
fn the_way_back_outlives_a_damaged_plan() {
    let plan = good_plan();
    let mut section = vec![0xff; SECTION_BYTES];
    let stamped: &mut [u8; SECTION_BYTES] = section.as_mut_slice().try_into().unwrap();
    plan::stamp(stamped, &plan);
    stamped[..size_of::<Plan>()].fill(0x5a);
    assert_eq!(WayBack::parse(stamped), Some(WayBack::of(&plan)));
    for at in plan::WAY_BACK_OFFSET..SECTION_BYTES {
        let mut damaged = section.clone();
        damaged[at] ^= 1;
        assert_eq!(WayBack::parse(&damaged), None, "byte {at}");
    }
}

/// Bytes, aligned as the parsers want them.
fn aligned(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    words
}

/// Places in `bytes` bytes and what to put there, small numbers and wild ones.
fn damage(bytes: usize) -> impl Strategy<Value = Vec<(usize, u64)>> {
    let wild = prop_oneof![Just(0), Just(u64::MAX), 0u64..5, any::<u64>(), Just(1u64 << 40)];
    prop::collection::vec((0..bytes / 8, wild), 0..12)
}

fn apply(bytes: &mut [u8], damage: &[(usize, u64)]) {
    for (word, value) in damage {
        bytes[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
    }
}

proptest! {
    /// A checksum is no protection from whoever made the plan: with a right one
    /// every other check has to hold.
    #[test]
    fn a_plan_that_is_accepted_keeps_its_promises(damage in damage(size_of::<Plan>())) {
        let mut plan = good_plan();
        apply(plan.as_mut_bytes(), &damage);
        plan.magic = plan::MAGIC;
        plan.version = plan::VERSION;
        plan.length = size_of::<Plan>() as u32;
        plan.seal();
        let Ok(checked) = CheckedPlan::parse(plan.as_bytes()) else { return Ok(()) };
        prop_assert!(checked.memory().len() <= MAX_MEMORY_RANGES);
        prop_assert!(checked.extents().extents().len() <= MAX_EXTENTS);
        let ram = |frame| checked.memory().iter().any(|entry| entry.range.contains(frame));
        let window = checked.window();
        prop_assert!(window.bytes() <= plan::MAX_WINDOW && ram(window.start));
        for page in &checked.mailbox {
            let frame = dormouse_handoff::units::Pfn::containing(*page);
            prop_assert!(ram(frame) && !window.contains(frame));
        }
        for extent in checked.extents().extents() {
            prop_assert!(extent.end().0 <= checked.target.device_blocks);
        }
        let _ = (checked.flags(), checked.vmcoreinfo().len(), checked.memory_pages());
    }

    #[test]
    fn any_bytes_are_a_plan_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let words = aligned(&bytes);
        prop_assert!(CheckedPlan::parse(words.as_bytes()).is_err());
        prop_assert_eq!(WayBack::parse(&bytes), None);
        let _ = plan::text(&bytes);
    }

    #[test]
    fn a_header_that_is_accepted_keeps_its_promises(damage in damage(size_of::<Header>())) {
        let mut header = Header::begin([3; 16], Kind::Once, 512, 1_800_000_000, 1 << 18);
        apply(header.as_mut_bytes(), &damage);
        header.magic = Header::MAGIC;
        header.version = Header::VERSION;
        header.seal();
        let Ok(header) = Header::parse(header.as_bytes()) else { return Ok(()) };
        let layout = header.layout();
        prop_assert!(State::from_number(header.state).is_some());
        prop_assert!(header.data().end() <= layout.total());
        prop_assert!(header.runs.fits(layout.runs) && header.chunks.fits(layout.chunks));
    }

    #[test]
    fn any_bytes_are_a_header_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Header::parse(&bytes).is_err());
        prop_assert_eq!(Attempts::of(&[9; 16], &bytes).begun, 1);
        prop_assert!(!mailbox::belongs(&bytes, &[9; 16], 0));
    }

    #[test]
    fn a_table_page_never_has_more_entries_than_it_holds(entries in any::<u32>(), salt in any::<u64>()) {
        let seed = dormouse_handoff::checksum::Seed::of(&[5; 16]);
        let mut words = aligned(&[0; 4096]);
        words[511] = salt;
        let page: &mut [u8; 4096] = words.as_mut_bytes().try_into().unwrap();
        seal_page::<Run>(page, seed, 0, entries as usize);
        let runs = parse_page::<Run>(page, seed, 0);
        prop_assert_eq!(runs.is_ok(), entries as usize <= RUN_ENTRIES);
        seal_page::<Chunk>(page, seed, 0, entries as usize);
        let chunks = parse_page::<Chunk>(page, seed, 0);
        prop_assert_eq!(chunks.is_ok(), entries as usize <= CHUNK_ENTRIES);
    }
}

#[test]
fn every_flipped_bit_of_an_attempts_block_counts_as_one() {
    let attempts = Attempts::new([9; 16], 2);
    for bit in 0..size_of::<Attempts>() * 8 {
        let mut bytes = attempts.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Attempts::of(&[9; 16], &bytes).begun, 1, "bit {bit}");
    }
    assert!(Attempts::read_from_bytes(attempts.as_bytes()).is_ok());
}
