//! Requests on their way, and what comes back in order.

use super::*;

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
fn a_flush_reaches_the_device() {
    let bench = Bench::new();
    let mut device = bench.device();
    device.flush().unwrap();
    assert_eq!(bench.model.flushes.get(), 1);
    bench.model.next_status.set(Some(status::IOERR));
    assert!(matches!(device.flush().unwrap_err().cause, Cause::Status(_)));
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
