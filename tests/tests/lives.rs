//! Lives with more than one sleep, and images with less than one.

use dormouse_guest::protocol::Call;
use dormouse_handoff::image::State;
use dormouse_handoff::units::{PageRange, Pfn};
use dormouse_tests::disk::Table;
use dormouse_tests::qemu::{self, Fault, Layer, Machine};
use dormouse_tests::scenario;
use dormouse_tests::{Artefacts, BEFORE_POWER, BEFORE_WRITE, Failure, Fill, Life, Options};

fn begin(name: &str, options: Options) -> Result<Life, Failure> {
    Ok(Life::begin(&Artefacts::from_environment()?, name, options)?)
}

/// Where its ELF file asks to be loaded (`LOAD_BASE` and `WINDOW` in
/// writer-kernel/link.ld): by PVH the reader begins there.
const READER: PageRange = PageRange { start: Pfn(0x6000), pages: 512 };

/// The first time the image's window is where the reader begins. The second time it
/// has to move, and both of its passes, the measured one too, go over the place that
/// it left.
#[test]
fn a_life_may_sleep_twice() -> Result<(), Failure> {
    // Else the old kernel itself may lie there.
    let options = Options { command_line: "nokaslr".into(), ..Options::default() };
    let mut life = begin("sleeps-twice", options)?;
    // So much that what lies there is in use.
    let fill = Fill { patterned: life.options.memory() / 5 * 3, ..Fill::light() };
    let before = life.fill(&fill)?;
    let begins = format!("at {READER}, entered by Pvh");
    let first = scenario::sleep_and_wake(&mut life, &before)?;
    let log = life.serial_log()?;
    assert!(log.contains(&begins), "the reader was not loaded there");
    assert!(!log.contains("moving to"), "the reader had to move");
    let asleep = scenario::sleep(&mut life, &["--test-measure", "--test-move"])?;
    let image = scenario::image(&life)?;
    let second = image.header(State::Valid)?;
    assert_ne!(first.id, second.id, "two images of one identity");
    let stored = image.stored_in(State::Valid, READER)?;
    assert_eq!(stored, READER.pages, "not all that lies at {READER} is in the image");
    let written = log.len();
    scenario::wake(&mut life, &asleep, &before)?;
    let log = life.serial_log()?.split_off(written);
    assert!(log.contains(&begins) && log.contains("moving to"), "the reader did not move");
    assert!(log.contains("measured device"), "the reader did not read all a second time");
    life.finish()?;
    Ok(())
}

#[test]
fn the_image_is_the_memory_that_qemu_saw() -> Result<(), Failure> {
    let mut life = begin("image-is-memory", Options::default())?;
    let before = life.fill(&Fill::for_memory(life.options.memory()))?;
    let waits = ["--test-wait", "before-write", "--test-wait", "before-power"];
    let attempt = life.hibernate(&waits)?;
    let (chipset, memory) = (life.options.chipset, life.options.memory());
    let mut dumps = Vec::new();
    for (line, name) in [(BEFORE_WRITE, "before.raw"), (BEFORE_POWER, "after.raw")] {
        life.standstill(&attempt, line)?;
        let dump = life.folder.join(name);
        let machine = life.machine()?;
        qemu::dump_memory(&mut machine.monitor, chipset, memory, &dump)?;
        machine.console.type_keys(" ")?;
        dumps.push(dump);
    }
    let asleep = life.fall_asleep(attempt)?;
    let image = scenario::image(&life)?;
    // Equal to both: so the writer changed nothing that it saved.
    let before_write = image.compare(&dumps[0])?;
    let after_commit = image.compare(&dumps[1])?;
    assert_eq!(before_write, after_commit);
    assert!(before_write.stored > 0 && before_write.zero > 0, "{before_write:?}");
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(())
}

#[test]
fn an_image_is_woken_once_and_never_again() -> Result<(), Failure> {
    let mut life = begin("once", Options::default())?;
    let before = life.fill(&Fill::light())?;
    let asleep = scenario::sleep(&mut life, &[])?;
    scenario::wake(&mut life, &asleep, &before)?;
    life.cut_power();
    let reader = life.reader();
    life.be_refused(&reader, "the image is consumed, not valid")?;
    Ok(life.abandon()?)
}

/// Where the reader gives up, another Linux may come up and give up what sleeps.
#[test]
fn a_disk_that_fails_once_while_it_is_read_wakes_all_the_same() -> Result<(), Failure> {
    /// Behind header, plan and count of attempts.
    const READ: u32 = 12;
    let mut life = begin("fails-once", Options::default())?;
    let before = life.fill(&Fill::light())?;
    let asleep = scenario::sleep(&mut life, &[])?;
    let mut reader = life.reader();
    reader.paused = true;
    let (mut machine, line) = Machine::start(&reader, &life.folder)?;
    machine.slip_in(0, Layer::Fails(Fault::Read(READ)))?;
    machine.go()?;
    life.woken_on(machine, line, &asleep)?;
    let log = life.serial_log()?;
    let reader = log.split_once("dormouse: reader").map_or("", |(_, reader)| reader);
    assert!(reader.contains("trying once more"), "no read failed: {reader}");
    life.machine()?.take_out(0)?;
    scenario::well(&mut life, &before)?;
    life.finish()?;
    Ok(())
}

#[test]
fn an_image_cut_off_by_a_power_failure_is_not_woken() -> Result<(), Failure> {
    let mut life = begin("power-failure", Options::default())?;
    life.fill(&Fill::light())?;
    let attempt = life.hibernate(&["--test-wait", "before-write"])?;
    life.standstill(&attempt, BEFORE_WRITE)?;
    life.cut_power();
    let reader = life.reader();
    life.be_refused(&reader, "no disk carries an image to wake")?;
    Ok(life.abandon()?)
}

#[test]
fn a_swap_partition_is_swap_again_after_the_wake_up() -> Result<(), Failure> {
    let options = Options { partition: Some(Table::Gpt), ..Options::default() };
    let mut life = begin("swap-partition", options)?;
    let before = life.fill(&Fill::light())?;
    let target = life.target()?;
    let ran = life.guest.run(&["mkswap", "-L", "winter", &target])?;
    life.logged(|_| scenario::said(&ran, 0, &[]))?;
    // Not the priority that Linux gives by itself.
    life.guest.call(Call::SwapOn { device: target.clone(), priority: 7 })?;
    // Label and UUID are in the first page.
    let priority = |swaps: &str| -> Option<String> {
        Some(swaps.lines().last()?.split_whitespace().last()?.to_owned())
    };
    let priority_before = priority(&life.guest.run(&["cat", "/proc/swaps"])?.stdout);
    assert_eq!(priority_before.as_deref(), Some("7"));
    let synced = life.guest.run(&["sync"])?;
    life.logged(|_| scenario::said(&synced, 0, &[]))?;
    let first_page = life.target_page(0)?;
    let asleep = scenario::sleep(&mut life, &["--wipe"])?;
    let swapon = life.beside(|guest| guest.run(&["swapon", &target]))?;
    assert_ne!(swapon.code, Some(0), "swapon took a partition that holds an image");
    let header = scenario::image(&life)?.header(State::Valid)?;
    scenario::wake(&mut life, &asleep, &before)?;
    let swaps = life.guest.run(&["cat", "/proc/swaps"])?;
    life.logged(|_| scenario::said(&swaps, 0, &[&target]))?;
    assert_eq!(priority(&swaps.stdout), priority_before, "{}", swaps.stdout);
    assert!(life.target_page(0)? == first_page, "another first page than before");
    let data = header.layout().data.offset / 4096;
    assert!(life.target_page(data)?.iter().all(|byte| *byte == 0), "the image was not wiped");
    life.finish()?;
    Ok(())
}

/// Linux's own threads write, frozen programs or not, and would keep it for ever from
/// taking the last processor of a disk's queue offline (docs/doors.md).
#[test]
fn a_disk_that_linux_itself_writes_to_keeps_nobody_from_sleeping() -> Result<(), Failure> {
    const BUSY: &str = "> /busy; (while [ -e /busy ]; do \
                        dd if=/dev/zero of=/mnt/busy bs=64k count=256 conv=notrunc; \
                        done) > /dev/null 2>&1 &";
    const NOT_BUSY: &str = "rm /busy; while pidof dd; do :; done";
    // Runs all the time, on the second processor alone.
    const BOUND: &str = "taskset -c 1 sh -c 'while :; do :; done' > /dev/null 2>&1 & echo $!";
    let mut life = begin("linux-writes", Options { cpus: 4, ..Options::default() })?;
    let before = life.fill(&Fill::light())?;
    let disk = life.guest.text(Call::FindDisk { serial: Life::SECOND_SERIAL.into() })?;
    let target = life.target()?;
    let queue = format!("/sys/block/{}/queue", disk.replace("/dev/", ""));
    for (path, contents) in [
        // A page a request and few at a time, so that far more is dirty than under way.
        (format!("{queue}/max_sectors_kb"), "4"),
        (format!("{queue}/nr_requests"), "4"),
        // Nothing is dirty for long.
        ("/proc/sys/vm/dirty_background_bytes".to_owned(), "4096"),
    ] {
        life.guest.call(Call::Write { path, contents: contents.into() })?;
    }
    let busy = life.guest.run(&["sh", "-c", BUSY])?;
    life.logged(|_| scenario::said(&busy, 0, &[]))?;
    let bound = life.guest.run(&["sh", "-c", BOUND])?.stdout;
    let affinity = ["taskset", "-p", bound.trim()];
    let before_sleep = life.guest.run(&affinity)?;
    life.logged(|_| scenario::said(&before_sleep, 0, &["mask: 2"]))?;
    let ran = life.guest.run(&["dormouse", "check"])?;
    life.logged(|_| scenario::said(&ran, 0, &["all but one are offline around the sleep"]))?;
    // Three ways to the jump, since a lucky one finds the queues empty.
    for _ in 0..2 {
        let ran = life.guest.run(&["dormouse", "rehearse", "--no-write", "--target", &target])?;
        life.logged(|_| scenario::said(&ran, 0, &[]))?;
    }
    scenario::sleep_and_wake(&mut life, &before)?;
    assert_eq!(life.guest.run(&affinity)?, before_sleep, "bound to another processor");
    life.guest.run(&["sh", "-c", NOT_BUSY])?;
    life.finish()?;
    Ok(())
}

#[test]
fn a_discarded_image_is_not_woken() -> Result<(), Failure> {
    let mut life = begin("discarded", Options::default())?;
    life.fill(&Fill::light())?;
    let target = life.target()?;
    scenario::sleep(&mut life, &[])?;
    // Another system on this machine: it must not sleep as well, on any disk.
    let asleep = format!("another system sleeps on {target}");
    let runs = [
        (&["dormouse", "inspect", &target][..], 0, "valid"),
        (&["dormouse", "check"], 3, &asleep),
        (&["dormouse", "hibernate", "--target", "/dev/vda"], 3, &asleep),
        (&["dormouse", "discard", &target], 0, ""),
        (&["dormouse", "check"], 0, "this machine can sleep"),
    ];
    let ran: Vec<_> = life.beside(|guest| runs.iter().map(|run| guest.run(run.0)).collect())?;
    for ((_, code, words), ran) in runs.iter().zip(&ran) {
        life.logged(|_| scenario::said(ran, *code, &[words]))?;
    }
    let reader = life.reader();
    life.be_refused(&reader, "the image is discarded, not valid")?;
    Ok(life.abandon()?)
}
