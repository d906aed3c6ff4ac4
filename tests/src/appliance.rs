//! Disks of appliances, as `dormouse appliance build` makes them.

use crate::artefacts::Artefacts;
use crate::error::Error;
use crate::host_program;
use crate::qemu::Boot;
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
    /// UEFI firmware, by way of the `bootloader` crate's loader.
    Bootloader,
}

impl Appliance {
    /// The number of the target's partition.
    pub const IMAGE: u32 = 2;

    /// Where it begins, in bytes.
    pub const IMAGE_START: u64 = 65 << 20;

    fn name(self) -> &'static str {
        match self {
            Self::Efi => "efi",
            Self::Pvh => "pvh",
            Self::Grub => "grub",
            Self::Bootloader => "bootloader",
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
            "boot = {:?}\nkernel = {kernel:?}\ninitrd = {initramfs:?}\n\
             command-line = {command_line:?}\n\
             boot-partition.size = \"64M\"\nimage.memory = \"{memory_mib}M\"\n",
            self.name()
        );
        fs::write(&description, text).map_err(Error::host("writing a description"))?;
        let reader = artefacts.writer().parent().unwrap_or(Path::new("."));
        let mut build = Command::new(artefacts.cli());
        build.args(["appliance", "build"]).arg(&description).arg("-o").arg(disk);
        host_program::run(build.arg("--reader").arg(reader))?;
        Ok(match self {
            Self::Pvh => Boot::Writer(artefacts.writer().into()),
            Self::Efi | Self::Grub | Self::Bootloader => Boot::FirstDisk,
        })
    }
}
