use super::*;
use crate::fakes::{FakeMachine, POWER_CAPABILITY, at};
use crate::queue::Cause;
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::PhysAddr;
use proptest::prelude::*;

const NVME: (u8, u8, u8) = (1, 8, 2);
const MEMORY_AND_MASTER: u32 = 0b110;
const HAS_CAPABILITIES: u32 = 1 << 20;

/// A controller at 02:00.0 behind two bridges, BAR 0 at 0x80_0010_0000.
fn machine_with_bridges() -> &'static FakeMachine {
    let machine = FakeMachine::new();
    machine.add_function(at(0, 0, 0), (0x8086, 0x29c0), (6, 0, 0), 0);
    machine.add_bridge(at(0, 3, 0), 1, 2);
    machine.add_bridge(at(1, 0, 0), 2, 2);
    machine.add_bridge(at(0, 4, 0), 3, 3);
    machine.add_function(at(2, 0, 0), (0x1b36, 0x0010), NVME, 0);
    machine.set_config(at(2, 0, 0), 0x10, 0x0010_0004);
    machine.set_config(at(2, 0, 0), 0x14, 0x80);
    machine
}

fn command_of(machine: &FakeMachine, address: dormouse_handoff::plan::PciAddress) -> u32 {
    machine.pci_read(address, 4) & 0xffff
}

#[test]
fn functions_are_found_behind_bridges_and_on_other_root_buses() {
    let machine = machine_with_bridges();
    machine.add_function(at(0, 5, 0), (1, 1), (1, 6, 1), 0x80);
    machine.add_function(at(0, 5, 7), (1, 1), (1, 6, 1), 0x80);
    machine.add_function(at(0x80, 31, 0), (1, 1), NVME, 0);
    let found: Vec<_> = functions(machine).map(|f| f.address.to_string()).collect();
    assert_eq!(
        found,
        [
            "0000:00:00.0",
            "0000:00:03.0",
            "0000:00:04.0",
            "0000:00:05.0",
            "0000:00:05.7",
            "0000:01:00.0",
            "0000:02:00.0",
            "0000:80:1f.0",
        ]
    );
}

#[test]
fn functions_are_found_on_every_segment() {
    let machine = machine_with_bridges();
    let elsewhere = PciAddress { segment: 7, ..at(2, 0, 0) };
    machine.add_function(elsewhere, (1, 1), NVME, 0);
    machine.set_config(elsewhere, 0x10, 0xc000_0000);
    let last = functions(machine).last().unwrap();
    assert_eq!(last.address, elsewhere);
    // The bridges of segment 0 are none of its business.
    let endpoint = Endpoint::enable(machine, elsewhere).unwrap();
    assert_eq!(endpoint.bar(0), Ok(PhysAddr(0xc000_0000)));
    assert_eq!(command_of(machine, at(0, 3, 0)), 0);
}

#[test]
fn a_function_that_does_not_say_it_is_one_of_several_is_not_asked_for_others() {
    let machine = FakeMachine::new();
    machine.add_function(at(0, 5, 0), (1, 1), NVME, 0);
    machine.add_function(at(0, 5, 1), (1, 1), NVME, 0);
    assert_eq!(functions(machine).count(), 1);
}

#[test]
fn enabling_opens_the_bridges_above_and_no_others() {
    let machine = machine_with_bridges();
    let endpoint = Endpoint::enable(machine, at(2, 0, 0)).unwrap();
    assert_eq!(command_of(machine, at(0, 3, 0)), MEMORY_AND_MASTER);
    assert_eq!(command_of(machine, at(1, 0, 0)), MEMORY_AND_MASTER);
    assert_eq!(command_of(machine, at(0, 4, 0)), 0);
    assert_eq!(endpoint.bar(0), Ok(PhysAddr(0x80_0010_0000)));
}

#[test]
fn a_function_reaches_memory_only_between_start_and_stop() {
    let machine = machine_with_bridges();
    let endpoint = Endpoint::enable(machine, at(2, 0, 0)).unwrap();
    assert!(!machine.is_bus_master(at(2, 0, 0)));
    endpoint.start_dma();
    assert!(machine.is_bus_master(at(2, 0, 0)));
    endpoint.stop_dma();
    assert!(!machine.is_bus_master(at(2, 0, 0)));
}

#[test]
fn a_function_that_wakes_from_d3_keeps_its_addresses() {
    let machine = machine_with_bridges();
    let address = at(2, 0, 0);
    machine.set_config(address, 0x04, HAS_CAPABILITIES);
    machine.set_config(address, 0x34, u32::from(POWER_CAPABILITY));
    machine.set_config(address, POWER_CAPABILITY, 0x01);
    machine.set_config(address, POWER_CAPABILITY + 4, 3);
    let before = machine.now_us();
    let endpoint = Endpoint::enable(machine, address).unwrap();
    assert_eq!(machine.pci_read(address, POWER_CAPABILITY + 4) & 3, 0);
    assert_eq!(endpoint.bar(0), Ok(PhysAddr(0x80_0010_0000)));
    assert!(machine.now_us() - before >= 10_000, "the function had no time to recover");
    assert!(!machine.is_bus_master(address));
}

#[test]
fn interrupts_that_the_last_owner_left_on_are_turned_off() {
    let machine = machine_with_bridges();
    let address = at(2, 0, 0);
    machine.set_config(address, 0x04, HAS_CAPABILITIES);
    machine.set_config(address, 0x34, 0x50);
    machine.set_config(address, 0x50, 0x8003_0011);
    Endpoint::enable(machine, address).unwrap();
    assert_eq!(machine.pci_read(address, 0x50), 0x0003_0011);
}

#[test]
fn capabilities_that_go_round_in_a_circle_end() {
    let machine = machine_with_bridges();
    let address = at(2, 0, 0);
    machine.set_config(address, 0x04, HAS_CAPABILITIES);
    machine.set_config(address, 0x34, 0x40);
    machine.set_config(address, 0x40, 0x4400);
    machine.set_config(address, 0x44, 0x4000);
    assert!(capabilities(machine, address).count() <= 48);
}

#[test]
fn bars_that_cannot_be_used_say_why() {
    let machine = machine_with_bridges();
    let address = at(2, 0, 0);
    let endpoint = Endpoint::enable(machine, address).unwrap();
    let bar = |index, value| {
        machine.set_config(address, 0x10 + 4 * index as u16, value);
        endpoint.bar(index)
    };
    assert!(matches!(bar(0, 0xc001), Err(Cause::Protocol(_))));
    assert!(matches!(bar(0, 0x0010_0002), Err(Cause::Protocol(_))));
    assert!(matches!(bar(2, 0), Err(Cause::Unsupported(_))));
    assert!(matches!(bar(5, 0x0010_0004), Err(Cause::Protocol(_))));
    assert!(matches!(endpoint.bar(6), Err(Cause::Protocol(_))));
    machine.set_config(address, 0x10, 0xfebf_1000);
    assert!(matches!(endpoint.map(0, 0, 0x2000), Err(Cause::Protocol(_))));
}

#[test]
fn all_bus_masters_but_bridges_are_quieted() {
    let machine = machine_with_bridges();
    for address in [at(0, 0, 0), at(0, 3, 0), at(2, 0, 0)] {
        machine.set_config(address, 4, 0xf010_0007);
    }
    assert_eq!(quiet_all(machine), 1);
    assert_eq!(machine.pci_read(at(2, 0, 0), 4), 0xf010_0003, "the status is not ours to clear");
    assert!(machine.is_bus_master(at(0, 0, 0)) && machine.is_bus_master(at(0, 3, 0)));
}

proptest! {
    #[test]
    fn no_configuration_space_whatever_hangs_or_panics(
        spaces in proptest::collection::vec(
            (0u8..4, 0u8..3, proptest::collection::vec(any::<u32>(), 64)), 1..6)
    ) {
        let machine = FakeMachine::new();
        machine.set_tick(10_000);
        for (bus, device, space) in spaces {
            let address = at(bus, device, 0);
            machine.add_function(address, (1, 1), NVME, 0);
            for (i, word) in space.into_iter().enumerate() {
                machine.set_config(address, 4 * i as u16, word);
            }
        }
        quiet_all(machine);
        for function in functions(machine) {
            if let Ok(endpoint) = Endpoint::enable(machine, function.address) {
                for index in 0..7 {
                    let _ = endpoint.bar(index);
                }
            }
        }
    }
}

#[test]
fn a_function_behind_bridges_is_reached_again_after_a_suspend() {
    let machine = machine_with_bridges();
    command::set(machine, at(2, 0, 0), CommandRegister::MEMORY_ENABLE);
    let kept = KeptHeaders::of(machine, at(2, 0, 0));
    let lost = [
        (at(0, 3, 0), 0x18),
        (at(1, 0, 0), 0x18),
        (at(2, 0, 0), 0x10),
        (at(2, 0, 0), 0x14),
        (at(2, 0, 0), 0x04),
    ];
    let before = lost.map(|(function, offset)| machine.pci_read(function, offset));
    for (function, offset) in lost {
        machine.set_config(function, offset, 0);
    }
    kept.put_back(machine);
    let after = lost.map(|(function, offset)| machine.pci_read(function, offset));
    assert_eq!(before, after);
    assert_eq!(before[2], 0x0010_0004, "the test machine has a base address");
}
