//! What the path of a disk in sysfs tells: the chain of devices that it hangs
//! on, for example
//! `/sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1`.

use super::DeviceError;
use crate::linux::iomem;
use crate::system::System;
use dormouse_handoff::plan::{Address, PciAddress, Transport};
use std::path::{Path, PathBuf};

/// Where a disk hangs, and as which of its controller's.
pub struct Place {
    pub transport: Transport,
    pub address: Address,
    pub unit: u32,
    pub serial: String,
}

impl Place {
    /// The place of the disk whose folder in sysfs is `disk`.
    pub fn find(system: &System, disk: &Path) -> Result<Self, DeviceError> {
        let through = controller_path(system, disk)?;
        let parts: Vec<&str> = through.iter().filter_map(|part| part.to_str()).collect();
        let Some(at) = parts.iter().rposition(|part| is_pci(part)) else {
            return Self::without_pci(system, disk, &parts);
        };
        let pci = pci_address(parts[at])
            .ok_or(DeviceError::Kind("behind a PCI segment above 65535 (Intel VMD)"))?;
        let below = &parts[at + 1..];
        let controller: PathBuf = parts[..=at].iter().collect();
        let driver = system.link_name(controller.join("driver")).unwrap_or_default();
        let transport = transport(below, &driver)?;
        let (unit, serial) = match transport {
            Transport::Nvme => (
                attribute(system, disk, "nsid")?,
                system.line(disk.join("device/serial")).unwrap_or_default(),
            ),
            Transport::VirtioBlk | Transport::VirtioMmio => (0, virtio_serial(system, disk)),
            Transport::Ahci => {
                let port = controller.join(below[0]).join("ata_port").join(below[0]);
                if system.number(port.join("nr_pmp_links")).is_some_and(|links| links > 0) {
                    return Err(DeviceError::Kind("behind a SATA port multiplier"));
                }
                // The kernel counts ports from 1 here.
                let unit = attribute(system, &port, "port_no")?.checked_sub(1);
                (unit.ok_or(DeviceError::Attribute("port_no"))?, ata_serial(system, disk))
            }
        };
        Ok(Self { transport, address: Address::Pci(pci), unit, serial })
    }

    /// A disk whose controller is no PCI device: of those, virtio-mmio is known,
    /// `/sys/devices/platform/LNRO0005:17/virtio0/block/vda`.
    fn without_pci(system: &System, disk: &Path, parts: &[&str]) -> Result<Self, DeviceError> {
        let [.., controller, virtio, "block", _] = parts else {
            return Err(DeviceError::Kind(kind_without_pci(parts)));
        };
        if !virtio.starts_with("virtio") || !parts.contains(&"platform") {
            return Err(DeviceError::Kind(kind_without_pci(parts)));
        }
        let resources = system.text("/proc/iomem").unwrap_or_default();
        let start = iomem::start_of(&resources, controller);
        let start = start.ok_or(DeviceError::Attribute("registers in /proc/iomem"))?;
        if start.0 > u64::from(u32::MAX) {
            return Err(DeviceError::Kind("a virtio-mmio disk with registers above 4 GiB"));
        }
        let serial = virtio_serial(system, disk);
        Ok(Self {
            transport: Transport::VirtioMmio,
            address: Address::Mmio(start),
            unit: 0,
            serial,
        })
    }
}

/// The path from which to read the controller. With native NVMe multipath, the
/// disk itself is virtual and its subsystem names the controllers.
fn controller_path(system: &System, disk: &Path) -> Result<PathBuf, DeviceError> {
    let subsystem = disk.parent().filter(|parent| {
        parent.parent().is_some_and(|above| above.ends_with("virtual/nvme-subsystem"))
    });
    let Some(subsystem) = subsystem else { return Ok(disk.to_owned()) };
    let names = system.names(subsystem);
    let mut controllers = names
        .iter()
        .filter(|name| name.strip_prefix("nvme").is_some_and(|n| n.parse::<u32>().is_ok()))
        .filter_map(|name| system.resolve(subsystem.join(name)));
    let first = controllers.next().ok_or(DeviceError::Attribute("nvme-subsystem"))?;
    match controllers.next() {
        None => Ok(first),
        Some(_) => Err(DeviceError::Kind("an NVMe namespace with several paths")),
    }
}

fn transport(below: &[&str], driver: &str) -> Result<Transport, DeviceError> {
    let starts = |index: usize, prefix: &str| {
        below.get(index).is_some_and(|part: &&str| part.starts_with(prefix))
    };
    if below.iter().any(|part| part.starts_with("usb")) {
        return Err(DeviceError::Kind("a USB device"));
    }
    match () {
        () if starts(0, "nvme") => Ok(Transport::Nvme),
        () if starts(0, "virtio") && starts(1, "block") => Ok(Transport::VirtioBlk),
        () if starts(0, "virtio") => Err(DeviceError::Kind("a virtio-scsi disk")),
        () if starts(0, "ata") && driver == "ahci" => Ok(Transport::Ahci),
        () if starts(0, "mmc_host") => Err(DeviceError::Kind("an SD card or eMMC")),
        () => Err(DeviceError::Controller(driver.to_owned())),
    }
}

fn kind_without_pci(parts: &[&str]) -> &'static str {
    let disk = parts.last().copied().unwrap_or_default();
    const KINDS: [(&str, &str); 8] = [
        ("dm-", "a device-mapper device (LVM, dm-crypt)"),
        ("md", "a Linux RAID array"),
        ("loop", "a loop device"),
        ("zram", "memory (zram)"),
        ("ram", "memory (a RAM disk)"),
        ("nbd", "a network block device"),
        ("rbd", "a network block device"),
        ("nvme", "NVMe over a network"),
    ];
    let known = KINDS.iter().find(|(prefix, _)| disk.starts_with(prefix));
    known.map_or("not on PCI", |(_, kind)| kind)
}

/// Whether a part of a path is a PCI function: `0000:00:04.0`.
fn is_pci(part: &str) -> bool {
    split_pci(part).is_some()
}

fn split_pci(part: &str) -> Option<(u32, u8, u8, u8)> {
    let mut fields = part.split(':');
    let (segment, bus, rest) = (fields.next()?, fields.next()?, fields.next()?);
    let (device, function) = rest.split_once('.')?;
    if fields.next().is_some() || segment.len() < 4 || bus.len() != 2 || device.len() != 2 {
        return None;
    }
    let byte = |text| u8::from_str_radix(text, 16).ok();
    let device = byte(device).filter(|device| *device < 32)?;
    let function = byte(function).filter(|function| *function < 8)?;
    Some((u32::from_str_radix(segment, 16).ok()?, byte(bus)?, device, function))
}

fn pci_address(part: &str) -> Option<PciAddress> {
    let (segment, bus, device, function) = split_pci(part)?;
    let segment = u16::try_from(segment).ok()?;
    Some(PciAddress { segment, bus, device, function, reserved: [0; 3] })
}

fn virtio_serial(system: &System, disk: &Path) -> String {
    system.line(disk.join("serial")).unwrap_or_default()
}

fn attribute(system: &System, folder: &Path, name: &'static str) -> Result<u32, DeviceError> {
    let number = system.number(folder.join(name));
    number.and_then(|n| u32::try_from(n).ok()).ok_or(DeviceError::Attribute(name))
}

/// An ATA disk's serial number by way of the SCSI page that libata makes of it
/// (SPC-4 §7.8.15: four bytes of header, then the number).
fn ata_serial(system: &System, disk: &Path) -> String {
    let page = system.bytes(disk.join("device/vpd_pg80")).unwrap_or_default();
    let serial = page.get(4..).unwrap_or_default();
    String::from_utf8_lossy(serial).trim_matches(['\0', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_functions_are_told_from_other_parts() {
        let pci = pci_address("0000:3b:1f.7").unwrap();
        assert_eq!(pci.to_string(), "0000:3b:1f.7");
        for part in ["pci0000:00", "0:0:0:0", "0000:00:20.0", "0000:00:04.8", "ata1"] {
            assert!(!is_pci(part), "{part}");
        }
        assert!(is_pci("10000:e1:00.0"));
        assert_eq!(pci_address("10000:e1:00.0"), None, "VMD's segments are wider");
    }
}
