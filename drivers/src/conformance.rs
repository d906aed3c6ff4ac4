//! What every driver has to do, whatever its device: tests over [`BlockQueue`]
//! that each driver's scripted device is put through.
//!
//! A driver joins by implementing [`Subject`] in its tests and naming it in
//! [`conforms!`].

use crate::exercise::exercise;
use crate::fakes::FakeMachine;
use crate::guard::Guarded;
use crate::queue::{BlockQueue, Completion, Direction, Request, Segment, SubmitError};
use dormouse_handoff::extents::Extent;
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::{Lba, PAGE_SIZE, PhysAddr};

const PAGE: usize = PAGE_SIZE as usize;
/// DMA memory that a driver may take: the window has little.
const DMA_LIMIT: usize = 320 << 10;

/// A machine with one well-behaved device of at least 4 MiB.
pub trait Subject {
    /// A device as after power on, its blocks all zero.
    fn new() -> Self;
    /// The machine it is in.
    fn machine(&self) -> &'static FakeMachine;
    /// Where its controller is.
    fn address(&self) -> PciAddress;
    /// Starts the driver under test.
    fn open(&self) -> Box<dyn BlockQueue>;
    /// What lies on the device.
    fn stored(&self, first_byte: usize, bytes: usize) -> Vec<u8>;
}

/// Puts a [`Subject`] through all tests here.
macro_rules! conforms {
    ($subject:ident) => {
        mod conformance {
            crate::conformance::conforms!(@each $subject:
                blocks_of_every_size_are_read_back_as_written
                pages_from_all_over_memory_become_one_request
                the_last_block_can_be_written_and_none_after_it
                as_many_requests_as_promised_are_in_flight_at_once
                requests_that_break_a_rule_are_refused_and_leave_no_trace
                any_mixture_of_requests_leaves_the_device_as_a_plain_array
                no_block_is_written_that_was_not_granted
                what_was_flushed_survives_a_shutdown
                a_device_that_was_shut_down_is_quiet_and_takes_nothing
                a_driver_that_is_dropped_leaves_its_device_quiet
                the_memory_that_a_driver_takes_is_bounded
                a_real_device_would_pass_the_exercise
            );
        }
    };
    (@each $subject:ident: $($test:ident)*) => {
        $(#[test]
        fn $test() {
            crate::conformance::$test::<super::$subject>();
        })*
    };
}
pub(crate) use conforms;

/// Numbers that look random and are the same every time (xorshift, Marsaglia
/// 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn request(direction: Direction, lba: u64, segments: &[Segment], tag: u32) -> Request<'_> {
    Request { direction, lba: Lba(lba), segments, tag }
}

/// Memory for `bytes` bytes that begins a page and holds a pattern of `seed`.
fn patterned(machine: &FakeMachine, bytes: usize, seed: u64) -> Segment {
    let address = machine.pages(bytes.div_ceil(PAGE));
    let mut numbers = Numbers(seed | 1 << 40);
    let pattern: Vec<u8> = (0..bytes).map(|_| numbers.below(256) as u8).collect();
    machine.write(address, &pattern);
    Segment { address, bytes: bytes as u32 }
}

fn contents(machine: &FakeMachine, segments: &[Segment]) -> Vec<u8> {
    segments.iter().flat_map(|s| machine.read(s.address, s.bytes as usize)).collect()
}

/// Polls until a request comes back.
fn next(device: &mut dyn BlockQueue) -> Completion {
    for _ in 0..1_000_000 {
        if let Some(completion) = device.poll().expect("the device failed") {
            return completion;
        }
    }
    panic!("no request came back");
}

/// Does one request from beginning to end.
fn perform(device: &mut dyn BlockQueue, direction: Direction, lba: u64, segments: &[Segment]) {
    device.submit(&request(direction, lba, segments, 77)).expect("refused");
    device.ring();
    let completion = next(device);
    assert_eq!(completion.tag, 77);
    completion.result.expect("the request failed");
}

pub fn blocks_of_every_size_are_read_back_as_written<S: Subject>() {
    let subject = S::new();
    let machine = subject.machine();
    let mut device = subject.open();
    let geometry = device.geometry();
    let block = geometry.block_size as usize;
    let most = geometry.max_bytes as usize;
    for (i, bytes) in [block, 2 * block, 3 * block, PAGE, PAGE + block, 9 * PAGE - block, most]
        .into_iter()
        .filter(|bytes| *bytes <= most)
        .enumerate()
    {
        let written = patterned(machine, bytes, i as u64);
        perform(&mut *device, Direction::Write, 3, &[written]);
        assert_eq!(subject.stored(3 * block, bytes), contents(machine, &[written]), "{bytes}");
        let read = patterned(machine, bytes, 99);
        perform(&mut *device, Direction::Read, 3, &[read]);
        assert_eq!(contents(machine, &[read]), contents(machine, &[written]), "{bytes}");
    }
}

pub fn pages_from_all_over_memory_become_one_request<S: Subject>() {
    let subject = S::new();
    let machine = subject.machine();
    let mut device = subject.open();
    let geometry = device.geometry();
    let block = geometry.block_size as usize;
    let pages = (geometry.max_segments as usize).min(geometry.max_bytes as usize / PAGE).min(32);
    // Backwards, so that no two follow each other, but for the last pair.
    let mut segments: Vec<_> = (0..pages as u64).map(|i| patterned(machine, PAGE, i)).collect();
    segments.reverse();
    if pages >= 4 {
        segments.swap(pages - 1, pages - 2);
    }
    // The first begins inside its page, where blocks are small enough.
    if block < PAGE && pages > 1 {
        segments[0].address = PhysAddr(segments[0].address.0 + block as u64);
        segments[0].bytes -= block as u32;
    }
    perform(&mut *device, Direction::Write, 0, &segments);
    let written = contents(machine, &segments);
    assert_eq!(subject.stored(0, written.len()), written);
    for segment in &segments {
        machine.write(segment.address, &vec![0; segment.bytes as usize]);
    }
    perform(&mut *device, Direction::Read, 0, &segments);
    assert_eq!(contents(machine, &segments), written);
}

pub fn the_last_block_can_be_written_and_none_after_it<S: Subject>() {
    let subject = S::new();
    let mut device = subject.open();
    let geometry = device.geometry();
    let block = geometry.block_size as usize;
    let written = patterned(subject.machine(), block, 1);
    let last = geometry.blocks - 1;
    perform(&mut *device, Direction::Write, last, &[written]);
    let stored = subject.stored(last as usize * block, block);
    assert_eq!(stored, contents(subject.machine(), &[written]));
    for past in [geometry.blocks, u64::MAX / u64::from(geometry.block_size), u64::MAX] {
        let refused = device.submit(&request(Direction::Write, past, &[written], 1));
        assert!(matches!(refused, Err(SubmitError::Invalid(_))), "block {past}");
    }
}

pub fn as_many_requests_as_promised_are_in_flight_at_once<S: Subject>() {
    let subject = S::new();
    let machine = subject.machine();
    let mut device = subject.open();
    let geometry = device.geometry();
    assert!(geometry.depth >= 1);
    let page_blocks = PAGE as u64 / u64::from(geometry.block_size);
    let pages: Vec<_> =
        (0..geometry.depth).map(|tag| patterned(machine, PAGE, tag.into())).collect();
    for (tag, page) in pages.iter().enumerate() {
        let lba = tag as u64 * page_blocks;
        device.submit(&request(Direction::Write, lba, &[*page], tag as u32)).expect("refused");
    }
    let full = device.submit(&request(Direction::Write, 0, &pages[..1], 4242));
    assert!(matches!(full, Err(SubmitError::Full)));
    device.ring();
    let mut tags: Vec<_> = pages.iter().map(|_| next(&mut *device).tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..geometry.depth).collect::<Vec<_>>());
    assert_eq!(subject.stored(0, pages.len() * PAGE), contents(machine, &pages));
    assert!(device.poll().expect("the device failed").is_none());
}

pub fn requests_that_break_a_rule_are_refused_and_leave_no_trace<S: Subject>() {
    let subject = S::new();
    let mut device = subject.open();
    let geometry = device.geometry();
    let block = geometry.block_size;
    let page = patterned(subject.machine(), PAGE, 1);
    let too_many = vec![page; geometry.max_segments as usize + 1];
    let long = Segment { bytes: geometry.max_bytes + block, ..page };
    let lists: [&[Segment]; 6] = [
        &[],
        &too_many,
        &[long],
        &[Segment { bytes: 0, ..page }],
        &[Segment { bytes: block - 4, ..page }],
        &[Segment { address: PhysAddr(page.address.0 + 2), bytes: block }],
    ];
    for list in lists {
        let refused = device.submit(&request(Direction::Write, 0, list, 1));
        assert!(matches!(refused, Err(SubmitError::Invalid(_))), "{:?}", list.first());
    }
    device.ring();
    assert!(device.poll().expect("the device failed").is_none());
    assert!(subject.stored(0, 64 * PAGE).iter().all(|byte| *byte == 0));
}

pub fn any_mixture_of_requests_leaves_the_device_as_a_plain_array<S: Subject>() {
    const AREA: usize = 256 * PAGE;
    let subject = S::new();
    let machine = subject.machine();
    let mut device = subject.open();
    let geometry = device.geometry();
    let block = geometry.block_size as usize;
    let most_blocks = (geometry.max_bytes as usize).min(16 * PAGE) / block;
    let mut numbers = Numbers(0x646f_726d_6f75_7365);
    let mut model = vec![0u8; AREA];
    for round in 0..60u64 {
        // Requests of one batch may be done in any order: they share no blocks.
        let count = numbers.below(geometry.depth.min(16).into()) + 1;
        let room = AREA / block / count as usize;
        let mut expected = Vec::new();
        for tag in 0..count as u32 {
            let blocks = numbers.below(room.min(most_blocks) as u64) as usize + 1;
            let lba = tag as usize * room + numbers.below((room - blocks + 1) as u64) as usize;
            let (start, bytes) = (lba * block, blocks * block);
            let memory = patterned(machine, bytes, round << 8 | u64::from(tag));
            let direction = if numbers.below(2) == 0 { Direction::Read } else { Direction::Write };
            if direction == Direction::Write {
                model[start..start + bytes].copy_from_slice(&contents(machine, &[memory]));
            }
            device.submit(&request(direction, lba as u64, &[memory], tag)).expect("refused");
            expected.push((memory, model[start..start + bytes].to_vec()));
            if numbers.below(3) == 0 {
                device.ring();
            }
        }
        device.ring();
        for _ in 0..count {
            let completion = next(&mut *device);
            completion.result.expect("the request failed");
            let (memory, bytes) = &expected[completion.tag as usize];
            assert_eq!(&contents(machine, &[*memory]), bytes, "round {round}");
        }
    }
    assert_eq!(subject.stored(0, AREA), model);
}

pub fn no_block_is_written_that_was_not_granted<S: Subject>() {
    let subject = S::new();
    let machine = subject.machine();
    let mut device = Guarded::new(subject.open());
    let block = device.geometry().block_size as usize;
    let two = patterned(machine, 2 * block, 1);
    let not_granted = |device: &mut Guarded, lba| {
        let refused = device.submit(&request(Direction::Write, lba, &[two], 1));
        assert!(matches!(refused, Err(SubmitError::NotGranted { .. })), "block {lba}");
    };
    not_granted(&mut device, 8);
    device.grant(&[Extent { start: Lba(8), blocks: 4 }, Extent { start: Lba(12), blocks: 1 }]);
    for lba in [7, 11, 12, 13, u64::MAX] {
        not_granted(&mut device, lba);
    }
    perform(&mut device, Direction::Write, 10, &[two]);
    perform(&mut device, Direction::Read, 100, &[two]);
    device.grant(&[]);
    not_granted(&mut device, 10);
    let stored = subject.stored(0, 16 * block);
    let touched: Vec<_> =
        (0..16).filter(|i| stored[i * block..][..block].iter().any(|b| *b != 0)).collect();
    assert_eq!(touched, [10, 11]);
}

pub fn what_was_flushed_survives_a_shutdown<S: Subject>() {
    let subject = S::new();
    let machine = subject.machine();
    let written = patterned(machine, PAGE, 5);
    let mut device = subject.open();
    perform(&mut *device, Direction::Write, 0, &[written]);
    device.flush().expect("flush");
    device.flush().expect("a second flush");
    device.shutdown().expect("shutdown");
    drop(device);
    let mut device = subject.open();
    let read = patterned(machine, PAGE, 6);
    perform(&mut *device, Direction::Read, 0, &[read]);
    assert_eq!(contents(machine, &[read]), contents(machine, &[written]));
}

pub fn a_device_that_was_shut_down_is_quiet_and_takes_nothing<S: Subject>() {
    let subject = S::new();
    let mut device = subject.open();
    assert!(subject.machine().is_bus_master(subject.address()));
    let page = patterned(subject.machine(), PAGE, 1);
    device.submit(&request(Direction::Write, 0, &[page], 1)).expect("refused");
    device.shutdown().expect("shutdown");
    device.shutdown().expect("a second shutdown");
    // Of what was submitted before the device hears no more.
    device.ring();
    assert!(!subject.machine().is_bus_master(subject.address()));
    let refused = device.submit(&request(Direction::Write, 0, &[page], 1));
    assert!(matches!(refused, Err(SubmitError::Device(_))));
    device.ring();
    assert!(device.poll().is_err());
    assert!(device.flush().is_err());
    assert!(subject.stored(0, PAGE).iter().all(|byte| *byte == 0));
}

pub fn a_driver_that_is_dropped_leaves_its_device_quiet<S: Subject>() {
    let subject = S::new();
    let mut device = subject.open();
    let page = patterned(subject.machine(), PAGE, 1);
    device.submit(&request(Direction::Write, 0, &[page], 1)).expect("refused");
    device.ring();
    drop(device);
    assert!(!subject.machine().is_bus_master(subject.address()));
    subject.open().shutdown().expect("the next driver");
}

pub fn the_memory_that_a_driver_takes_is_bounded<S: Subject>() {
    let subject = S::new();
    let mut device = subject.open();
    let taken = subject.machine().dma_used();
    assert!(taken < DMA_LIMIT, "{taken} bytes of DMA memory");
    let page = patterned(subject.machine(), PAGE, 1);
    for _ in 0..300 {
        perform(&mut *device, Direction::Read, 0, &[page]);
    }
    device.flush().expect("flush");
    assert_eq!(subject.machine().dma_used(), taken, "it grew");
}

pub fn a_real_device_would_pass_the_exercise<S: Subject>() {
    let subject = S::new();
    let mut device = Guarded::new(subject.open());
    let page_blocks = PAGE_SIZE / u64::from(device.geometry().block_size);
    let area = Extent { start: Lba(8 * page_blocks), blocks: 512 * page_blocks };
    let seen = exercise(subject.machine(), &mut device, area).expect("the exercise");
    assert!(seen.lengths >= 5 && seen.refused >= 9 && seen.unreadable.is_none(), "{seen:?}");
    assert_eq!(seen.depth, device.geometry().depth);
    // It is busy when its driver goes.
    drop(device);
    assert!(!subject.machine().is_bus_master(subject.address()));
    assert!(subject.stored(0, 8 * PAGE).iter().all(|byte| *byte == 0), "outside of the extent");
    let page = patterned(subject.machine(), PAGE, 1);
    perform(&mut *subject.open(), Direction::Read, 0, &[page]);
}
