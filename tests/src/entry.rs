//! How a reader is started at power-on: by which loader, on which firmware.

use crate::artefacts::Artefacts;
use crate::disk::medium;
use crate::error::Error;
use crate::initramfs;
use crate::qemu::{Boot, Firmware, Medium};
use std::fmt;
use std::path::Path;

/// GRUB's words for a screen of pixels, where there is a screen at all: as the
/// tests' kernels have it, or else any.
const SCREEN: &str = "insmod all_video\nset gfxpayload=1024x768x16,auto\n";

/// Who starts the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// QEMU itself, by the PVH entry of `writer.elf`.
    Pvh,
    /// GRUB's `multiboot2`, with `writer.elf`.
    Multiboot2,
    /// GRUB's `linux`, with `writer.bzimage`.
    Linux,
    /// U-Boot, with `writer.bzimage`.
    UBoot,
    /// UEFI firmware, with `writer.bzimage` as the application that it looks for
    /// on a disk.
    Uefi,
    /// The loader of the `bootloader` crate, on a BIOS or on UEFI.
    Bootloader(Firmware),
    /// A Linux that has just booted, by kexec, with `writer.bzimage`.
    Kexec,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pvh => "pvh",
            Self::Multiboot2 => "multiboot2",
            Self::Linux => "linux",
            Self::UBoot => "uboot",
            Self::Uefi => "uefi",
            Self::Bootloader(_) => "bootloader",
            Self::Kexec => "kexec",
        })
    }
}

impl Entry {
    /// The firmware that this needs, or does well with.
    pub fn firmware(self) -> Firmware {
        match self {
            Self::Pvh | Self::Multiboot2 | Self::Linux | Self::Kexec => Firmware::SeaBios,
            Self::UBoot => Firmware::UBoot,
            Self::Uefi => Firmware::Ovmf,
            Self::Bootloader(firmware) => firmware,
        }
    }

    /// What the machine has beside its disks, as QEMU's arguments. The BIOS half of
    /// the `bootloader` crate's loader waits for a screen for ever.
    pub fn qemu_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Bootloader(Firmware::SeaBios) => &["-vga", "std"],
            _ => &[],
        }
    }

    /// What a machine boots to get there; media are made in `folder`.
    pub fn boot(self, artefacts: &Artefacts, folder: &Path) -> Result<Boot, Error> {
        let (elf, bzimage) = (artefacts.writer(), artefacts.writer_bzimage());
        let grub = |commands: &str, from: &Path| {
            let cd = folder.join(format!("{self}.iso"));
            let commands = format!("{SCREEN}{commands}");
            medium::grub(&cd, &commands, &[("boot/reader", from)])?;
            Ok(Boot::Medium(Medium::Cd(cd)))
        };
        match self {
            Self::Pvh => Ok(Boot::Writer(elf.into())),
            Self::Multiboot2 => grub("multiboot2 /boot/reader", elf),
            Self::Linux => grub("linux /boot/reader", bzimage),
            Self::Uefi => {
                let disk = folder.join("uefi.img");
                medium::fat(&disk, &[("EFI/BOOT/BOOTX64.EFI", bzimage)])?;
                Ok(Boot::Medium(Medium::Disk(disk)))
            }
            Self::Bootloader(firmware) => {
                let disk = artefacts.bootloader_disk(firmware)?;
                Ok(Boot::Medium(Medium::Disk(disk)))
            }
            Self::Kexec => {
                let initramfs = folder.join("kexec-initramfs");
                initramfs::write_for_kexec(artefacts, &initramfs)?;
                let (kernel, initramfs) = (artefacts.kernel().into(), Some(initramfs));
                let command_line = "console=ttyS0,115200 panic=-1 no_timer_check".into();
                Ok(Boot::Linux { kernel, initramfs, command_line })
            }
            Self::UBoot => {
                let disk = folder.join("uboot.img");
                u_boot(&disk, bzimage, None, "fallback=poweroff")?;
                Ok(Boot::Medium(Medium::Disk(disk)))
            }
        }
    }
}

/// What a machine boots to run Linux, with this firmware.
pub fn linux(
    firmware: Firmware,
    folder: &Path,
    kernel: &Path,
    initramfs: &Path,
    command_line: &str,
) -> Result<Boot, Error> {
    if firmware == Firmware::UBoot {
        let disk = folder.join("uboot-linux.img");
        u_boot(&disk, kernel, Some(initramfs), command_line)?;
        return Ok(Boot::Medium(Medium::Disk(disk)));
    }
    let (kernel, initramfs) = (kernel.into(), Some(initramfs.into()));
    Ok(Boot::Linux { kernel, initramfs, command_line: command_line.into() })
}

/// Makes a disk with a boot partition from which the reader starts Linux.
pub fn boot_partition(
    disk: &Path,
    kernel: &Path,
    initramfs: Option<&Path>,
    command_line: &str,
) -> Result<(), Error> {
    let text = disk.with_extension("cmdline");
    let written = std::fs::write(&text, format!("{command_line}\n"));
    written.map_err(Error::host(format!("writing {}", text.display())))?;
    let mut files = vec![("dormouse/kernel", kernel), ("dormouse/cmdline", text.as_path())];
    files.extend(initramfs.map(|initramfs| ("dormouse/initrd", initramfs)));
    medium::fat32(disk, &files)
}

/// Makes a disk that U-Boot boots by a script (doc/develop/distro.rst in
/// U-Boot). Its other way, `extlinux.conf`, passes a wrong size of the initramfs
/// in 2023.01.
fn u_boot(
    disk: &Path,
    kernel: &Path,
    initramfs: Option<&Path>,
    command_line: &str,
) -> Result<(), Error> {
    const LOAD: &str = "load ${devtype} ${devnum}:${distro_bootpart}";
    let mut commands = format!("setenv bootargs {command_line}\n");
    let mut arguments = String::from("${kernel_addr_r} 0");
    if initramfs.is_some() {
        commands += &format!("{LOAD} ${{ramdisk_addr_r}} initramfs\nsetenv size ${{filesize}}\n");
        arguments += " ${ramdisk_addr_r} ${size}";
    }
    commands += &format!("{LOAD} ${{kernel_addr_r}} kernel\nzboot {arguments}\n");
    let script = disk.with_extension("scr");
    medium::u_boot_script(&script, &commands)?;
    let mut files = vec![("boot.scr", script.as_path()), ("kernel", kernel)];
    files.extend(initramfs.map(|initramfs| ("initramfs", initramfs)));
    medium::fat(disk, &files)
}
