//! The same round trip on machines of every kind.

use dormouse_tests::qemu::{Chipset, DiskKind};
use dormouse_tests::{Failure, Fill, Options, scenario};

fn round_trip(name: &str, options: Options) -> Result<(), Failure> {
    let fill = Fill::light();
    Ok(scenario::round_trip(name, options, &fill)?)
}

#[test]
fn it_works_with_nvme_on_q35() -> Result<(), Failure> {
    round_trip("nvme-q35", Options { chipset: Chipset::Q35, ..Options::default() })
}

#[test]
fn it_works_with_virtio_blk_on_pc() -> Result<(), Failure> {
    round_trip("virtio-blk-pc", Options { disk: DiskKind::VirtioBlk, ..Options::default() })
}

#[test]
fn it_works_with_virtio_blk_on_q35() -> Result<(), Failure> {
    let chipset = Chipset::Q35;
    round_trip(
        "virtio-blk-q35",
        Options { disk: DiskKind::VirtioBlk, chipset, ..Options::default() },
    )
}

#[test]
fn it_works_with_ahci_on_q35() -> Result<(), Failure> {
    let chipset = Chipset::Q35;
    round_trip("ahci-q35", Options { disk: DiskKind::Ahci, chipset, ..Options::default() })
}

#[test]
fn it_works_with_ahci_on_pc() -> Result<(), Failure> {
    round_trip("ahci-pc", Options { disk: DiskKind::Ahci, ..Options::default() })
}

#[test]
fn it_works_with_blocks_of_4096_bytes() -> Result<(), Failure> {
    round_trip("nvme-4096", Options { block_size: 4096, ..Options::default() })
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
