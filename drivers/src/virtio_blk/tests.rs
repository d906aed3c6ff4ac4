//! The driver against a device that follows a script.

use super::device::VirtioBlk;
use super::model::{Model, ModelTransport};
use super::spec::{Features, config, status};
use crate::fakes::{FakeMachine, at};
use crate::pci::Endpoint;
use crate::place::Place;
use crate::queue::{
    BlockQueue, Cause, Completion, DeviceError, Direction, Request, Segment, SubmitError,
};
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::{Lba, PhysAddr};
use std::rc::Rc;

const ADDRESS: PciAddress = at(0, 4, 0);
const PAGE: u32 = 4096;

struct Bench {
    machine: &'static FakeMachine,
    model: Rc<Model>,
}

impl Bench {
    /// A machine with a device of 4 MiB.
    fn new() -> Self {
        let machine = FakeMachine::new();
        machine.add_function(ADDRESS, (0x1af4, 0x1042), (1, 0, 0), 0);
        Self { machine, model: Model::new(machine, 8192) }
    }

    fn start(&self) -> Result<VirtioBlk<ModelTransport>, DeviceError> {
        let endpoint = Endpoint::enable(self.machine, ADDRESS).unwrap();
        let place = Place::controller("virtio-blk", ADDRESS);
        VirtioBlk::start(self.machine, place, endpoint, ModelTransport(self.model.clone()))
    }

    fn device(&self) -> VirtioBlk<ModelTransport> {
        self.start().unwrap()
    }

    fn refusal(&self) -> Cause {
        self.start().err().expect("the device was accepted").cause
    }

    /// Pages that do not follow each other, each filled with its number.
    fn scattered(&self, pages: u32) -> Vec<Segment> {
        let list = (0..pages).map(|i| {
            let address = self.machine.pages(2);
            self.machine.write(address, &vec![i as u8 + 1; PAGE as usize]);
            Segment { address, bytes: PAGE }
        });
        list.collect()
    }

    fn read_all(&self, segments: &[Segment]) -> Vec<u8> {
        segments.iter().flat_map(|s| self.machine.read(s.address, s.bytes as usize)).collect()
    }
}

fn write(lba: u64, segments: &[Segment], tag: u32) -> Request<'_> {
    Request { direction: Direction::Write, lba: Lba(lba), segments, tag }
}

fn read(lba: u64, segments: &[Segment], tag: u32) -> Request<'_> {
    Request { direction: Direction::Read, lba: Lba(lba), segments, tag }
}

fn polled(device: &mut VirtioBlk<ModelTransport>) -> Completion {
    device.poll().unwrap().expect("nothing was completed")
}

#[test]
fn what_was_written_is_read_back() {
    let bench = Bench::new();
    let mut device = bench.device();
    let (from, to) = (bench.scattered(5), bench.scattered(5));
    device.submit(&write(16, &from, 7)).unwrap();
    device.ring();
    assert_eq!(polled(&mut device).tag, 7);
    device.submit(&read(16, &to, 8)).unwrap();
    device.ring();
    assert!(polled(&mut device).result.is_ok());
    assert_eq!(bench.read_all(&to), bench.read_all(&from));
    assert!(device.poll().unwrap().is_none());
}

#[test]
fn the_device_says_who_it_is() {
    let bench = Bench::new();
    let device = bench.device();
    assert_eq!(device.identity().serial, "dormouse-1");
    let geometry = device.geometry();
    assert_eq!((geometry.blocks, geometry.block_size), (8192, 512));
    assert!(geometry.write_cache && geometry.can_flush);
    assert_eq!(geometry.depth, 32);
}

#[test]
fn a_serial_number_of_full_length_has_no_end_mark() {
    let bench = Bench::new();
    bench.model.serial.set(*b"12345678901234567890");
    assert_eq!(bench.device().identity().serial, "12345678901234567890");
}

#[test]
fn a_device_without_a_serial_number_is_usable() {
    let bench = Bench::new();
    bench.model.next_status.set(Some(status::UNSUPP));
    assert_eq!(bench.device().identity().serial, "");
}

#[test]
fn capacity_counts_sectors_of_512_bytes_whatever_the_block_size() {
    let bench = Bench::new();
    bench.model.set_config(config::BLK_SIZE, &4096u32.to_le_bytes());
    let mut device = bench.device();
    assert_eq!((device.geometry().block_size, device.geometry().blocks), (4096, 1024));
    let page = bench.scattered(1);
    device.submit(&write(3, &page, 0)).unwrap();
    device.ring();
    assert!(polled(&mut device).result.is_ok());
    assert_eq!(bench.model.disk.borrow()[3 * 4096..4 * 4096], [1; 4096]);
}

#[test]
fn many_requests_take_one_notification() {
    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.answers_at_once.set(false);
    let before = bench.model.notifications.get();
    let page = bench.scattered(1);
    for tag in 0..32 {
        device.submit(&write(u64::from(tag) * 8, &page, tag)).unwrap();
    }
    assert_eq!(bench.model.notifications.get(), before, "not before it is rung");
    assert!(matches!(device.submit(&write(0, &page, 99)), Err(SubmitError::Full)));
    device.ring();
    device.ring();
    assert_eq!(bench.model.notifications.get(), before + 1);
    assert_eq!(bench.model.pending(), 32);
}

#[test]
fn a_device_that_looks_by_itself_is_not_notified() {
    let bench = Bench::new();
    let mut device = bench.device();
    let before = bench.model.notifications.get();
    bench.model.suppress_notifications(true);
    device.submit(&write(0, &bench.scattered(1), 1)).unwrap();
    device.ring();
    assert_eq!(bench.model.notifications.get(), before);
    bench.model.look();
    assert_eq!(polled(&mut device).tag, 1);
}

#[test]
fn completions_come_in_the_devices_order() {
    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.answers_at_once.set(false);
    let page = bench.scattered(1);
    for tag in [10, 11, 12] {
        device.submit(&write(u64::from(tag) * 8, &page, tag)).unwrap();
    }
    device.ring();
    for place in [2, 0, 0] {
        bench.model.answer(place);
    }
    let tags: Vec<_> = (0..3).map(|_| polled(&mut device).tag).collect();
    assert_eq!(tags, [12, 10, 11]);
}

#[test]
fn the_rings_go_round_many_times() {
    let bench = Bench::new();
    bench.model.queue_size.set(4);
    let mut device = bench.device();
    let page = bench.scattered(1);
    for tag in 0..70_000 {
        device.submit(&write(0, &page, tag)).unwrap();
        device.ring();
        assert_eq!(polled(&mut device).tag, tag);
    }
}

#[test]
fn chains_share_the_queue_where_there_are_no_tables() {
    for entries in [4, 8, 64, 256, 1024] {
        let bench = Bench::new();
        bench.model.queue_size.set(entries);
        bench.model.features.set(bench.model.features.get() - Features::INDIRECT_DESC);
        let mut device = bench.device();
        bench.model.answers_at_once.set(false);
        let geometry = device.geometry();
        let pages = bench.scattered(geometry.max_segments);
        let room = u64::from(geometry.max_segments * 8);
        for tag in 0..geometry.depth {
            device.submit(&write(u64::from(tag) * room, &pages, tag)).unwrap();
        }
        assert!(matches!(device.submit(&write(0, &pages, 99)), Err(SubmitError::Full)));
        device.ring();
        for tag in 0..geometry.depth {
            bench.model.answer(0);
            assert_eq!(polled(&mut device).tag, tag, "queue of {entries}");
        }
        let written = bench.model.disk.borrow()[..bench.read_all(&pages).len()].to_vec();
        assert_eq!(written, bench.read_all(&pages), "queue of {entries}");
    }
}

#[test]
fn long_segments_are_cut_where_the_device_bounds_them() {
    let bench = Bench::new();
    bench.model.features.set(bench.model.features.get() | Features::SIZE_MAX);
    bench.model.set_config(config::SIZE_MAX, &10_000u32.to_le_bytes());
    let mut device = bench.device();
    let address = bench.machine.pages(16);
    bench.machine.write(address, &(0..65536u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let run = [Segment { address, bytes: 65536 }];
    device.submit(&write(0, &run, 0)).unwrap();
    device.ring();
    assert!(polled(&mut device).result.is_ok());
    assert_eq!(bench.model.disk.borrow()[..65536], bench.read_all(&run));
}

#[test]
fn a_device_with_too_small_a_queue_is_refused() {
    for entries in [0, 1, 2] {
        let bench = Bench::new();
        bench.model.queue_size.set(entries);
        assert!(matches!(bench.refusal(), Cause::Unsupported(_)), "queue of {entries}");
        assert!(!bench.machine.is_bus_master(ADDRESS));
    }
}

#[test]
fn a_legacy_device_is_refused() {
    let bench = Bench::new();
    bench.model.features.set(bench.model.features.get() - Features::VERSION_1);
    assert!(matches!(bench.refusal(), Cause::Unsupported(_)));
}

#[test]
fn a_device_behind_an_iommu_is_refused_in_those_words() {
    let bench = Bench::new();
    bench.model.features.set(bench.model.features.get() | Features::ACCESS_PLATFORM);
    bench.model.insists_on.set(Features::ACCESS_PLATFORM.bits());
    assert!(bench.refusal().to_string().contains("ACCESS_PLATFORM"));
}

#[test]
fn odd_block_sizes_are_refused() {
    for size in [0u32, 1, 513, 1024, 65536] {
        let bench = Bench::new();
        bench.model.set_config(config::BLK_SIZE, &size.to_le_bytes());
        assert!(matches!(bench.refusal(), Cause::Unsupported(_)), "{size}");
    }
}

#[test]
fn a_configuration_that_changes_is_read_again_but_not_for_ever() {
    let bench = Bench::new();
    bench.model.restless.set(3);
    assert_eq!(bench.device().geometry().blocks, 8192);
    let bench = Bench::new();
    bench.model.restless.set(u32::MAX);
    assert!(matches!(bench.refusal(), Cause::Protocol(_)));
}

#[test]
fn a_read_only_device_is_read_but_not_written() {
    let bench = Bench::new();
    bench.model.features.set(bench.model.features.get() | Features::RO);
    let mut device = bench.device();
    let page = bench.scattered(1);
    assert!(matches!(device.submit(&write(0, &page, 0)), Err(SubmitError::Device(_))));
    device.submit(&read(0, &page, 0)).unwrap();
}

#[test]
fn requests_that_break_a_rule_are_not_sent() {
    let bench = Bench::new();
    let mut device = bench.device();
    let page = bench.scattered(1);
    let odd = [Segment { address: PhysAddr(page[0].address.0 + 2), bytes: PAGE }];
    let part = [Segment { address: page[0].address, bytes: 100 }];
    let many = vec![page[0]; 255];
    for request in [
        write(0, &[], 0),
        write(0, &odd, 0),
        write(0, &part, 0),
        write(0, &many, 0),
        write(8185, &page, 0),
        write(u64::MAX, &page, 0),
    ] {
        let answer = device.submit(&request);
        assert!(matches!(answer, Err(SubmitError::Invalid(_))), "{request:?}: {answer:?}");
    }
    device.submit(&write(8184, &page, 0)).unwrap();
}

#[test]
fn an_error_names_the_block_and_the_next_request_works() {
    let bench = Bench::new();
    let mut device = bench.device();
    let page = bench.scattered(1);
    bench.model.next_status.set(Some(status::IOERR));
    device.submit(&write(40, &page, 5)).unwrap();
    device.submit(&write(48, &page, 6)).unwrap();
    device.ring();
    let failed = polled(&mut device);
    assert_eq!(failed.tag, 5);
    assert_eq!(
        failed.result.unwrap_err().to_string(),
        "virtio-blk 0000:00:04.0: write at block 40: I/O error (VIRTIO_BLK_S_IOERR)"
    );
    assert!(polled(&mut device).result.is_ok());
}

#[test]
fn answers_to_requests_that_do_not_exist_end_the_device() {
    // Slot 0 has been answered already; the others never existed.
    for bogus in [0, 31, 32, 255, 256, 65536, u32::MAX] {
        let bench = Bench::new();
        let mut device = bench.device();
        bench.model.answers_at_once.set(false);
        let page = bench.scattered(1);
        device.submit(&write(0, &page, 1)).unwrap();
        device.submit(&write(8, &page, 2)).unwrap();
        device.ring();
        bench.model.answer(0);
        assert_eq!(polled(&mut device).tag, 1);
        bench.model.put_used(bogus, 1);
        let error = device.poll().unwrap_err();
        assert!(matches!(error.cause, Cause::Protocol(_)), "{bogus}: {error}");
        assert!(device.poll().is_err(), "the device has failed as a whole");
        assert!(matches!(device.submit(&write(0, &page, 3)), Err(SubmitError::Device(_))));
    }
}

#[test]
fn more_answers_than_requests_end_the_device() {
    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.answers_at_once.set(false);
    device.submit(&write(0, &bench.scattered(1), 1)).unwrap();
    device.ring();
    bench.model.skip_used(2);
    assert!(matches!(device.poll().unwrap_err().cause, Cause::Protocol(_)));
}

#[test]
fn an_answer_without_a_status_ends_the_device() {
    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.answers_at_once.set(false);
    device.submit(&write(0, &bench.scattered(1), 1)).unwrap();
    device.ring();
    bench.model.put_used(0, 0);
    assert!(matches!(device.poll().unwrap_err().cause, Cause::Protocol(_)));
}

#[test]
fn a_request_that_is_never_answered_ends_the_device_after_its_deadline() {
    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.answers_at_once.set(false);
    device.submit(&read(24, &bench.scattered(1), 1)).unwrap();
    device.ring();
    bench.machine.advance(29_000_000);
    assert!(device.poll().unwrap().is_none());
    bench.machine.advance(1_100_000);
    let error = device.poll().unwrap_err();
    assert_eq!((error.lba, error.operation), (Some(Lba(24)), "read"));
    assert_eq!(error.cause, Cause::Timeout(30_000));
}

#[test]
fn a_machine_that_stood_still_does_not_make_the_device_late() {
    let bench = Bench::new();
    let mut device = bench.device();
    device.submit(&write(0, &bench.scattered(1), 1)).unwrap();
    device.ring();
    bench.machine.advance(3_600_000_000);
    assert_eq!(polled(&mut device).tag, 1);
}

#[test]
fn a_device_that_failed_says_so_long_before_the_deadline() {
    for (bits, words) in [(0x40, "needs a reset"), (0xff, "gone")] {
        let bench = Bench::new();
        let mut device = bench.device();
        bench.model.answers_at_once.set(false);
        device.submit(&write(0, &bench.scattered(1), 1)).unwrap();
        device.ring();
        bench.model.own_status.set(bits);
        bench.machine.advance(200_000);
        let error = device.poll().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_flush_reaches_the_device() {
    let bench = Bench::new();
    let mut device = bench.device();
    device.flush().unwrap();
    assert_eq!(bench.model.flushes.get(), 1);
    bench.model.next_status.set(Some(status::IOERR));
    assert!(matches!(device.flush().unwrap_err().cause, Cause::Status(_)));
}

#[test]
fn a_flush_has_a_longer_deadline() {
    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.answers_at_once.set(false);
    bench.machine.set_tick(1_000_000);
    assert_eq!(device.flush().unwrap_err().cause, Cause::Timeout(60_000));
}

#[test]
fn a_device_without_flush_has_no_write_cache() {
    let bench = Bench::new();
    let without = Features::FLUSH | Features::CONFIG_WCE;
    bench.model.features.set(bench.model.features.get() - without);
    let mut device = bench.device();
    let geometry = device.geometry();
    assert!(!geometry.write_cache && !geometry.can_flush);
    device.flush().unwrap();
    assert_eq!(bench.model.flushes.get(), 0);
}

#[test]
fn a_cache_that_cannot_be_flushed_is_told() {
    let bench = Bench::new();
    bench.model.features.set(bench.model.features.get() - Features::FLUSH);
    let mut device = bench.device();
    let geometry = device.geometry();
    assert!(geometry.write_cache && !geometry.can_flush);
    assert!(matches!(device.flush().unwrap_err().cause, Cause::Unsupported(_)));
}

#[test]
fn writethrough_is_believed() {
    let bench = Bench::new();
    bench.model.set_config(config::WRITEBACK, &[0]);
    assert!(!bench.device().geometry().write_cache);
}

#[test]
fn after_a_shutdown_the_device_reaches_no_memory() {
    let bench = Bench::new();
    let mut device = bench.device();
    assert!(bench.model.is_running() && bench.machine.is_bus_master(ADDRESS));
    device.shutdown().unwrap();
    assert_eq!(bench.model.flushes.get(), 1, "its cache is flushed first");
    assert!(!bench.model.is_running() && !bench.machine.is_bus_master(ADDRESS));
    assert!(device.poll().is_err());
    device.shutdown().unwrap();
}

#[test]
fn a_drop_with_requests_in_flight_stops_the_device() {
    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.answers_at_once.set(false);
    device.submit(&read(0, &bench.scattered(1), 1)).unwrap();
    device.ring();
    drop(device);
    assert!(!bench.model.is_running() && !bench.machine.is_bus_master(ADDRESS));
}

#[test]
fn a_device_that_does_not_reset_is_refused_in_time_and_loses_memory() {
    let bench = Bench::new();
    bench.model.can_reset.set(false);
    bench.machine.set_tick(1_000);
    assert_eq!(bench.refusal(), Cause::Timeout(5_000));

    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.can_reset.set(false);
    bench.machine.set_tick(1_000);
    assert_eq!(device.shutdown().unwrap_err().cause, Cause::Timeout(5_000));
    assert!(!bench.machine.is_bus_master(ADDRESS));
}

#[test]
fn the_driver_takes_little_memory_and_says_when_there_is_none() {
    let bench = Bench::new();
    bench.model.queue_size.set(1024);
    bench.model.set_config(config::SEG_MAX, &1022u32.to_le_bytes());
    let device = bench.device();
    assert_eq!(device.geometry().max_segments, 256);
    assert!(bench.machine.dma_used() < 320 << 10, "{} bytes", bench.machine.dma_used());

    let bench = Bench::new();
    bench.machine.limit_dma(16 << 10);
    assert_eq!(bench.refusal(), Cause::Exhausted);
}
