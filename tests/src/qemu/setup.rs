//! A virtual machine as QEMU's arguments.
//!
//! A machine that wakes must look to its old kernel as it did before: the
//! same [`Setup`] with another [`Boot`] gives the same devices in the same
//! places.

use super::machine::QEMU;
use crate::error::Error;
use crate::host_program::quoted;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// UEFI firmware, and its variables as they are at first.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The file of a machine's UEFI variables.
const VARIABLES: &str = "ovmf-vars.fd";

const UBOOT: &str = "/usr/lib/u-boot/qemu-x86/u-boot.rom";

/// Everything about a virtual machine.
#[derive(Clone, Debug)]
pub struct Setup {
    /// QEMU's machine type.
    pub chipset: Chipset,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Processors.
    pub cpus: u32,
    /// QEMU's processor model with its features, as in `max,la57=off`.
    pub cpu: String,
    /// What the machine runs before anything else.
    pub firmware: Firmware,
    /// The disks, in the order in which they are plugged in.
    pub disks: Vec<Disk>,
    /// What it boots.
    pub boot: Boot,
    /// Whether the clock is the instructions of the guest: one a nanosecond.
    pub count_instructions: bool,
    /// Whether to look all the time at what its first disk has moved.
    pub sampled: bool,
    /// Whether it waits for [`Machine::go`](super::Machine::go).
    pub paused: bool,
    /// Passed to QEMU as they are.
    pub more: Vec<String>,
}

/// QEMU's machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chipset {
    /// i440FX and PIIX.
    Pc,
    /// Q35 and ICH9, with PCI Express.
    Q35,
    /// No PCI, hardware-reduced ACPI; virtio devices by registers in memory.
    Microvm,
}

impl Chipset {
    /// Where RAM below 4 GiB ends on a machine with this much memory (bytes);
    /// what is left lies from 4 GiB on. As QEMU 7.2 does it in
    /// hw/i386/pc_piix.c and pc_q35.c.
    pub fn low_memory(self, memory: u64) -> u64 {
        let (room, split) = match self {
            Self::Pc => (0xe000_0000, 0xc000_0000),
            Self::Q35 => (0xb000_0000, 0x8000_0000),
            Self::Microvm => (0xc000_0000, 0xc000_0000),
        };
        if memory >= room { split } else { memory }
    }
}

impl fmt::Display for Chipset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pc => "pc",
            Self::Q35 => "q35",
            Self::Microvm => "microvm",
        })
    }
}

/// What a machine runs before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own: a PC's BIOS.
    SeaBios,
    /// UEFI, from Debian's package ovmf. Its variables are the file `ovmf-vars.fd`
    /// beside the serial log.
    Ovmf,
    /// U-Boot, from Debian's package u-boot-qemu.
    UBoot,
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SeaBios => "seabios",
            Self::Ovmf => "ovmf",
            Self::UBoot => "uboot",
        })
    }
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The raw image file.
    pub file: PathBuf,
    /// How it is attached.
    pub kind: DiskKind,
    /// Its serial number, by which the guest finds it.
    pub serial: String,
    /// Bytes in a logical block: 512 or 4096.
    pub block_size: u32,
    /// Bytes a second, reads and writes together, that QEMU lets through;
    /// `None`: all that it can.
    pub limit: Option<u64>,
    /// What kind of file it is.
    pub format: Format,
}

/// What kind of file a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes and nothing else.
    Raw,
    /// What differs from another file, which is left as it is.
    Overlay,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Overlay => "qcow2",
        })
    }
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// NVM Express.
    Nvme,
    /// virtio-blk: over PCI, or on a microvm by registers in memory.
    VirtioBlk,
    /// SATA behind AHCI.
    Ahci,
}

impl fmt::Display for DiskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvme => "nvme",
            Self::VirtioBlk => "virtio-blk",
            Self::Ahci => "ahci",
        })
    }
}

/// What a machine boots.
#[derive(Clone, Debug)]
pub enum Boot {
    /// A Linux kernel.
    Linux {
        /// The bzImage.
        kernel: PathBuf,
        /// The initramfs, if it has one.
        initramfs: Option<PathBuf>,
        /// The command line.
        command_line: String,
    },
    /// `writer.elf`, by its PVH entry.
    Writer(PathBuf),
    /// Whatever the firmware finds there.
    Medium(Medium),
    /// Whatever the firmware finds on the first of the disks.
    FirstDisk,
}

/// What firmware boots from: on the chipset's own controller, so that no other
/// device moves.
#[derive(Clone, Debug)]
pub enum Medium {
    /// A CD's image.
    Cd(PathBuf),
    /// A raw disk image.
    Disk(PathBuf),
}

/// Where the sockets and files of a machine are.
pub(super) struct Lines<'a> {
    /// The sockets' folder: `console`, `agent` and `monitor` in it. Without one the
    /// console is QEMU's own terminal, and nobody is at the other lines.
    pub sockets: Option<&'a Path>,
    /// The folder of what firmware keeps.
    pub folder: &'a Path,
}

impl Setup {
    /// A small machine with this one disk, booting a reader.
    pub fn of_reader(boot: Boot, disk: &Path) -> Self {
        let disk = Disk {
            file: disk.into(),
            kind: DiskKind::Nvme,
            serial: "dormouse-boot".into(),
            block_size: 512,
            limit: None,
            format: Format::Raw,
        };
        Self {
            chipset: Chipset::Pc,
            memory_mib: 256,
            cpus: 1,
            cpu: "max".into(),
            firmware: Firmware::SeaBios,
            disks: vec![disk],
            boot,
            count_instructions: false,
            sampled: false,
            paused: false,
            more: Vec::new(),
        }
    }

    /// The same machine, booting something else.
    pub fn booting(&self, boot: Boot) -> Self {
        Self { boot, ..self.clone() }
    }

    /// Makes what the firmware keeps in files: once, before the first start.
    pub fn prepare(&self, folder: &Path) -> Result<(), Error> {
        if self.firmware == Firmware::Ovmf {
            let file = folder.join(VARIABLES);
            std::fs::copy(OVMF_VARIABLES, &file)
                .map_err(Error::host(format!("copying {OVMF_VARIABLES} to {}", file.display())))?;
        }
        Ok(())
    }

    /// QEMU's command line for a person to type, with what firmware keeps in
    /// `folder`: the same machine, its console on the terminal.
    pub fn by_hand(&self, folder: &Path) -> String {
        let arguments = self.arguments(&Lines { sockets: None, folder });
        let words = arguments.iter().map(|word| quoted(&word.to_string_lossy()));
        let words: Vec<String> = std::iter::once(QEMU.into()).chain(words).collect();
        words.join(" ")
    }

    /// QEMU's arguments.
    pub(super) fn arguments(&self, lines: &Lines<'_>) -> Vec<OsString> {
        let mut arguments = Arguments::default();
        arguments.plain(&["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        if self.paused {
            arguments.plain(&["-S"]);
        }
        self.machine(&mut arguments);
        self.firmware(lines, &mut arguments);
        self.serial_ports(lines, &mut arguments);
        for (index, disk) in self.disks.iter().enumerate() {
            self.disk(index, disk, &mut arguments);
        }
        self.boot(&mut arguments);
        arguments.0.extend(self.more.iter().map(OsString::from));
        arguments.0
    }

    fn machine(&self, arguments: &mut Arguments) {
        match self.chipset {
            // Without KVM's clock nothing else there knows the time of day.
            Chipset::Microvm => arguments.pair("-machine", "microvm,rtc=on"),
            Chipset::Pc | Chipset::Q35 => arguments.pair("-machine", self.chipset),
        }
        if self.count_instructions {
            arguments.pair("-accel", "tcg,thread=single");
            arguments.pair("-icount", "shift=0,sleep=off");
        } else {
            arguments.pair("-accel", "tcg,thread=multi");
        }
        arguments.pair("-cpu", &self.cpu);
        arguments.pair("-smp", self.cpus);
        arguments.pair("-m", format!("{}M", self.memory_mib));
        arguments.pair("-rtc", "base=utc,clock=host");
    }

    fn firmware(&self, lines: &Lines<'_>, arguments: &mut Arguments) {
        match self.firmware {
            Firmware::SeaBios => {}
            Firmware::Ovmf => {
                let flash = "if=pflash,format=raw";
                arguments.pair("-drive", format!("{flash},readonly=on,file={OVMF_CODE}"));
                let variables = escaped(&lines.folder.join(VARIABLES));
                arguments.pair("-drive", format!("{flash},file={variables}"));
            }
            Firmware::UBoot => arguments.pair("-bios", UBOOT),
        }
    }

    /// The console, the agent's line and the monitor. QEMU is the client of
    /// each socket, so that its connecting is an event to wait for.
    fn serial_ports(&self, lines: &Lines<'_>, arguments: &mut Arguments) {
        let socket = |name: &str| match lines.sockets {
            Some(sockets) => format!("socket,id={name},path={}", escaped(&sockets.join(name))),
            None if name == "console" => format!("stdio,id={name}"),
            None => format!("null,id={name}"),
        };
        arguments.pair("-chardev", socket("console"));
        arguments.pair("-serial", "chardev:console");
        arguments.pair("-chardev", socket("agent"));
        match self.chipset {
            // It has one port of its own.
            Chipset::Microvm => {
                let port = "isa-serial,chardev=agent,iobase=0x2f8,irq=3";
                arguments.pair("-device", port);
            }
            Chipset::Pc | Chipset::Q35 => arguments.pair("-serial", "chardev:agent"),
        }
        arguments.pair("-chardev", socket("monitor"));
        arguments.pair("-mon", "chardev=monitor,mode=control");
        if self.sampled {
            arguments.pair("-chardev", socket("sampler"));
            arguments.pair("-mon", "chardev=sampler,mode=control");
        }
    }

    fn disk(&self, index: usize, disk: &Disk, arguments: &mut Arguments) {
        let file = escaped(&disk.file);
        let id = format!("disk{index}");
        let drive = format!(
            "driver={},node-name=format{index},id={id},if=none,cache=writeback,discard=unmap,\
             file.driver=file,file.node-name=file{index},file.filename={file}",
            disk.format
        );
        let limit = disk.limit.map(|limit| format!(",throttling.bps-total={limit}"));
        arguments.pair("-drive", drive + &limit.unwrap_or_default());
        let size = disk.block_size;
        let mut blocks = format!("logical_block_size={size},physical_block_size={size}");
        if index == 0 && matches!(self.boot, Boot::FirstDisk) {
            blocks += ",bootindex=0";
        }
        let common = format!("drive={id},serial={},{blocks}", disk.serial);
        match (disk.kind, self.chipset) {
            (DiskKind::Nvme, _) => arguments.pair("-device", format!("nvme,{common}")),
            (DiskKind::VirtioBlk, Chipset::Microvm) => {
                arguments.pair("-device", format!("virtio-blk-device,{common}"));
            }
            (DiskKind::VirtioBlk, _) => {
                arguments.pair("-device", format!("virtio-blk-pci,{common}"));
            }
            // Q35 has a host bus adapter of its own.
            (DiskKind::Ahci, Chipset::Q35) => {
                arguments.pair("-device", format!("ide-hd,bus=ide.{index},{common}"));
            }
            (DiskKind::Ahci, Chipset::Pc | Chipset::Microvm) => {
                arguments.pair("-device", format!("ich9-ahci,id=ahci{index}"));
                arguments.pair("-device", format!("ide-hd,bus=ahci{index}.0,{common}"));
            }
        }
    }

    fn boot(&self, arguments: &mut Arguments) {
        match &self.boot {
            Boot::Linux { kernel, initramfs, command_line } => {
                arguments.path("-kernel", kernel);
                if let Some(initramfs) = initramfs {
                    arguments.path("-initrd", initramfs);
                }
                arguments.pair("-append", command_line);
            }
            Boot::Writer(elf) => arguments.path("-kernel", elf),
            Boot::FirstDisk => {}
            Boot::Medium(medium) => {
                let (file, kind) = match medium {
                    Medium::Cd(file) => (file, "ide-cd"),
                    Medium::Disk(file) => (file, "ide-hd"),
                };
                let drive = format!("file={},id=medium,if=none,format=raw", escaped(file));
                arguments.pair("-drive", drive);
                // Q35's first ports may have disks.
                let bus = match self.chipset {
                    Chipset::Pc | Chipset::Microvm => "ide.0",
                    Chipset::Q35 => "ide.5",
                };
                let device = format!("{kind},drive=medium,bootindex=0,bus={bus}");
                arguments.pair("-device", device);
            }
        }
    }
}

/// A path inside one of QEMU's option lists, where a comma is doubled.
pub(super) fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn plain(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn pair(&mut self, name: &str, value: impl fmt::Display) {
        self.plain(&[name, &value.to_string()]);
    }

    fn path(&mut self, name: &str, path: &Path) {
        self.0.extend([name.into(), path.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_split_as_qemu_splits_it() {
        let gib = |n: u64| n << 30;
        assert_eq!(Chipset::Pc.low_memory(gib(1)), gib(1));
        assert_eq!(Chipset::Pc.low_memory(gib(6)), gib(3));
        assert_eq!(Chipset::Q35.low_memory(gib(2)), gib(2));
        assert_eq!(Chipset::Q35.low_memory(gib(6)), gib(2));
    }
}
