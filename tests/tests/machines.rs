//! The same round trip on machines of every kind.

use dormouse_tests::disk::Table;
use dormouse_tests::qemu::{Chipset, DiskKind, Fault, Layer};
use dormouse_tests::{Artefacts, Error, Failure, Fill, Life, Options, scenario};

fn round_trip(name: &str, options: Options) -> Result<(), Failure> {
    let fill = Fill::light();
    Ok(scenario::round_trip(name, options, &fill)?)
}

/// A round trip, and before it the driver's exercise on the real device, of which
/// one page cannot be read, and two ways to interrupt it while its queue is full: a
/// key, after which the driver stops the device, and an NMI, after which nobody asks
/// the driver.
fn exercise_and_round_trip(name: &str, options: Options) -> Result<(), Failure> {
    // A microvm delivers no NMI to the system.
    let interruptions = match options.chipset {
        Chipset::Microvm => &[scenario::KEY][..],
        Chipset::Pc | Chipset::Q35 => &[scenario::KEY, scenario::NMI],
    };
    let mut life = Life::begin(&Artefacts::from_environment()?, name, options)?;
    let before = life.fill(&Fill::light())?;
    exercise(&mut life)?;
    scenario::well(&mut life, &before)?;
    for interruption in interruptions {
        scenario::interrupt_writing(&mut life, &before, *interruption)?;
    }
    scenario::sleep_and_wake(&mut life, &before)?;
    life.finish()?;
    Ok(())
}

fn exercise(life: &mut Life) -> Result<(), Error> {
    // The last page of the two MiB that are exercised, of which QEMU counts
    // sectors of 512 bytes.
    let unreadable = (life.options.target_start() + (4 << 20) - 4096) / 512;
    life.machine()?.slip_in(0, Layer::Fails(Fault::ReadOf(unreadable)))?;
    let attempt = life.dormouse("rehearse", &["--no-write", "--test-exercise"])?;
    let ran = life.return_from(&attempt)?;
    life.machine()?.take_out(0)?;
    life.logged(|life| {
        scenario::said(&ran, 0, &["\"outcome\": \"done\""])?;
        let log = life.serial_log()?;
        let block = unreadable * 512 / u64::from(life.options.block_size);
        let error = format!("read at block {block}: ");
        for words in ["refused, and on after ", &error, "reset while it was busy"] {
            if !log.contains(words) {
                return Err(Error::verdict(format!("the writer did not say {words:?}")));
            }
        }
        Ok(())
    })
}

/// What writer and reader say of q35's configuration space, and of a microvm's.
const Q35_ECAM: &str = "PCI: configuration space of segment 0, buses 0 to 255, in memory at 0xb0";
const MICROVM_ECAM: &str =
    "PCI: configuration space of segment 0, buses 0 to 255, in memory at 0xe0";

/// What both say of an IOMMU that nobody has switched on.
const IOMMU: &str = "the IOMMU at 0xfed90000 does not translate";

#[test]
fn it_works_with_nvme_on_q35_and_an_iommu() -> Result<(), Failure> {
    let qemu = ["-device", "intel-iommu"].map(str::to_owned).to_vec();
    let options = Options { chipset: Chipset::Q35, qemu, ..Options::default() };
    let mut life = Life::begin(&Artefacts::from_environment()?, "nvme-q35", options)?;
    let before = life.fill(&Fill::light())?;
    exercise(&mut life)?;
    let asleep = scenario::sleep(&mut life, &[])?;
    let log = life.serial_log()?;
    assert!(log.contains(Q35_ECAM), "the writer goes by the ports");
    assert!(log.contains(IOMMU), "the writer did not look at the IOMMU");
    scenario::wake(&mut life, &asleep, &before)?;
    let log = life.serial_log()?;
    let reader = log.split_once("dormouse: reader").map_or("", |(_, reader)| reader);
    assert!(reader.contains(Q35_ECAM), "the reader goes by the ports");
    assert!(reader.contains(IOMMU), "the reader did not look at the IOMMU");
    life.finish()?;
    Ok(())
}

/// There are no ports to reach PCI by there. Nor does its firmware give PCI's
/// devices addresses, so a reader could not wake from one.
#[test]
fn an_image_is_written_to_pci_on_a_microvm() -> Result<(), Failure> {
    let options = Options {
        chipset: Chipset::Microvm,
        disk: DiskKind::Nvme,
        qemu: ["-machine", "pcie=on"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let mut life = Life::begin(&Artefacts::from_environment()?, "microvm-pcie", options)?;
    let before = life.fill(&Fill::light())?;
    let attempt = life.dormouse("rehearse", &[])?;
    let ran = life.return_from(&attempt)?;
    life.logged(|_| scenario::said(&ran, 0, &["\"outcome\": \"done\""]))?;
    scenario::well(&mut life, &before)?;
    assert!(life.serial_log()?.contains(MICROVM_ECAM), "the writer goes by the ports");
    life.finish()?;
    Ok(())
}

#[test]
fn it_works_with_virtio_blk_on_pc() -> Result<(), Failure> {
    exercise_and_round_trip(
        "virtio-blk-pc",
        Options { disk: DiskKind::VirtioBlk, ..Options::default() },
    )
}

#[test]
fn it_works_with_virtio_blk_on_q35() -> Result<(), Failure> {
    let chipset = Chipset::Q35;
    round_trip(
        "virtio-blk-q35",
        Options {
            disk: DiskKind::VirtioBlk,
            chipset,
            partition: Some(Table::Gpt),
            ..Options::default()
        },
    )
}

/// Where Debian's installer puts swap on machines with a BIOS.
#[test]
fn it_works_on_a_logical_partition() -> Result<(), Failure> {
    let partition = Some(Table::Extended);
    round_trip("logical", Options { disk: DiskKind::Ahci, partition, ..Options::default() })
}

#[test]
fn it_works_with_ahci_on_q35() -> Result<(), Failure> {
    let chipset = Chipset::Q35;
    exercise_and_round_trip(
        "ahci-q35",
        Options { disk: DiskKind::Ahci, chipset, ..Options::default() },
    )
}

#[test]
fn it_works_with_ahci_on_pc() -> Result<(), Failure> {
    round_trip(
        "ahci-pc",
        Options { disk: DiskKind::Ahci, partition: Some(Table::Gpt), ..Options::default() },
    )
}

#[test]
fn it_works_with_blocks_of_4096_bytes() -> Result<(), Failure> {
    exercise_and_round_trip("nvme-4096", Options { block_size: 4096, ..Options::default() })
}

#[test]
fn it_works_with_four_level_paging() -> Result<(), Failure> {
    round_trip("four-levels", Options { cpu: "max,la57=off".into(), ..Options::default() })
}

#[test]
fn it_works_on_an_old_processor() -> Result<(), Failure> {
    round_trip("qemu64", Options { cpu: "qemu64".into(), ..Options::default() })
}

#[test]
fn it_works_with_one_processor() -> Result<(), Failure> {
    round_trip("one-processor", Options { cpus: 1, ..Options::default() })
}

#[test]
fn it_works_across_the_hole_below_four_gibibytes() -> Result<(), Failure> {
    let options = Options { memory_mib: 6 << 10, ..Options::default() };
    let fill = Fill::spread_over(options.memory());
    Ok(scenario::round_trip("six-gibibytes", options, &fill)?)
}

/// kexec-tools leaves out the last page of a range of memory of what it is asked
/// to register, where it is told of memory by /proc/iomem.
#[test]
fn it_works_where_memory_ends_with_the_window() -> Result<(), Failure> {
    // Now and then Linux has something of its own there, for as long as it runs.
    for _ in 0..3 {
        if round_trip_at_the_end_of_memory()? {
            return Ok(());
        }
    }
    Err(Error::verdict("the window never lay at the end of memory").into())
}

/// A round trip; whether the window lay at the end of memory.
fn round_trip_at_the_end_of_memory() -> Result<bool, Failure> {
    let options = Options { command_line: "mem=960M nokaslr".into(), ..Options::default() };
    let mut life = Life::begin(&Artefacts::from_environment()?, "memory-end", options)?;
    // The firmware's own map, which kexec-tools would rather read, ends later.
    let hide = "mkdir /tmp/firmware && mount --bind /sys/firmware /tmp/firmware \
        && mount -t tmpfs none /sys/firmware && mkdir /sys/firmware/acpi \
        && mount --bind /tmp/firmware/acpi /sys/firmware/acpi";
    let ran = life.guest.run(&["busybox", "sh", "-c", hide])?;
    life.logged(|_| scenario::said(&ran, 0, &[]))?;
    let before = life.fill(&Fill::light())?;
    let asleep = scenario::sleep(&mut life, &["--test-move"])?;
    scenario::wake(&mut life, &asleep, &before)?;
    let at_the_end = life.serial_log()?.contains("-0x3bffffff");
    life.finish()?;
    Ok(at_the_end)
}

/// On a microvm: no PCI, and registers of this version of virtio-mmio.
fn microvm(name: &str, more: &[&str]) -> Result<(), Failure> {
    let options = Options {
        chipset: Chipset::Microvm,
        disk: DiskKind::VirtioBlk,
        qemu: more.iter().map(|word| (*word).to_owned()).collect(),
        ..Options::default()
    };
    exercise_and_round_trip(name, options)
}

#[test]
fn it_works_on_a_microvm() -> Result<(), Failure> {
    microvm("microvm", &["-global", "virtio-mmio.force-legacy=false"])
}

/// Linux does not drive the 8259 there, and firmware does not set them up: what they
/// would deliver is an exception to Linux. Which of them firmware has taken the first
/// interrupts of is a matter of time, so what is looked at is what holds them back.
#[test]
fn a_microvm_wakes_with_its_8259_masked() -> Result<(), Failure> {
    let (chipset, disk) = (Chipset::Microvm, DiskKind::VirtioBlk);
    let options = Options { chipset, disk, ..Options::default() };
    let mut life = Life::begin(&Artefacts::from_environment()?, "microvm-8259", options)?;
    let before = life.fill(&Fill::light())?;
    scenario::sleep_and_wake(&mut life, &before)?;
    let told = life.machine()?.monitor.info("pic")?;
    for [which, mask] in [["pic0: ", " imr=fb "], ["pic1: ", " imr=ff "]] {
        let line = told.lines().find(|line| line.starts_with(which)).unwrap_or_default();
        assert!(line.contains(mask), "not masked: {told}");
    }
    life.finish()?;
    Ok(())
}

#[test]
fn it_works_on_a_microvm_with_legacy_devices() -> Result<(), Failure> {
    microvm("microvm-legacy", &[])
}
