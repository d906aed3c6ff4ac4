//! Every command of a hibernation and of a wake-up goes wrong in every way that
//! a controller has, on each driver's scripted controller.
//!
//! The path and the drivers are the real ones; memory, clock and controllers
//! are not, so a deadline of a minute takes no time.

mod machine;

use dormouse_attacks::{Attack, record};
use dormouse_drivers::faults::{Culprit, Fault};
use dormouse_drivers::models::{Kind, ModelDisk};
use dormouse_drivers::queue::BlockQueue;
use dormouse_handoff::image::{Header, State};
use dormouse_transfer::error::Error;
use machine::{Machine, START_BYTE, Trial, same_outside_the_target};

/// Commands that went wrong, and what came of it.
#[derive(Debug, Default)]
struct Tally {
    cases: u64,
    survived: u64,
    failed: u64,
    /// The last write or flush failed with the controller, after the disk had
    /// taken the new state: nobody but Linux can reach the disk any more.
    doubtful: u64,
}

fn state_of(contents: &[u8]) -> Option<State> {
    Header::parse(&contents[START_BYTE..]).ok().map(|header| header.state())
}

/// The state's own write, or the flush behind it: what may leave a new state
/// on the disk although the driver says that it failed.
fn could_have_been_the_last(culprit: Culprit) -> bool {
    culprit.lba.is_none_or(|lba| lba.0 * 512 == START_BYTE as u64)
}

/// The error names the device, and the command and block where they are known.
fn assert_named(case: &str, error: &Error, fault: Fault, culprit: Culprit) {
    let text = error.to_string();
    assert!(matches!(error, Error::Device(_)), "{case}: {text}");
    assert!(text.contains("0000:00:04.0"), "{case}: {text}");
    let knows = matches!(fault, Fault::Status | Fault::Silence | Fault::TooLate);
    if let Some(lba) = culprit.lba
        && knows
    {
        let words = format!("{} at block {lba}: ", culprit.operation);
        assert!(text.contains(&words), "{case}: {text}");
    }
    if culprit.operation == "flush" && knows {
        assert!(text.contains(": flush: "), "{case}: {text}");
    }
}

/// What holds after every trial, however it ended; also once the old kernel has
/// let the controller reach memory again, which comes before its own driver's
/// reset.
fn assert_harmless(
    case: &str,
    machine: &Machine,
    disk: &ModelDisk,
    before: &[u8],
    after: &[u8],
    fault: Fault,
) {
    assert!(!disk.reaches_memory(), "{case}: the controller may still reach memory");
    assert!(same_outside_the_target(before, after), "{case}: a block outside was written");
    let memory = || if fault == Fault::TooLate { machine.all_memory() } else { Vec::new() };
    let given_back = memory();
    disk.go_back_to_linux();
    assert!(disk.contents() == after, "{case}: something was written late");
    assert!(memory() == given_back, "{case}: memory was written after it was given back");
}

fn every_command_of_a_hibernation(kind: Kind) -> Tally {
    let mut tally = Tally::default();
    let before = machine::blank_disk();
    for fault in Fault::ALL {
        for n in 0.. {
            let machine = Machine::asleep();
            let disk = machine.disk(kind, before.clone());
            let plan = machine.plan(kind, &disk, &before);
            disk.fail(n, fault);
            let trial = machine.hibernate(&disk, &plan);
            let Some(culprit) = disk.culprit() else { break };
            let case = format!("{kind:?}, {fault:?} at command {n} ({culprit:?})");
            let after = disk.contents();
            assert_harmless(&case, &machine, &disk, &before, &after, fault);
            tally.cases += 1;
            match &trial {
                Trial::Done => {
                    assert_eq!(state_of(&after), Some(State::Valid), "{case}");
                    tally.survived += 1;
                    drop(disk);
                    let woken = Machine::empty();
                    let disk = woken.disk(kind, after);
                    assert!(matches!(woken.wake(&disk), Trial::Done), "{case}");
                    woken.assert_memory(&case);
                    continue;
                }
                Trial::OtherDevice => tally.failed += 1,
                Trial::Failed(error) => {
                    assert_ne!(fault, Fault::Late, "{case}: {error}");
                    assert_named(&case, error, fault, culprit);
                    tally.failed += 1;
                    if state_of(&after) == Some(State::Valid) {
                        assert!(could_have_been_the_last(culprit), "{case}: valid, but {error}");
                        assert_ne!(fault, Fault::Status, "{case}: it could be undone");
                        tally.doubtful += 1;
                    }
                }
            }
            // The old kernel goes on with its memory, and can hibernate again.
            machine.assert_memory(&case);
            disk.repair();
            let plan = machine.plan(kind, &disk, &after);
            assert!(matches!(machine.hibernate(&disk, &plan), Trial::Done), "{case}: again");
            assert_eq!(state_of(&disk.contents()), Some(State::Valid), "{case}: again");
        }
    }
    tally
}

fn every_command_of_a_wake_up(kind: Kind) -> Tally {
    let image = {
        let machine = Machine::asleep();
        let disk = machine.disk(kind, machine::blank_disk());
        let plan = machine.plan(kind, &disk, &machine::blank_disk());
        assert!(matches!(machine.hibernate(&disk, &plan), Trial::Done));
        disk.contents()
    };
    let mut tally = Tally::default();
    for fault in Fault::ALL {
        for n in 0.. {
            let machine = Machine::empty();
            let disk = machine.disk(kind, image.clone());
            disk.fail(n, fault);
            let trial = machine.wake(&disk);
            let Some(culprit) = disk.culprit() else { break };
            let case = format!("{kind:?}, {fault:?} at command {n} ({culprit:?})");
            let after = disk.contents();
            assert_harmless(&case, &machine, &disk, &image, &after, fault);
            tally.cases += 1;
            match &trial {
                Trial::Done => {
                    assert_eq!(state_of(&after), Some(State::Consumed), "{case}");
                    machine.assert_memory(&case);
                    tally.survived += 1;
                    continue;
                }
                Trial::OtherDevice => {}
                Trial::Failed(error) => {
                    assert_ne!(fault, Fault::Late, "{case}: {error}");
                    assert_named(&case, error, fault, culprit);
                }
            }
            tally.failed += 1;
            if state_of(&after) == Some(State::Consumed) {
                assert!(could_have_been_the_last(culprit), "{case}");
                tally.doubtful += 1;
                continue;
            }
            // The image is still there, and wakes.
            assert_eq!(state_of(&after), Some(State::Valid), "{case}");
            drop(disk);
            let machine = Machine::empty();
            let disk = machine.disk(kind, after);
            assert!(matches!(machine.wake(&disk), Trial::Done), "{case}: again");
            machine.assert_memory(&case);
        }
    }
    tally
}

fn tell(what: &str, attack: fn(Kind) -> Tally) {
    let mut cases = 0;
    for kind in Kind::ALL {
        let tally = attack(kind);
        println!("{kind:?}, {what}: {tally:?}");
        // Every way to fail was met, and every way to come through.
        assert!(tally.cases > 100 && tally.survived > 10 && tally.failed > 50, "{tally:?}");
        assert!(tally.doubtful < tally.cases / 10, "{tally:?}");
        cases += tally.cases;
    }
    record(Attack {
        promise: 1,
        attack: format!(
            "each command of a {what} fails, is never answered, is answered late, twice or for \
             another, or kills the controller; NVMe, AHCI with and without queuing, virtio-blk"
        ),
        cases,
        command: "cargo test -p dormouse-transfer --test faults".into(),
    });
}

#[test]
fn whatever_command_of_a_hibernation_goes_wrong_it_is_a_return() {
    tell("hibernation", every_command_of_a_hibernation);
}

#[test]
fn whatever_command_of_a_wake_up_goes_wrong_the_image_is_whole_or_used_up() {
    tell("wake-up", every_command_of_a_wake_up);
}

/// Nothing in here depends on the fault alone.
#[test]
fn without_a_fault_it_works() {
    for kind in Kind::ALL {
        let machine = Machine::asleep();
        let blank = machine::blank_disk();
        let disk = machine.disk(kind, blank.clone());
        let plan = machine.plan(kind, &disk, &blank);
        disk.repair();
        assert!(matches!(machine.hibernate(&disk, &plan), Trial::Done));
        println!("{kind:?}: {} commands", disk.commands());
        assert!(disk.commands() > 25, "too few commands to be a test");
        assert!(disk.open().unwrap().geometry().depth > 1);
    }
}
