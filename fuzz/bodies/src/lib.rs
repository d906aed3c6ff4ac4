//! What the fuzz targets do with their bytes, and the seeds they begin with.
//!
//! `cargo xtask fuzz` runs each body under libFuzzer, which needs a nightly
//! compiler; `cargo test -p dormouse-fuzz-bodies` runs the same bodies over the
//! seeds and changed seeds, the same ones every time.
//!
//! A body must not panic, whatever its bytes, unless something is broken.

mod boot;
mod bytes;
mod devices;
mod firmware;
mod handoff;
mod linux;
mod two_way;

/// A body and its seeds.
pub struct Target {
    /// Its name, which is that of the file under `fuzz/fuzz_targets/`.
    pub name: &'static str,
    /// The body.
    pub run: fn(&[u8]),
    /// What a corpus begins with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "plan", run: handoff::plan, seeds: handoff::plan_seeds },
    Target {
        name: "image_header_table",
        run: handoff::image_header_table,
        seeds: handoff::image_header_table_seeds,
    },
    Target { name: "vmcoreinfo", run: linux::vmcoreinfo, seeds: linux::vmcoreinfo_seeds },
    Target { name: "page_set", run: linux::page_set, seeds: linux::page_set_seeds },
    Target { name: "iomem", run: linux::iomem, seeds: linux::iomem_seeds },
    Target { name: "kcore", run: linux::kcore, seeds: linux::kcore_seeds },
    Target { name: "elf_stamp", run: linux::elf_stamp, seeds: linux::elf_stamp_seeds },
    Target { name: "acpi", run: firmware::acpi, seeds: firmware::acpi_seeds },
    Target { name: "fat", run: boot::fat, seeds: boot::fat_seeds },
    Target { name: "bzimage", run: boot::bzimage, seeds: boot::bzimage_seeds },
    Target { name: "pci", run: firmware::pci, seeds: firmware::pci_seeds },
    Target {
        name: "nvme_identify",
        run: devices::nvme_identify,
        seeds: devices::nvme_identify_seeds,
    },
    Target {
        name: "ahci_identify",
        run: devices::ahci_identify,
        seeds: devices::ahci_identify_seeds,
    },
    Target {
        name: "virtio_config",
        run: devices::virtio_config,
        seeds: devices::virtio_config_seeds,
    },
    Target { name: "nvme_two_way", run: two_way::nvme, seeds: two_way::seeds },
    Target { name: "ahci_two_way", run: two_way::ahci, seeds: two_way::seeds },
    Target { name: "virtio_blk_two_way", run: two_way::virtio_blk, seeds: two_way::seeds },
];

/// The target with this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
