//! Every way to sleep but the plain one, and what looks like one and is none:
//! suspend to RAM with and without an image, reset, snapshots, rehearsals.

use dormouse_guest::protocol::Call;
use dormouse_handoff::image::{Kind, State};
use dormouse_tests::qemu::{Chipset, DiskKind, Ended};
use dormouse_tests::scenario::{said, wake, well};
use dormouse_tests::{Artefacts, Attempt, Entry, Error, Failure, Fill, Life, Options, scenario};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// QEMU puts an ELF that it was given as `-kernel` into memory again when a
/// machine wakes from S3 (hw/core/loader.c, `rom_reset`), right over a system
/// that was woken from disk before: Linux must not use that place. No loader of
/// a real machine does so. Without this a suspend is refused.
const KEEP_OFF: &str = "memmap=2M$96M";

fn begin(name: &str, options: Options) -> Result<Life, Failure> {
    Ok(Life::begin(&Artefacts::from_environment()?, name, options)?)
}

/// Runs one of `dormouse`'s commands to its end, which is a return.
fn run(life: &mut Life, command: &str, more: &[&str], words: &[&str]) -> Result<(), Error> {
    let attempt = life.dormouse(command, more)?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| said(&ran, 0, words))
}

/// Wakes a machine that is suspended; the guest must say that it was in RAM.
fn wake_from_ram(life: &mut Life, attempt: &Attempt) -> Result<f64, Error> {
    let (ran, seconds) = life.wake_from_ram(attempt)?;
    life.logged(|_| said(&ran, 0, &["\"outcome\": \"woken-from-ram\""]))?;
    Ok(seconds)
}

fn suspend(life: &mut Life, more: &[&str]) -> Result<Attempt, Error> {
    life.attempt(&[&["dormouse", "--json", "suspend"], more].concat())
}

/// Makes sure that a suspend is refused, with an image and without one, and that
/// nothing was touched.
fn no_suspend(life: &mut Life) -> Result<(), Error> {
    let page = life.target_page(0)?;
    let attempts = [suspend(life, &[])?, life.dormouse("sleep", &["--both"])?];
    let why = ["memory-in-s3", "in use (0x6000000-0x61fffff)", KEEP_OFF, "dormouse hibernate"];
    for attempt in attempts {
        let ran = life.return_from(&attempt)?;
        life.logged(|_| said(&ran, 3, &why))?;
    }
    let ran = life.guest.run(&["dormouse", "check", "--suspend"])?;
    life.logged(|_| said(&ran, 3, &["NO    memory-in-s3", KEEP_OFF, "for one reason"]))?;
    // What does not suspend is possible.
    let ran = life.guest.run(&["dormouse", "check"])?;
    life.logged(|_| said(&ran, 0, &[]))?;
    if life.target_page(0)? != page {
        return Err(Error::verdict("the target is not as it was"));
    }
    Ok(())
}

/// How many presses of the power button the guest has heard of.
fn power_button(life: &mut Life) -> Result<u64, Error> {
    let path = "/sys/firmware/acpi/interrupts/ff_pwr_btn".into();
    let text = life.guest.text(Call::Read { path })?;
    let count = text.split_whitespace().next().and_then(|word| word.parse().ok());
    count.ok_or_else(|| Error::verdict(format!("no count in {text:?}")))
}

/// Writes the `number`-th UEFI variable, and reads all so far back.
fn uefi_variables(life: &mut Life, number: usize) -> Result<(), Error> {
    const FOLDER: &str = "/sys/firmware/efi/efivars";
    const VENDOR: &str = "5bd1a1a4-2b1c-4f3f-9d2e-6d2f0a3c9b11";
    // Four bytes of attributes: kept, for boot services and at run time. Each name
    // once: Linux protects what is there.
    let script = format!(
        "mount -t efivarfs none {FOLDER} 2> /dev/null
        printf '\\007\\000\\000\\000{number}' > {FOLDER}/Dormouse{number}-{VENDOR} || exit 2
        for file in {FOLDER}/Dormouse*; do tail -c 1 $file; done"
    );
    let ran = life.guest.run(&["busybox", "sh", "-c", &script])?;
    life.logged(|_| said(&ran, 0, &[&"123"[..number]]))
}

/// What the methods tell of one suspend: _PTS(3) and _WAK(3). The port reads as 0xe9,
/// of which _WAK leaves the upper half.
const SUSPENDED: [u8; 3] = [0x23, 0xe3, 0x33];

/// A guest on a machine whose methods around a sleep tell a file when they are run, and
/// with which argument (power/tests/fixtures/methods.dsl); and that file.
fn begin_with_methods(name: &str, options: Options) -> Result<(Life, PathBuf), Failure> {
    let listened = Artefacts::from_environment()?.run(name).join("methods.bin");
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../power/tests/fixtures/methods.aml");
    let words = [
        "-acpitable".into(),
        format!("file={table}"),
        "-chardev".into(),
        format!("file,id=methods,path={}", listened.display()),
        "-device".into(),
        "isa-debugcon,iobase=0x5555,chardev=methods".into(),
    ];
    let life = begin(name, Options { qemu: words.into(), ..options })?;
    Ok((life, listened))
}

/// What the methods have told so far.
fn heard(listened: &Path) -> Result<Vec<u8>, Error> {
    fs::read(listened).map_err(Error::host(format!("reading {}", listened.display())))
}

/// Wakes a suspended machine, and makes sure that no processor but the writer's stays
/// at work meanwhile. A disk that lets hardly anything through keeps the writer there.
fn wake_with_others_stopped(life: &mut Life, attempt: &Attempt) -> Result<(), Error> {
    life.limit_disk(Some(1024))?;
    life.machine()?.monitor.command("system_wakeup", json!({}))?;
    life.said_meanwhile(attempt, "woken from the suspend to RAM")?;
    let from = Instant::now();
    // QEMU's names outside of 64-bit mode, which the writer alone is in.
    let at_work = |line: &&str| line.starts_with("EIP=") && line.contains("HLT=0");
    while let Some(line) = life.machine()?.monitor.registers()?.lines().find(at_work) {
        if from.elapsed() > Duration::from_secs(3) {
            return Err(Error::verdict(format!("another processor is at work: {line}")));
        }
    }
    life.limit_disk(None)?;
    let ran = life.return_from(attempt)?;
    life.logged(|_| said(&ran, 0, &["woken-from-ram"]))
}

/// Presses the power button and waits until the guest has heard of it.
fn press_power_button(life: &mut Life) -> Result<(), Error> {
    let before = power_button(life)?;
    life.machine()?.monitor.command("system_powerdown", json!({}))?;
    let from = Instant::now();
    while power_button(life)? == before {
        if from.elapsed() > Duration::from_secs(10) {
            return Err(Error::verdict("the power button does not reach the guest"));
        }
    }
    Ok(())
}

#[test]
fn suspends_and_rehearsals_and_a_snapshot_in_one_life() -> Result<(), Failure> {
    let (mut life, listened) = begin_with_methods("ways", Options::default())?;
    let before = life.fill(&Fill::light())?;

    run(&mut life, "rehearse", &["--no-write"], &["\"outcome\": \"done\"", "estimate"])?;
    let words = ["\"outcome\": \"done\"", "write_seconds"];
    run(&mut life, "rehearse", &[], &words)?;
    scenario::image(&life)?.header(State::Discarded)?;
    well(&mut life, &before)?;

    let attempt = suspend(&mut life, &[])?;
    life.suspended(&attempt, 1)?;
    let seconds = wake_from_ram(&mut life, &attempt)?;
    println!("suspend without an image: woken in {seconds:.2} s");
    well(&mut life, &before)?;

    // The clock wakes it, and nobody else.
    let attempt = suspend(&mut life, &["--wake-after", "2s"])?;
    life.suspended(&attempt, 2)?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| said(&ran, 0, &["woken-from-ram"]))?;

    let attempt = life.dormouse("sleep", &["--both"])?;
    life.suspended(&attempt, 3)?;
    scenario::image(&life)?.header(State::Valid)?;
    let seconds = wake_from_ram(&mut life, &attempt)?;
    println!("suspend with an image: woken in {seconds:.2} s");
    scenario::image(&life)?.header(State::Consumed)?;
    well(&mut life, &before)?;
    let (_, seconds) = life.suspend_by_linux(4)?;
    println!("Linux's own suspend: woken in {seconds:.2} s");
    // Four times, by us as by Linux's interpreter.
    assert_eq!(heard(&listened)?, SUSPENDED.repeat(4));

    // _PTS(5), and after a start from nothing no _WAK.
    let asleep = scenario::sleep(&mut life, &[])?;
    assert_eq!(heard(&listened)?[12..], [0x15]);
    let awake = life.wake(&asleep)?;
    life.logged(|_| said(&awake.said, 0, &["\"no_suspend\": ", KEEP_OFF]))?;
    well(&mut life, &before)?;
    assert!(heard(&listened)?.is_empty());
    no_suspend(&mut life)?;
    well(&mut life, &before)?;

    // GRUB loads nothing again: woken by it, the same system may suspend.
    let asleep = scenario::sleep(&mut life, &[])?;
    let grub = Entry::Multiboot2.boot(&Artefacts::from_environment()?, &life.folder)?;
    let awake = life.wake_on(&asleep, &life.setup.booting(grub))?;
    life.logged(|_| said(&awake.said, 0, &["\"outcome\": \"woken\""]))?;
    let attempt = suspend(&mut life, &[])?;
    life.suspended(&attempt, 1)?;
    wake_from_ram(&mut life, &attempt)?;
    well(&mut life, &before)?;

    // A snapshot stays where it is, and is never woken.
    run(&mut life, "snapshot", &[], &["\"outcome\": \"done\""])?;
    let header = scenario::image(&life)?.header(State::Inert)?;
    assert_eq!(header.kind(), Kind::Inspection);
    let attempt = life.dormouse("hibernate", &[])?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| said(&ran, 3, &["a snapshot for inspection", "dormouse discard"]))?;
    let attempt = life.dormouse("snapshot", &["--reusable"])?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| said(&ran, 3, &["mounted for writing at", "--allow"]))?;
    well(&mut life, &before)?;
    life.cut_power();
    let reader = life.reader();
    life.be_refused(&reader, "the image is inert, not valid")?;
    Ok(life.abandon()?)
}

#[test]
fn power_lost_while_suspended_is_a_wake_up_from_the_disk() -> Result<(), Failure> {
    let options = Options {
        chipset: Chipset::Q35,
        disk: DiskKind::VirtioBlk,
        cpus: 4,
        cpu: "max,la57=off".into(),
        command_line: KEEP_OFF.into(),
        ..Options::default()
    };
    let (mut life, listened) = begin_with_methods("power-lost", options)?;
    let before = life.fill(&Fill::light())?;
    let attempt = life.dormouse("sleep", &["--both"])?;
    life.suspended(&attempt, 1)?;
    let asleep = life.lose_ram(attempt)?;
    wake(&mut life, &asleep, &before)?;

    // The platform is as Linux left it: events, processors, its own suspend.
    press_power_button(&mut life)?;
    for contents in ["0", "1"] {
        let path = "/sys/devices/system/cpu/cpu3/online".into();
        life.guest.call(Call::Write { path, contents: contents.into() })?;
    }
    let attempt = life.dormouse("sleep", &["--both"])?;
    life.suspended(&attempt, 1)?;
    wake_with_others_stopped(&mut life, &attempt)?;
    assert_eq!(heard(&listened)?, SUSPENDED);
    press_power_button(&mut life)?;
    well(&mut life, &before)?;

    // And a reset in the place of the power-off.
    let attempt = life.hibernate(&["--reboot"])?;
    let asleep = life.go_down(attempt, "guest-reset")?;
    wake(&mut life, &asleep, &before)?;
    press_power_button(&mut life)?;

    // Where the image cannot be made unusable, the memory is given up.
    for fault in ["power:error", "power:panic"] {
        let attempt = life.dormouse("sleep", &["--both", "--test-fault", fault])?;
        life.suspended(&attempt, 1)?;
        life.machine()?.monitor.command("system_wakeup", json!({}))?;
        let asleep = life.fall_asleep(attempt)?;
        scenario::image(&life)?.header(State::Valid)?;
        wake(&mut life, &asleep, &before)?;
    }
    // The clock's alarm is as it was, too. (A busy host loses ticks of it.)
    let attempt = life.dormouse("sleep", &["--both", "--wake-after", "2s"])?;
    life.suspended(&attempt, 1)?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| said(&ran, 0, &["woken-from-ram"]))?;
    life.finish()?;
    Ok(())
}

#[test]
fn under_uefi_it_suspends_and_wakes_and_variables_can_be_written() -> Result<(), Failure> {
    let options = Options {
        firmware: Entry::Uefi.firmware(),
        entry: Entry::Uefi,
        chipset: Chipset::Q35,
        disk: DiskKind::Ahci,
        cpus: 4,
        // Else what OVMF writes may be there already, from when the machine started.
        command_line: "init_on_free=1".into(),
        ..Options::default()
    };
    let (mut life, listened) = begin_with_methods("ways-uefi", options)?;
    let before = life.fill(&Fill::light())?;
    uefi_variables(&mut life, 1)?;
    let attempt = suspend(&mut life, &[])?;
    life.suspended(&attempt, 1)?;
    wake_from_ram(&mut life, &attempt)?;
    assert_eq!(heard(&listened)?, SUSPENDED);
    // OVMF works in memory that it has told Linux is free.
    let console = &life.machine()?.console;
    console.catch_up()?;
    if console.seen("firmware had overwritten").is_none() {
        return Err(Error::verdict("OVMF has overwritten nothing: what is kept for it?").into());
    }
    well(&mut life, &before)?;
    uefi_variables(&mut life, 2)?;
    press_power_button(&mut life)?;

    let attempt = life.dormouse("sleep", &["--both"])?;
    life.suspended(&attempt, 2)?;
    wake_from_ram(&mut life, &attempt)?;
    scenario::image(&life)?.header(State::Consumed)?;
    well(&mut life, &before)?;

    let attempt = life.dormouse("sleep", &["--both"])?;
    life.suspended(&attempt, 3)?;
    let asleep = life.lose_ram(attempt)?;
    wake(&mut life, &asleep, &before)?;
    uefi_variables(&mut life, 3)?;
    press_power_button(&mut life)?;
    life.finish()?;
    Ok(())
}

/// SeaBIOS goes over to x2APIC mode where there may be more than 255 processors, and
/// Linux back, as it has nothing that it would use that mode with. After a start and a
/// wake-up the APIC is in firmware's mode again; a Linux that noticed would say so in
/// its log, older ones would hang. QEMU has the mode since 9.0, and older ones take no
/// such machine.
#[test]
fn the_local_apic_is_in_the_mode_that_linux_left_it_in() -> Result<(), Failure> {
    let options = Options {
        chipset: Chipset::Q35,
        cpus: 4,
        qemu: ["-smp", "4,maxcpus=288"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let refused = "current -smp configuration requires kernel irqchip and X2APIC API support";
    let mut life = match Life::begin(&Artefacts::from_environment()?, "x2apic", options) {
        Err(error) if error.to_string().contains(refused) => {
            eprintln!("this QEMU has no x2APIC mode: not tried");
            return Ok(());
        }
        begun => begun?,
    };
    let before = life.fill(&Fill::light())?;
    assert!(life.serial_log()?.contains("x2apic: enabled by BIOS"));
    let put_back = "the local APIC is in xAPIC mode again, as Linux had it";
    let attempt = life.dormouse("sleep", &["--both"])?;
    life.suspended(&attempt, 1)?;
    wake_with_others_stopped(&mut life, &attempt)?;
    well(&mut life, &before)?;
    assert!(life.serial_log()?.contains(put_back));
    let asleep = scenario::sleep(&mut life, &[])?;
    wake(&mut life, &asleep, &before)?;
    assert_eq!(life.serial_log()?.matches(put_back).count(), 2);
    life.finish()?;
    Ok(())
}

#[test]
fn a_reusable_snapshot_is_woken_at_every_start() -> Result<(), Failure> {
    let options = Options { cpus: 1, command_line: KEEP_OFF.into(), ..Options::default() };
    let mut life = Life::begin_bare(&Artefacts::from_environment()?, "reusable", options)?;
    let attempt = life.dormouse("snapshot", &["--reusable"])?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| said(&ran, 0, &["\"outcome\": \"done\""]))?;
    for _ in 0..2 {
        life.cut_power();
        let asleep = attempt.in_its_image();
        let awake = life.wake(&asleep)?;
        life.logged(|_| said(&awake.said, 0, &["\"outcome\": \"woken\""]))?;
        let header = scenario::image(&life)?.header(State::Valid)?;
        assert_eq!(header.kind(), Kind::Reusable);
    }
    // The platform of a woken Linux is as it left it: its own suspend works.
    press_power_button(&mut life)?;
    life.suspend_by_linux(1)?;
    press_power_button(&mut life)?;
    let attempt = life.attempt(&["busybox", "reboot", "-f"])?;
    life.go_down(attempt, Ended::RESET)?;
    Ok(life.abandon()?)
}
