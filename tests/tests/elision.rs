//! What the image leaves out: free pages and none but them, and what the kernel
//! finds in them afterwards.

use dormouse_guest::protocol::{Answer, Call, Workload};
use dormouse_handoff::image::{Counts, State};
use dormouse_tests::{Artefacts, BEFORE_WRITE, Error, Failure, Fill, Life, Options, SECOND_DISK};
use dormouse_tests::{checks, judge, qemu, scenario};
use serde_json::json;
use std::fs;
use std::time::Duration;

/// Pages that are broken in the guest of [`what_is_left_out_is_free`].
const BROKEN: u64 = 5;

/// Bytes that its balloon takes and gives back.
const BALLOON: u64 = 192 << 20;

/// Bytes of a file that it has read, and could read again.
const CACHED: u64 = 96 << 20;

/// How long a balloon may take to be filled.
const PATIENCE: Duration = Duration::from_secs(30);

/// Less than what is free in a guest after [`Fill::light`].
const FRESH: u64 = 512 << 20;

#[test]
fn what_is_left_out_is_free() -> Result<(), Failure> {
    let options = Options {
        qemu: ["-device", "virtio-balloon-pci"].map(String::from).to_vec(),
        ..Options::default()
    };
    let mut life = Life::begin(&Artefacts::from_environment()?, "elision", options)?;
    life.guest.call(Call::BreakMemory { pages: BROKEN })?;
    inflate_balloon(&mut life)?;
    let before = life.fill(&Fill::for_memory(life.options.memory() - BALLOON))?;

    cache_a_file(&mut life)?;
    let attempt = life.hibernate(&["--test-wait", "before-write", "--test-scribble"])?;
    life.standstill(&attempt, BEFORE_WRITE)?;
    let dump = life.folder.join("memory.raw");
    let (chipset, memory) = (life.options.chipset, life.options.memory());
    let machine = life.machine()?;
    qemu::dump_memory(&mut machine.monitor, chipset, memory, &dump)?;
    machine.console.type_keys(" ")?;
    let asleep = life.fall_asleep(attempt)?;

    let image = scenario::image(&life)?;
    let compared = image.compare(&dump)?;
    assert_eq!(compared.excluded, BROKEN, "{compared:?}");
    let agreement = judge::judge(&image, &dump)?;
    assert_eq!(agreement.left_out, compared.free + compared.excluded);
    // Half of the memory is free, if only because the balloon gives back what it
    // has when the guest falls asleep.
    assert!(compared.free * 4096 > BALLOON, "{compared:?}");
    fs::remove_file(&dump).map_err(Error::host("removing the dump"))?;

    // All of it is scribbled over now.
    scenario::wake(&mut life, &asleep, &before)?;
    let Answer::Text(memory) = life.guest.call(Call::Read { path: "/proc/meminfo".into() })? else {
        panic!("a file is text");
    };
    let broken = format!("HardwareCorrupted:{:>6} kB", BROKEN * 4);
    assert!(memory.contains(&broken), "{memory}");
    let kept = compared.stored;
    let smaller = scenario::sleep(&mut life, &["--image-size", "64M"])?;
    let stored = scenario::image(&life)?.header(State::Valid)?.counts.stored;
    assert!(stored + CACHED / 2 / 4096 < kept, "{stored} pages instead of {kept}");
    let awake = life.wake(&smaller)?;
    // Most of what is in use cannot be given up.
    life.logged(|_| scenario::said(&awake.said, 0, &["cannot be given up"]))?;
    fresh_memory_is_zero(&mut life, BALLOON)?;
    well_and_over(life, &before)
}

#[test]
fn a_kernel_that_clears_free_pages_finds_them_clear() -> Result<(), Failure> {
    let (life, before, counts) = sleep_and_wake("init-on-free", "init_on_free=1")?;
    assert_eq!(counts.free, 0, "{counts:?}");
    assert!(counts.zero * 4096 > FRESH, "{counts:?}");
    well_and_over(life, &before)
}

#[test]
fn a_kernel_that_poisons_free_pages_finds_its_poison() -> Result<(), Failure> {
    let (life, before, counts) = sleep_and_wake("page-poison", "page_poison=1")?;
    assert_eq!(counts.free, 0, "{counts:?}");
    well_and_over(life, &before)
}

/// A little life on a kernel with this on its command line, in which all memory
/// that was free is used after the wake-up.
fn sleep_and_wake(
    name: &str,
    command_line: &str,
) -> Result<(Life, checks::Baseline, Counts), Failure> {
    let options = Options { command_line: command_line.into(), ..Options::default() };
    let mut life = Life::begin(&Artefacts::from_environment()?, name, options)?;
    let before = life.fill(&Fill::light())?;
    let asleep = scenario::sleep(&mut life, &["--test-scribble", "--drop-caches"])?;
    let counts = scenario::image(&life)?.header(State::Valid)?.counts;
    scenario::wake(&mut life, &asleep, &before)?;
    fresh_memory_is_zero(&mut life, FRESH)?;
    Ok((life, before, counts))
}

/// Fills the balloon of a guest.
fn inflate_balloon(life: &mut Life) -> Result<(), Failure> {
    let left = life.options.memory() - BALLOON;
    let monitor = &mut life.machine()?.monitor;
    monitor.command("balloon", json!({ "value": left }))?;
    monitor.wait_for_event("a full balloon", "BALLOON_CHANGE", PATIENCE, |data| {
        (data["actual"] == json!(left)).then_some(())
    })?;
    Ok(())
}

/// Fills the page cache with what nobody uses.
fn cache_a_file(life: &mut Life) -> Result<(), Failure> {
    let file = format!("of={SECOND_DISK}/cached");
    let count = format!("count={}", CACHED >> 20);
    let dd = ["busybox", "dd", "if=/dev/urandom", "bs=1M", "conv=fsync", &file, &count];
    let ran = life.guest.run(&dd)?;
    Ok(life.logged(|_| scenario::said(&ran, 0, &[]))?)
}

/// Has the guest hand out free pages to a program, which must find them clear.
fn fresh_memory_is_zero(life: &mut Life, bytes: u64) -> Result<(), Failure> {
    let workload = Workload::Sparse { bytes, every: 1 << 20, seed: 1 };
    for verdict in life.guest.verdicts(Call::Start(workload))? {
        assert_eq!(verdict.fault, None, "{}", verdict.detail);
    }
    Ok(())
}

fn well_and_over(mut life: Life, before: &checks::Baseline) -> Result<(), Failure> {
    scenario::well(&mut life, before)?;
    life.finish()?;
    Ok(())
}
