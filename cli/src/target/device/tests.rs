use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// A sysfs made of files.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn system(&self) -> System {
        System::below(self.0.path())
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// A disk of so many sectors, with the number 8:0.
    fn disk(&self, folder: &str, sectors: u64, block_size: u32) -> &Self {
        self.file(&format!("{folder}/size"), &format!("{sectors}\n"))
            .file(&format!("{folder}/ro"), "0\n")
            .file(&format!("{folder}/queue/logical_block_size"), &format!("{block_size}\n"))
            .link("sys/dev/block/8:0", &format!("../../../{folder}"))
    }

    fn device(&self) -> Result<Device, DeviceError> {
        Device::numbered(&self.system(), Path::new("/dev/x"), (8, 0))
    }
}

const NVME: &str = "sys/devices/pci0000:00/0000:00:1d.0/0000:3d:00.0/nvme/nvme0";

#[test]
fn an_nvme_namespace_is_found_behind_its_bridge() {
    let tree = Tree::new();
    let disk = format!("{NVME}/nvme0n1");
    tree.disk(&disk, 2048, 512)
        .file(&format!("{disk}/nsid"), "1\n")
        .file(&format!("{NVME}/serial"), "S4EWNX0  \n")
        .link(&format!("{disk}/device"), "..");
    let device = tree.device().unwrap();
    assert_eq!(device.transport, Transport::Nvme);
    assert_eq!(device.address.to_string(), "0000:3d:00.0");
    assert_eq!((device.unit, device.serial.as_str()), (1, "S4EWNX0"));
    assert_eq!((device.disk_blocks, device.extent.blocks), (2048, 2048));
    assert!(!device.is_partition());
}

#[test]
fn a_partition_has_its_own_blocks_on_its_disk() {
    let tree = Tree::new();
    let disk = format!("{NVME}/nvme0n1");
    tree.disk(&disk, 16384, 4096)
        .file(&format!("{disk}/nsid"), "2\n")
        .file(&format!("{disk}/nvme0n1p3/partition"), "3\n")
        .file(&format!("{disk}/nvme0n1p3/start"), "2048\n")
        .file(&format!("{disk}/nvme0n1p3/size"), "4096\n")
        .link("sys/dev/block/259:3", &format!("../../../{disk}/nvme0n1p3"));
    let device = Device::numbered(&tree.system(), Path::new("/dev/x"), (259, 3)).unwrap();
    assert_eq!((device.name.as_str(), device.disk.as_str()), ("nvme0n1p3", "nvme0n1"));
    assert_eq!(device.extent, Extent { start: Lba(256), blocks: 512 });
    assert_eq!(device.disk_blocks, 2048);
    assert_eq!(device.bytes(), 4096 * 512);
}

#[test]
fn a_partition_that_splits_a_page_ends_before_it() {
    let tree = Tree::new();
    let disk = format!("{NVME}/nvme0n1");
    tree.disk(&disk, 1003, 512).file(&format!("{disk}/nsid"), "1\n");
    assert_eq!(tree.device().unwrap().extent.blocks, 1000);
}

#[test]
fn with_native_multipath_the_subsystem_names_the_controller() {
    let tree = Tree::new();
    let subsystem = "sys/devices/virtual/nvme-subsystem/nvme-subsys0";
    let disk = format!("{subsystem}/nvme0n1");
    tree.disk(&disk, 2048, 512)
        .file(&format!("{disk}/nsid"), "1\n")
        .file(&format!("{subsystem}/serial"), "S1\n")
        .link(&format!("{disk}/device"), "..")
        .file(&format!("{NVME}/cntlid"), "0\n")
        .link(
            &format!("{subsystem}/nvme0"),
            "../../../pci0000:00/0000:00:1d.0/0000:3d:00.0/nvme/nvme0",
        );
    let device = tree.device().unwrap();
    assert_eq!(device.address.to_string(), "0000:3d:00.0");
    assert_eq!(device.serial, "S1");
}

#[test]
fn a_virtio_disk_is_found() {
    let tree = Tree::new();
    let disk = "sys/devices/pci0000:00/0000:00:05.0/virtio1/block/vda";
    tree.disk(disk, 2048, 512).file(&format!("{disk}/serial"), "dormouse");
    let device = tree.device().unwrap();
    assert_eq!((device.transport, device.unit), (Transport::VirtioBlk, 0));
    assert_eq!(device.serial, "dormouse");
}

#[test]
fn a_virtio_disk_without_a_bus_is_found_by_its_registers() {
    let tree = Tree::new();
    let disk = "sys/devices/platform/LNRO0005:17/virtio0/block/vda";
    tree.disk(disk, 2048, 512).file(&format!("{disk}/serial"), "dormouse");
    assert_eq!(tree.device(), Err(DeviceError::Attribute("registers in /proc/iomem")));
    let resources = "feb02c00-feb02dff : LNRO0005:16\nfeb02e00-feb02fff : LNRO0005:17\n";
    tree.file("proc/iomem", resources);
    let device = tree.device().unwrap();
    assert_eq!(device.transport, Transport::VirtioMmio);
    assert_eq!(device.plan_target().mmio, 0xfeb0_2e00);
    assert_eq!(device.serial, "dormouse");
}

/// An AHCI disk whose controller has this driver.
fn ata_disk(driver: &str) -> Tree {
    let tree = Tree::new();
    let controller = "sys/devices/pci0000:00/0000:00:1f.2";
    let disk = format!("{controller}/ata3/host2/target2:0:0/2:0:0:0/block/sda");
    tree.disk(&disk, 2048, 512)
        .link(&format!("{controller}/driver"), &format!("../../../bus/pci/drivers/{driver}"))
        .file(&format!("{controller}/ata3/ata_port/ata3/port_no"), "3\n")
        .file(&format!("{disk}/device/vpd_pg80"), "\0\u{0}\0\u{14}             QM00001");
    tree
}

#[test]
fn an_ahci_port_counts_from_zero() {
    let device = ata_disk("ahci").device().unwrap();
    assert_eq!((device.transport, device.unit), (Transport::Ahci, 2));
    assert_eq!(device.serial, "QM00001");
    assert_eq!(device.address.to_string(), "0000:00:1f.2");
}

#[test]
fn other_controllers_are_named() {
    assert_eq!(ata_disk("ata_piix").device(), Err(DeviceError::Controller("ata_piix".into())));
}

#[test]
fn other_kinds_are_named() {
    let kinds = [
        ("virtual/block/dm-0", "a device-mapper device (LVM, dm-crypt)"),
        ("virtual/block/md127", "a Linux RAID array"),
        ("virtual/block/loop3", "a loop device"),
        ("virtual/block/zram0", "memory (zram)"),
        (
            "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb",
            "a USB device",
        ),
        (
            "pci0000:00/0000:00:03.0/virtio0/host0/target0:0:0/0:0:0:0/block/sda",
            "a virtio-scsi disk",
        ),
        ("pci0000:00/0000:00:1a.0/mmc_host/mmc0/mmc0:0001/block/mmcblk0", "an SD card or eMMC"),
    ];
    for (folder, kind) in kinds {
        let tree = Tree::new();
        tree.disk(&format!("sys/devices/{folder}"), 2048, 512);
        assert_eq!(tree.device(), Err(DeviceError::Kind(kind)), "{folder}");
    }
}

#[test]
fn a_read_only_or_odd_disk_is_refused() {
    let tree = Tree::new();
    let disk = "sys/devices/pci0000:00/0000:00:05.0/virtio1/block/vda";
    tree.disk(disk, 2048, 520);
    assert_eq!(tree.device(), Err(DeviceError::BlockSize(520)));
    tree.file(&format!("{disk}/ro"), "1\n");
    assert_eq!(tree.device(), Err(DeviceError::ReadOnly));
}

#[test]
fn a_path_that_leads_elsewhere_and_a_partition_that_was_moved_are_noticed() {
    let tree = Tree::new();
    let disk = format!("{NVME}/nvme0n1");
    let part = format!("{disk}/nvme0n1p1");
    tree.disk(&disk, 4096, 512)
        .file(&format!("{disk}/nsid"), "1\n")
        .file(&format!("{part}/partition"), "1\n")
        .file(&format!("{part}/start"), "1024\n")
        .file(&format!("{part}/size"), "2048\n")
        .link("sys/dev/block/8:1", &format!("../../../{part}"));
    let device = Device::numbered(&tree.system(), Path::new("/dev/x"), (8, 1)).unwrap();
    assert!(device.is_still_at(&tree.system(), (8, 1)));
    assert!(!device.is_still_at(&tree.system(), (8, 0)));
    assert!(!device.is_still_at(&tree.system(), (0, 0)));
    tree.file(&format!("{part}/size"), "1024\n");
    assert!(!device.is_still_at(&tree.system(), (8, 1)));
}
