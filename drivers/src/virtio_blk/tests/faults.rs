//! What a device can do wrong once it is at work.

use super::*;

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
    bench.model.skip_used(33);
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
fn a_flush_has_a_longer_deadline() {
    let bench = Bench::new();
    let mut device = bench.device();
    bench.model.answers_at_once.set(false);
    bench.machine.set_tick(1_000_000);
    assert_eq!(device.flush().unwrap_err().cause, Cause::Timeout(60_000));
}
