//! Disks of appliances, as `dormouse appliance build` makes them.

use crate::artefacts::Artefacts;
use crate::entry::Entry;
use crate::error::Error;
use crate::host_program;
use crate::qemu::{Boot, Firmware};
use serde::Deserialize;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Who starts the reader of an appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appliance {
    /// UEFI firmware.
    Efi,
    /// The machine itself.
    Pvh,
    /// A BIOS, by way of GRUB.
    Grub,
    /// This firmware, a BIOS or UEFI, by way of the `bootloader` crate's loader. Its
    /// disk is the same for both.
    Bootloader(Firmware),
}

impl fmt::Display for Appliance {
    /// As `boot` in a description has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Efi => "efi",
            Self::Pvh => "pvh",
            Self::Grub => "grub",
            Self::Bootloader(_) => "bootloader",
        })
    }
}

/// What the builder says of a disk.
#[derive(Deserialize)]
pub(crate) struct Layout {
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    name: String,
    guid: String,
}

impl Layout {
    /// What Linux calls the partition of this name on its command line.
    pub(crate) fn for_linux(&self, name: &str) -> Result<String, Error> {
        let part = self.parts.iter().find(|part| part.name == name);
        let part = part.ok_or_else(|| Error::verdict(format!("the disk has no {name}")))?;
        Ok(format!("PARTUUID={}", part.guid))
    }
}

impl Appliance {
    /// The number of the target's partition.
    pub const IMAGE: u32 = 2;

    /// Where it begins, in bytes.
    pub fn image_start(self) -> u64 {
        match self {
            Self::Efi | Self::Pvh | Self::Grub => 65 << 20,
            Self::Bootloader(_) => 69 << 20,
        }
    }

    /// The firmware that it is for.
    pub fn firmware(self) -> Firmware {
        match self {
            Self::Efi => Firmware::Ovmf,
            Self::Pvh | Self::Grub => Firmware::SeaBios,
            Self::Bootloader(firmware) => firmware,
        }
    }

    /// What its machine has beside its disks, as QEMU's arguments.
    pub fn qemu_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Bootloader(firmware) => Entry::Bootloader(firmware).qemu_arguments(),
            Self::Efi | Self::Pvh | Self::Grub => &[],
        }
    }

    /// What its machine boots.
    pub(crate) fn boot(self, artefacts: &Artefacts) -> Boot {
        match self {
            Self::Pvh => Boot::Writer(artefacts.writer().into()),
            Self::Efi | Self::Grub | Self::Bootloader(_) => Boot::FirstDisk,
        }
    }

    /// Builds the disk of a machine with this much memory, and says what it boots.
    pub(crate) fn build(
        self,
        artefacts: &Artefacts,
        disk: &Path,
        kernel: &Path,
        initramfs: &Path,
        command_line: &str,
        memory_mib: u64,
    ) -> Result<Boot, Error> {
        let description = disk.with_extension("toml");
        let text = format!(
            "boot = \"{self}\"\nkernel = {kernel:?}\ninitrd = {initramfs:?}\n\
             command-line = {command_line:?}\n\
             boot-partition.size = \"64M\"\nimage.memory = \"{memory_mib}M\"\n"
        );
        fs::write(&description, text).map_err(Error::host("writing a description"))?;
        build(artefacts, &description, disk)?;
        Ok(self.boot(artefacts))
    }
}

/// Builds the disk that a description asks for.
pub(crate) fn build(
    artefacts: &Artefacts,
    description: &Path,
    disk: &Path,
) -> Result<Layout, Error> {
    let reader = artefacts.writer().parent().unwrap_or(Path::new("."));
    let mut build = Command::new(artefacts.cli());
    build.args(["--json", "appliance", "build"]).arg(description).arg("-o").arg(disk);
    let said = host_program::run(build.arg("--reader").arg(reader))?;
    serde_json::from_str(&said).map_err(|e| Error::host("what the builder said")(e))
}
