//! Requests on their way, and what comes back in order.

use super::*;

#[test]
fn a_disk_with_a_short_queue_is_not_given_more() {
    let bench = Bench::new();
    bench.model.port(1).identity[75] = 3;
    let mut disk = bench.disk();
    assert_eq!(disk.geometry().depth, 4);
    let page = bench.page(1);
    for tag in 0..4 {
        disk.submit(&write(tag.into(), &page, tag)).unwrap();
    }
    assert!(matches!(disk.submit(&write(0, &page, 9)), Err(SubmitError::Full)));
    disk.ring();
    assert_eq!(bench.model.port(1).most_queued, 4);
}

#[test]
fn without_queues_in_the_disk_the_controller_queues() {
    let bench = Bench::plain();
    let mut disk = bench.disk();
    assert_eq!(disk.geometry().depth, 32);
    disk.submit(&write(0, &bench.page(1), 1)).unwrap();
    disk.ring();
    assert_eq!(polled(&mut disk).tag, 1);
    assert_eq!(bench.model.port(1).most_queued, 0);
}

#[test]
fn completions_come_in_any_order() {
    let bench = Bench::new();
    let mut disk = bench.disk();
    bench.model.port(1).answers_at_once = false;
    let page = bench.page(1);
    for tag in [10, 11, 12] {
        disk.submit(&write(tag.into(), &page, tag)).unwrap();
    }
    assert!(bench.model.port(1).pending.is_empty(), "not before it is rung");
    disk.ring();
    bench.model.answer(1, 2);
    assert_eq!(polled(&mut disk).tag, 12);
    assert!(disk.poll().unwrap().is_none());
    bench.model.answer(1, 0);
    assert_eq!(polled(&mut disk).tag, 10);
    bench.model.answer(1, 0);
    assert_eq!(polled(&mut disk).tag, 11);
}

#[test]
fn a_cache_that_cannot_be_flushed_is_told() {
    let bench = Bench::new();
    bench.model.port(1).identity[83] = 1 << 14 | 1 << 10;
    let mut disk = bench.disk();
    assert!(disk.geometry().write_cache && !disk.geometry().can_flush);
    assert!(matches!(disk.flush().unwrap_err().cause, Cause::Unsupported(_)));
}

#[test]
fn a_disk_without_a_write_cache_is_not_flushed() {
    let bench = Bench::new();
    bench.model.port(1).identity[85] = 0;
    let mut disk = bench.disk();
    assert!(!disk.geometry().write_cache);
    disk.flush().unwrap();
    assert_eq!(bench.model.port(1).flushes, 0);
}
