//! From a controller as it is found to a disk at work, and back.

use super::*;

#[test]
fn only_disks_are_listed_and_all_ports_are_left_still() {
    use Attached::{Atapi, Disk, Nothing};
    let bench = Bench::with(&[Atapi, Disk, Nothing, Disk]);
    bench.model.port(3).leave_running();
    assert_eq!(bench.list(), [1, 3]);
    assert!((0..4).all(|port| !bench.model.port(port).is_live()));
}

#[test]
fn a_port_whose_disk_does_not_answer_does_not_hide_the_others() {
    let bench = Bench::with(&[Attached::Disk, Attached::Disk]);
    bench.model.port(0).ready_at_us = u64::MAX;
    bench.machine.set_tick(1_000);
    assert_eq!(bench.list(), [1]);
}

#[test]
fn the_registers_reach_to_the_last_port_that_there_is() {
    let bench = Bench::with(&[Attached::Nothing; 6]);
    assert_eq!(register_bytes(&bench.model), host::PORTS + 6 * 0x80);
    bench.model.names_ports.set(false);
    assert_eq!(register_bytes(&bench.model), host::PORTS + 6 * 0x80, "firmware named none");
}

#[test]
fn the_disk_says_who_it_is() {
    let disk = Bench::new().disk();
    assert_eq!(disk.identity().serial, "DM-0001");
    assert_eq!(disk.identity().model, "Dormouse disk");
    assert_eq!((disk.geometry().blocks, disk.geometry().depth), (8192, 32));
}

#[test]
fn a_port_found_running_is_stopped_before_its_memory_is_moved() {
    let bench = Bench::new();
    bench.model.port(0).leave_running();
    bench.model.port(1).leave_running();
    let disk = bench.disk();
    assert!(!bench.model.port(0).is_live(), "the other port is quiet too");
    assert_eq!(disk.identity().serial, "DM-0001");
    assert_eq!((bench.model.resets.get(), bench.model.port(1).link_resets), (0, 0));
}

#[test]
fn a_disk_that_hangs_is_reset_by_its_link() {
    let bench = Bench::new();
    bench.model.port(1).leave_busy();
    bench.machine.set_tick(1_000);
    bench.disk();
    assert_eq!(bench.model.port(1).link_resets, 1);
}

#[test]
fn a_disk_may_take_its_time_to_spin_up() {
    let bench = Bench::new();
    bench.machine.set_tick(1_000);
    bench.model.port(1).ready_at_us = 21_000_000;
    bench.disk();
}

#[test]
fn a_disk_that_never_gets_ready_is_refused_in_time() {
    let bench = Bench::new();
    bench.machine.set_tick(1_000);
    bench.model.port(1).ready_at_us = u64::MAX;
    assert_eq!(bench.refusal(), Cause::Timeout(30_000));
    assert!(!bench.model.port(1).is_live() && !bench.machine.is_bus_master(ADDRESS));
}

#[test]
fn a_port_that_does_not_stop_takes_a_reset_of_the_controller() {
    let bench = Bench::new();
    bench.machine.set_tick(1_000);
    bench.model.port(0).leave_running();
    bench.model.port(0).never_stops = true;
    bench.disk();
    assert_eq!(bench.model.resets.get(), 1);
}

#[test]
fn a_receiver_that_never_stops_is_no_reason_to_give_up() {
    let bench = Bench::new();
    bench.machine.set_tick(1_000);
    bench.model.port(1).always_receives = true;
    bench.disk().shutdown().unwrap();
}

#[test]
fn firmware_is_asked_for_the_controller() {
    let bench = Bench::new();
    bench.model.firmware_owns.set(true);
    bench.disk();
    assert!(!bench.model.firmware_owns.get());
}

#[test]
fn firmware_that_keeps_the_controller_is_overruled_in_time() {
    for (busy, least_us, most_us) in [(false, 25_000, 100_000), (true, 2_000_000, 2_200_000)] {
        let bench = Bench::new();
        bench.model.firmware_owns.set(true);
        bench.model.firmware_is_busy.set(busy);
        bench.model.firmware_lets_go.set(false);
        bench.machine.set_tick(100);
        let before = crate::platform::Platform::now_us(bench.machine);
        bench.take_over().unwrap();
        let took = crate::platform::Platform::now_us(bench.machine) - before;
        assert!((least_us..most_us).contains(&took), "{took} us");
    }
}

#[test]
fn controllers_that_cannot_be_used_are_refused_in_words() {
    let bench = Bench::new();
    bench.model.capabilities.set(u32::MAX);
    assert!(matches!(bench.refusal(), Cause::Dead(_)));

    let bench = Bench::new();
    bench.model.can_speak_ahci.set(false);
    assert!(matches!(bench.refusal(), Cause::Dead(_)));

    let bench = Bench::new();
    bench.model.capabilities.set(bench.model.capabilities.get() & !WIDE);
    let words = bench.refusal().to_string();
    assert!(words.contains("32-bit"), "the fake machine's memory is above 4 GiB: {words}");
}

#[test]
fn a_controller_is_not_believed_what_it_is_known_not_to_do() {
    let bench = |ids| {
        let bench = Bench::new();
        bench.machine.add_function(ADDRESS, ids, (1, 6, 1), 0);
        bench
    };
    let words = bench((0x1002, 0x4380)).refusal().to_string();
    assert!(words.contains("32-bit"), "ATI's SB600, and memory above 4 GiB: {words}");

    let most_queued = |ids| {
        let bench = bench(ids);
        let mut disk = bench.disk();
        disk.submit(&write(0, &bench.page(1), 1)).unwrap();
        disk.ring();
        polled(&mut disk).result.unwrap();
        let port = bench.model.port(1);
        port.most_queued
    };
    assert_eq!(most_queued((0x1106, 0x3349)), 0, "VIA's VT8251");
    assert_eq!(most_queued((0x8086, 0x2922)), 1, "Intel's ICH9");
}

#[test]
fn units_that_are_no_disks_are_refused() {
    for ports in [[Attached::Disk, Attached::Atapi], [Attached::Disk, Attached::Nothing]] {
        let bench = Bench::with(&ports);
        assert!(matches!(bench.refusal(), Cause::Unsupported(_) | Cause::Dead(_)));
        assert!(!bench.model.port(1).is_live() && !bench.machine.is_bus_master(ADDRESS));
    }
    let bench = Bench::with(&[Attached::Disk]);
    assert!(matches!(bench.refusal(), Cause::Unsupported(_)));
}

#[test]
fn a_disk_that_was_written_is_flushed_and_parked_before_power_goes() {
    let bench = Bench::new();
    let mut disk = bench.disk();
    disk.submit(&write(0, &bench.page(1), 1)).unwrap();
    disk.ring();
    assert!(polled(&mut disk).result.is_ok());
    disk.shutdown().unwrap();
    assert_eq!(bench.rests(), (1, 1));
    assert!(!bench.model.port(1).is_live() && !bench.machine.is_bus_master(ADDRESS));
}

#[test]
fn a_disk_that_was_only_read_is_left_turning() {
    let bench = Bench::new();
    bench.disk().shutdown().unwrap();
    assert_eq!(bench.rests(), (0, 0));
}

#[test]
fn a_port_that_does_not_stop_at_the_end_loses_memory_all_the_same() {
    let bench = Bench::new();
    let mut disk = bench.disk();
    bench.model.port(1).never_stops = true;
    bench.model.never_resets.set(true);
    bench.machine.set_tick(1_000);
    assert_eq!(disk.shutdown().unwrap_err().cause, Cause::Timeout(1_000));
    assert!(!bench.machine.is_bus_master(ADDRESS));
}

#[test]
fn at_the_end_what_does_not_stop_takes_a_reset_of_the_controller() {
    let unwilling: [fn(&mut FakePort); 2] =
        [|port| port.never_stops = true, |port| port.always_receives = true];
    for refuses in unwilling {
        let bench = Bench::new();
        let mut disk = bench.disk();
        refuses(&mut bench.model.port(1));
        bench.machine.set_tick(1_000);
        disk.shutdown().unwrap();
        assert_eq!(bench.model.resets.get(), 1);
        assert!(!bench.model.port(1).is_live() && !bench.machine.is_bus_master(ADDRESS));
    }
}
