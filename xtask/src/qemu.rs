//! `cargo xtask qemu`: the main job, once, with a report.

use crate::error::Error;
use crate::progress::Steps;
use crate::{bootloader_disk, build, host, kernel, paths};
use clap::ValueEnum;
use dormouse_tests::qemu::{Chipset, DiskKind, Firmware};
use dormouse_tests::{Action, Artefacts, Entry, MainJob, Options};
use std::path::PathBuf;

/// Put a real Linux in QEMU to sleep on a disk, wake it, and judge it
///
/// Builds what is needed, installs or names what is missing, and compares with
/// Linux's own hibernation in the same run. The report is
/// target/qemu/last/report.json; the serial log lies beside it.
#[derive(clap::Args)]
pub struct Qemu {
    /// How the disk that the image goes to is attached; if nothing is said, by
    /// NVMe, on a microvm by virtio-blk, all that it has
    #[arg(long, value_enum)]
    disk: Option<DiskArgument>,
    /// The guest's memory: 512M to 16G
    #[arg(long, default_value = "1G", value_parser = parse_mib)]
    memory: u64,
    /// The guest's processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    cpus: u32,
    /// QEMU's machine type; a microvm has no PCI, and legacy devices unless with
    /// --qemu-arg=-global --qemu-arg=virtio-mmio.force-legacy=false
    #[arg(long, value_enum, default_value = "pc")]
    machine: MachineArgument,
    /// Who starts the reader
    #[arg(long, value_enum, default_value = "pvh")]
    entry: EntryArgument,
    /// What the machine runs first; if nothing is said, what the entry needs
    #[arg(long, value_enum)]
    firmware: Option<FirmwareArgument>,
    /// QEMU's processor model; "max" has 5-level paging, "max,la57=off" 4-level
    #[arg(long, default_value = "max")]
    cpu: String,
    /// What to do: hibernate and power off, hibernate and reset, suspend to RAM
    /// with an image or without, take a snapshot, rehearse
    #[arg(long, value_enum, default_value = "off")]
    action: ActionArgument,
    /// How often to sleep and wake in one life
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    cycles: u32,
    /// Boot this bzImage (any kernel with CONFIG_KEXEC_JUMP) instead of the
    /// built one
    #[arg(long, value_name = "BZIMAGE")]
    kernel: Option<PathBuf>,
    /// Pass an argument through to QEMU; may be repeated
    #[arg(long = "qemu-arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    qemu_arguments: Vec<String>,
    /// Leave the disk images and the stamped ELF in target/qemu/last
    #[arg(long)]
    keep: bool,
    /// Leave QEMU's dump of the guest's memory at the writer's standstill as
    /// target/qemu/last/memory.raw, and compare the image with it
    #[arg(long)]
    dump_memory: bool,
    /// Do not hibernate with Linux's own means for comparison
    #[arg(long)]
    no_swsusp: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum DiskArgument {
    Nvme,
    VirtioBlk,
    Ahci,
}

/// GRUB is what starts the reader by the protocols of Multiboot2 and Linux.
#[derive(Clone, Copy, ValueEnum)]
enum EntryArgument {
    Pvh,
    Multiboot2,
    Linux,
    Uboot,
    Uefi,
    Bootloader,
    Kexec,
}

impl EntryArgument {
    /// Which loader it is: that of the `bootloader` crate has one for each firmware.
    fn entry(self, firmware: Option<Firmware>) -> Entry {
        match self {
            Self::Pvh => Entry::Pvh,
            Self::Multiboot2 => Entry::Multiboot2,
            Self::Linux => Entry::Linux,
            Self::Uboot => Entry::UBoot,
            Self::Uefi => Entry::Uefi,
            Self::Bootloader => Entry::Bootloader(firmware.unwrap_or(Firmware::SeaBios)),
            Self::Kexec => Entry::Kexec,
        }
    }
}

impl From<DiskArgument> for DiskKind {
    fn from(disk: DiskArgument) -> Self {
        match disk {
            DiskArgument::Nvme => Self::Nvme,
            DiskArgument::VirtioBlk => Self::VirtioBlk,
            DiskArgument::Ahci => Self::Ahci,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum FirmwareArgument {
    Seabios,
    Ovmf,
    Uboot,
}

impl From<FirmwareArgument> for Firmware {
    fn from(firmware: FirmwareArgument) -> Self {
        match firmware {
            FirmwareArgument::Seabios => Self::SeaBios,
            FirmwareArgument::Ovmf => Self::Ovmf,
            FirmwareArgument::Uboot => Self::UBoot,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum ActionArgument {
    Off,
    Reboot,
    Both,
    Suspend,
    Snapshot,
    Rehearse,
}

#[derive(Clone, Copy, ValueEnum)]
enum MachineArgument {
    Pc,
    Q35,
    Microvm,
}

impl Qemu {
    pub fn run(self) -> Result<(), Error> {
        if let Some(why) = self.refusal() {
            return Err(Error::Impossible(why));
        }
        let artefacts = artefacts(self.kernel.clone())?;
        if matches!(self.entry, EntryArgument::Bootloader) {
            bootloader_disk::make()?;
        }
        let json = self.json;
        let steps = Steps::new();
        let report = self.job().run(&artefacts, &steps);
        steps.finish();
        let report = report?;
        if json {
            println!("{}", report.json()?);
        } else {
            print!("{}", report.table());
        }
        match report.error {
            None => Ok(()),
            Some(error) => Err(Error::MainJob(error)),
        }
    }

    /// Why the machine cannot do this, and what can; `None`: it can.
    fn refusal(&self) -> Option<&'static str> {
        use {ActionArgument as Action, EntryArgument as Loader, FirmwareArgument as First};
        if matches!(self.machine, MachineArgument::Microvm) {
            let has_pci = self.qemu_arguments.iter().any(|word| word.contains("pcie=on"));
            let by_pci = matches!(self.disk, Some(DiskArgument::Nvme | DiskArgument::Ahci));
            let rehearses = matches!(self.action, Action::Rehearse | Action::Snapshot);
            return match (self.action, self.firmware, self.entry) {
                (Action::Both | Action::Suspend, ..) => Some(
                    "a microvm cannot suspend to RAM (its tables have no \\_S3): take --machine pc \
                     or q35, or another --action",
                ),
                (_, Some(First::Ovmf | First::Uboot), _) => Some(
                    "a microvm has a firmware of its own: leave --firmware out, or take --machine \
                     pc or q35",
                ),
                (_, _, entry) if !matches!(entry, Loader::Pvh | Loader::Kexec) => Some(
                    "a microvm starts from nothing but what QEMU gives it: take --entry pvh or \
                     kexec, or --machine pc or q35",
                ),
                _ if by_pci && !has_pci => Some(
                    "a microvm has no PCI: take --disk virtio-blk, or for --action rehearse and \
                     snapshot --qemu-arg=-machine --qemu-arg=pcie=on",
                ),
                _ if by_pci && !rehearses => Some(
                    "the reader reaches no disk at a microvm's PCI, to whose devices nobody gives \
                     addresses: take --disk virtio-blk, or --action rehearse or snapshot",
                ),
                _ => None,
            };
        }
        let from_ram = matches!(self.action, Action::Both | Action::Suspend);
        let stays = matches!(self.action, Action::Suspend | Action::Snapshot | Action::Rehearse);
        match (self.entry, self.firmware) {
            (Loader::Uefi, Some(First::Seabios | First::Uboot)) => {
                Some("--entry uefi takes --firmware ovmf, which is what it has if nothing is said")
            }
            (Loader::Uboot, Some(First::Seabios | First::Ovmf)) => Some(
                "--entry uboot takes --firmware uboot, which is what it has if nothing is said",
            ),
            (Loader::Uboot, _) | (_, Some(First::Uboot)) if from_ram => Some(
                "U-Boot as Debian builds it for QEMU starts anew where it should wake from RAM: \
                 take --firmware seabios or ovmf, or another --action",
            ),
            (Loader::Pvh, Some(First::Ovmf)) if !stays => Some(
                "under UEFI QEMU starts no ELF: take --entry uefi, multiboot2, linux or bootloader",
            ),
            (Loader::Pvh, Some(First::Uboot)) if !stays => {
                Some("under U-Boot QEMU starts no ELF: take --entry uboot")
            }
            _ => None,
        }
    }

    fn job(self) -> MainJob {
        let firmware = self.firmware.map(Firmware::from);
        let entry = self.entry.entry(firmware);
        let options = Options {
            firmware: firmware.unwrap_or(entry.firmware()),
            entry,
            disk: match (self.disk, self.machine) {
                (Some(disk), _) => disk.into(),
                (None, MachineArgument::Microvm) => DiskKind::VirtioBlk,
                (None, MachineArgument::Pc | MachineArgument::Q35) => DiskKind::Nvme,
            },
            chipset: match self.machine {
                MachineArgument::Pc => Chipset::Pc,
                MachineArgument::Q35 => Chipset::Q35,
                MachineArgument::Microvm => Chipset::Microvm,
            },
            memory_mib: self.memory,
            cpus: self.cpus,
            cpu: self.cpu,
            qemu: self.qemu_arguments,
            keep_disks: self.keep,
            ..Options::default()
        };
        MainJob {
            options,
            action: match self.action {
                ActionArgument::Off => Action::Off,
                ActionArgument::Reboot => Action::Reboot,
                ActionArgument::Both => Action::Both,
                ActionArgument::Suspend => Action::Suspend,
                ActionArgument::Snapshot => Action::Snapshot,
                ActionArgument::Rehearse => Action::Rehearse,
            },
            cycles: self.cycles,
            swsusp: !self.no_swsusp,
            dump_memory: self.dump_memory,
        }
    }
}

/// Builds all that a guest needs; with the test kernel unless another is
/// given.
pub fn artefacts(kernel: Option<PathBuf>) -> Result<Artefacts, Error> {
    host::ensure(host::FOR_GUESTS)?;
    let kernel = match kernel {
        Some(kernel) => kernel,
        None => kernel::ensure(kernel::Linux::OfTheTests)?,
    };
    build::all()?;
    Ok(Artefacts::new(&paths::target(), &kernel)?)
}

/// A size as QEMU takes it, in MiB: digits, then `M` (the default) or `G`.
fn parse_mib(text: &str) -> Result<u64, String> {
    let (digits, scale) = match text.strip_suffix(['G', 'g']) {
        Some(digits) => (digits, 1024),
        None => (text.strip_suffix(['M', 'm']).unwrap_or(text), 1),
    };
    let mib = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    mib.filter(|mib| (512..=16 << 10).contains(mib)).ok_or("not a size from 512M to 16G".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_cannot_do_is_refused_before_anything_is_built() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            qemu: Qemu,
        }
        let refusal = |words: &str| {
            let line = <Line as clap::Parser>::parse_from(words.split(' '));
            line.qemu.refusal().unwrap_or_default()
        };
        for (words, why) in [
            ("qemu --machine microvm --action both", "cannot suspend to RAM"),
            ("qemu --machine microvm --firmware ovmf", "a firmware of its own"),
            ("qemu --machine microvm --entry linux", "take --entry pvh or kexec"),
            ("qemu --machine microvm --disk ahci", "no PCI: take --disk virtio-blk"),
            (
                "qemu --machine microvm --disk nvme --qemu-arg=-machine --qemu-arg=pcie=on",
                "or --action rehearse or snapshot",
            ),
            ("qemu --entry uefi --firmware seabios", "takes --firmware ovmf"),
            ("qemu --firmware ovmf", "take --entry uefi"),
            ("qemu --firmware uboot --action suspend", "starts anew"),
        ] {
            assert!(refusal(words).contains(why), "{words}: {:?}", refusal(words));
        }
        for words in [
            "qemu",
            "qemu --machine microvm --action reboot",
            "qemu --machine microvm --disk nvme --action rehearse --qemu-arg=pcie=on",
            "qemu --firmware ovmf --action suspend",
            "qemu --firmware ovmf --entry multiboot2",
        ] {
            assert_eq!(refusal(words), "");
        }
    }

    #[test]
    fn sizes_are_read_as_qemu_reads_them() {
        assert_eq!(parse_mib("512M"), Ok(512));
        assert_eq!(parse_mib("6G"), Ok(6144));
        assert_eq!(parse_mib("1024"), Ok(1024));
        assert!(parse_mib("17G").is_err());
        assert!(parse_mib("").is_err());
    }
}
