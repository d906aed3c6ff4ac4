//! From a device as it is found to one at work, and back.

use super::*;

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
fn after_a_shutdown_the_device_reaches_no_memory() {
    let bench = Bench::new();
    let mut device = bench.device();
    assert!(bench.model.is_running() && bench.machine.is_bus_master(ADDRESS));
    device.submit(&write(0, &bench.scattered(1), 0)).unwrap();
    device.ring();
    assert!(polled(&mut device).result.is_ok());
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
