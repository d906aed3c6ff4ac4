//! A failed hibernation is a return: whatever goes wrong before the commit,
//! the user has the running system again, and a message that says why.

use dormouse_handoff::image::State;
use dormouse_tests::qemu::{Chipset, DiskKind, Ended, Machine};
use dormouse_tests::scenario::Interruption;
use dormouse_tests::{
    Artefacts, Attempt, BEFORE_POWER, BEFORE_WRITE, Error, Failure, Fill, Life, Options, scenario,
};
use std::time::Duration;

/// How long a reader may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The writer's stages before the commit is done, and what can be made to
/// happen in each, with a word of the message that tells of it.
const STAGES: [&str; 5] = ["plan", "device", "prepare", "write", "commit"];
const FAULTS: [(&str, &str); 3] =
    [("error", "an error"), ("panic", "a panic"), ("page-fault", "page fault")];

#[test]
fn whatever_fails_at_whatever_stage_the_old_system_goes_on() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "returns", Options::default())?;
    let before = life.fill(&Fill::light())?;
    for stage in STAGES {
        for (fault, word) in FAULTS {
            let asked = format!("{stage}:{fault}");
            let attempt = life.hibernate(&["--test-fault", &asked])?;
            let ran = life.return_from(&attempt)?;
            life.logged(|_| scenario::said(&ran, 1, &[stage, word]))?;
            scenario::well(&mut life, &before)?;
        }
    }
    for (fault, word) in FAULTS {
        let asked = format!("compare:{fault}");
        let attempt = life.dormouse("rehearse", &["--test-fault", &asked])?;
        let ran = life.return_from(&attempt)?;
        life.logged(|_| scenario::said(&ran, 1, &["compare", word]))?;
        scenario::well(&mut life, &before)?;
    }
    // None of it was in vain: the next attempt is a real one, whatever happens once
    // the image is committed.
    let attempt = life.hibernate(&["--test-wait", "before-power"])?;
    life.standstill(&attempt, BEFORE_POWER)?;
    let (interrupt, word) = scenario::NMI;
    interrupt(life.machine()?)?;
    life.standstill(&attempt, &format!("power failed: {word}"))?;
    let asleep = life.fall_asleep(attempt)?;
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(())
}

/// Plans that nobody should follow, and a word of the writer's answer.
const BAD_PLANS: [(&str, &str); 7] = [
    ("checksum=wrong", "checksum"),
    ("version=99", "version 99"),
    ("pci=0000:00:1f.7", "0000:00:1f.7"),
    ("serial=another", "serial number"),
    ("device-blocks=123456789", "capacity"),
    ("first-page=1", "first page"),
    ("extent-blocks=8000", "the target holds 3 MiB"),
];

#[test]
fn a_plan_that_does_not_fit_is_not_followed() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "bad-plans", Options::default())?;
    let before = life.fill(&Fill::light())?;
    for (change, word) in BAD_PLANS {
        let attempt = life.hibernate(&["--test-plan", change])?;
        let ran = life.return_from(&attempt)?;
        life.logged(|_| scenario::said(&ran, 1, &[word]))?;
        scenario::well(&mut life, &before)?;
    }
    life.finish()?;
    Ok(())
}

/// The same while the writer stands still before its first write. What is no key that
/// leads back goes on, and is looked at where the keyboard is.
const BEFORE_ANYTHING: [Interruption; 3] = [
    (|machine| machine.console.type_keys(" q"), scenario::KEY.1),
    (
        |machine| {
            scenario::press_escape(machine)?;
            machine.console.type_keys(" ")
        },
        scenario::KEY.1,
    ),
    scenario::NMI,
];

#[test]
fn the_users_key_and_an_nmi_are_returns() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "interrupted", Options::default())?;
    let before = life.fill(&Fill::light())?;
    for (interrupt, word) in BEFORE_ANYTHING {
        let attempt = life.hibernate(&["--test-wait", "before-write"])?;
        life.standstill(&attempt, BEFORE_WRITE)?;
        let shown = life.serial_log()?.len();
        interrupt(life.machine()?)?;
        let ran = life.return_from(&attempt)?;
        life.logged(|_| scenario::said(&ran, 1, &[word]))?;
        scenario::well(&mut life, &before)?;
        // On the screen as well, where the user who pressed the key looks.
        let shown = life.serial_log()?.split_off(shown);
        assert!(shown.contains(word) && shown.contains("nothing was lost"), "{shown}");
    }
    assert!(life.serial_log()?.contains("press Esc or q to go back"), "nobody was told how");

    for interruption in [scenario::KEY, scenario::KEY_OF_KEYBOARD, scenario::NMI] {
        scenario::interrupt_writing(&mut life, &before, interruption)?;
    }

    // The monitor: to come back once everything is written, to come back at once.
    for (command, word) in [("return", "as the monitor was told"), ("abort", "the user's key")] {
        let attempt = life.hibernate(&["--test-wait", "before-write"])?;
        life.standstill(&attempt, BEFORE_WRITE)?;
        type_in_monitor(&mut life, &attempt, "m", "`help` lists what there is")?;
        type_in_monitor(&mut life, &attempt, "help\r", "  off ")?;
        type_in_monitor(
            &mut life,
            &attempt,
            "status\r",
            "not committed yet; in the end: power off",
        )?;
        type_in_monitor(&mut life, &attempt, "dance\r", "no such command: dance")?;
        // Where it does not go back by itself, the monitor is left, and then the
        // standstill.
        life.machine()?.console.type_keys(&format!("{command}\rcont\r "))?;
        let ran = life.return_from(&attempt)?;
        life.logged(|_| scenario::said(&ran, 1, &[word]))?;
        scenario::well(&mut life, &before)?;
    }
    // Opened while it writes: that goes on, and after the commit nothing leads back,
    // but the end may be another one.
    let attempt = life.hibernate(&["--test-wait", "before-write"])?;
    life.standstill(&attempt, BEFORE_WRITE)?;
    life.machine()?.console.type_keys(" m")?;
    life.standstill(&attempt, "committed: ")?;
    type_in_monitor(&mut life, &attempt, "abort\r", "refused: the image is committed")?;
    type_in_monitor(&mut life, &attempt, "return\r", "refused: the image is committed")?;
    type_in_monitor(
        &mut life,
        &attempt,
        "log\r",
        "writing; press Esc or q to go back, m for more",
    )?;
    type_in_monitor(&mut life, &attempt, "reboot\r", "in the end: reset")?;
    type_in_monitor(&mut life, &attempt, "continue\r", "resetting")?;
    let asleep = life.go_down(attempt, Ended::RESET)?;
    interrupt_reading(&mut life)?;
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(())
}

/// An NMI while the reader reads: it says so and goes off, and the image is as it
/// was.
fn interrupt_reading(life: &mut Life) -> Result<(), Error> {
    let mut reader = life.reader();
    reader.disks[0].limit = Some(scenario::SLOW);
    let (interrupt, word) = scenario::NMI;
    life.logged(|life| {
        let (mut machine, _line) = Machine::start(&reader, &life.folder)?;
        machine.console.wait_for("MiB/s, ", PATIENCE)?;
        interrupt(&mut machine)?;
        machine.console.wait_for(&format!("read failed: {word}"), PATIENCE)?;
        let ended = machine.wait_for_end(PATIENCE)?;
        match ended.by_power_off() {
            true => Ok(()),
            false => Err(Error::verdict(format!("the reader ended with {}", ended.reason))),
        }
    })?;
    scenario::image(life)?.header(State::Valid).map(drop)
}

/// Types something, and waits for the answer.
fn type_in_monitor(
    life: &mut Life,
    attempt: &Attempt,
    keys: &str,
    word: &str,
) -> Result<(), Error> {
    life.machine()?.console.type_keys(keys)?;
    life.standstill(attempt, word).map(drop)
}

/// Power switches that do not work: sleep and reset registers where nothing is
/// (port 0xcf9 is left), no sleep type (so is the reset register).
const DEAD_SWITCHES: [&str; 2] = ["power=dead", "sleep-type=4294967295"];

#[test]
fn where_the_power_does_not_go_off_the_machine_is_reset_and_the_image_wakes() -> Result<(), Failure>
{
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "dead-switches", Options::default())?;
    let before = life.fill(&Fill::light())?;
    for switch in DEAD_SWITCHES {
        let attempt = life.hibernate(&["--test-plan", switch])?;
        life.standstill(&attempt, "did not power off by ACPI S5: resetting it instead")?;
        let asleep = life.go_down(attempt, Ended::RESET)?;
        scenario::wake(&mut life, &asleep, &before)?;
    }
    life.finish()?;
    Ok(())
}

/// A microvm has neither port 0xcf9 nor a keyboard controller.
#[test]
fn where_nothing_switches_it_off_a_message_says_that_it_is_safe() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let options = Options {
        chipset: Chipset::Microvm,
        disk: DiskKind::VirtioBlk,
        qemu: ["-global", "virtio-mmio.force-legacy=false"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let mut life = Life::begin(&artefacts, "no-switch", options)?;
    let before = life.fill(&Fill::light())?;
    let attempt = life.hibernate(&["--test-plan", "power=dead"])?;
    life.standstill(&attempt, "does not reset either: it is safe to switch it off by hand")?;
    life.cut_power();
    let asleep = attempt.in_its_image();
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(())
}

/// By SIGKILL, at the worst moment: swap off, the writer loaded, all processors but one
/// offline.
#[test]
fn whoever_kills_the_program_finds_the_system_as_it_was() -> Result<(), Failure> {
    const PROCESSORS: &str = "/sys/devices/system/cpu/online";
    const LOADED: &str = "/sys/kernel/kexec_loaded";
    // As long as it takes the shell that stands by; and then the last of what it does.
    let settled = format!("until grep -q dev /proc/swaps; do :; done; cat {PROCESSORS} {LOADED}");
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "killed", Options { cpus: 3, ..Options::default() })?;
    let before = life.fill(&Fill::light())?;
    let target = life.target()?;
    for program in ["mkswap", "swapon"] {
        let ran = life.guest.run(&[program, &target])?;
        life.logged(|_| scenario::said(&ran, 0, &[]))?;
    }
    let swaps = life.guest.run(&["cat", "/proc/swaps"])?;
    let attempt = life.hibernate(&["--test-kill"])?;
    let ran = life.return_from(&attempt)?;
    assert_eq!(ran.code, None, "not killed: {ran:?}");
    let ran = life.guest.run(&["sh", "-c", &settled])?;
    life.logged(|_| scenario::said(&ran, 0, &["0-2\n0\n"]))?;
    assert_eq!(life.guest.run(&["cat", "/proc/swaps"])?, swaps);
    scenario::sleep_and_wake(&mut life, &before)?;
    life.finish()?;
    Ok(())
}
