//! `cargo xtask kiosk`: the example of an appliance, made and started.

use crate::error::Error;
use crate::progress::Steps;
use crate::{bootloader_disk, debian, host, qemu};
use clap::ValueEnum;
use dormouse_tests::kiosk::{Kiosk, Model, Running, System, Took, Way};
use dormouse_tests::qemu::{Chipset, Firmware};
use dormouse_tests::{Appliance, Progress};

/// Make the appliance of examples/kiosk, and start it as often as asked for
///
/// A web server with a cache of 100 MB in memory, on a disk of its own. The first
/// power-on finds nothing to wake: Linux boots from the disk, and makes a snapshot.
/// Each one after that wakes it, and shows how long it took to the first answer, and
/// which moment the kiosk takes it for. Everything is in target/qemu/kiosk.
#[derive(clap::Args)]
pub struct KioskCommand {
    /// The machine, and what starts the reader on it
    #[arg(long, value_enum, default_value = "pc")]
    machine: MachineArgument,
    /// What it runs on
    #[arg(long, value_enum, default_value = "busybox")]
    system: SystemArgument,
    /// How often it is started after that
    #[arg(long, default_value_t = 3)]
    power_ons: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MachineArgument {
    /// QEMU's pc, which starts writer.elf itself
    Pc,
    /// QEMU's microvm, likewise
    Microvm,
    /// q35 with SeaBIOS and GRUB
    Grub,
    /// q35 with UEFI
    Uefi,
    /// q35 with SeaBIOS, a VGA, and the bootloader crate's loader
    Bootloader,
}

impl From<MachineArgument> for Model {
    fn from(machine: MachineArgument) -> Self {
        match machine {
            MachineArgument::Bootloader => {
                Self { chipset: Chipset::Q35, appliance: Appliance::Bootloader(Firmware::SeaBios) }
            }
            timed => Self::ALL[timed as usize],
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SystemArgument {
    /// An initramfs with a busybox and a shell script
    Busybox,
    /// A minimal Debian with systemd and lighttpd, which is fetched once
    Debian,
}

impl KioskCommand {
    pub fn run(self) -> Result<(), Error> {
        host::ensure(host::FOR_APPLIANCES)?;
        let system = match self.system {
            SystemArgument::Busybox => System::Busybox,
            SystemArgument::Debian => System::Debian(debian::ensure()?),
        };
        let artefacts = qemu::artefacts(None)?;
        let model = Model::from(self.machine);
        if self.machine == MachineArgument::Bootloader {
            bootloader_disk::make()?;
        }
        println!("{}, {}", model.name(), system.name());
        let steps = Steps::new();
        let asleep = Kiosk::new(&artefacts, "kiosk", &system, model, None).and_then(|kiosk| {
            steps.step("first power-on: Linux boots, and makes the snapshot");
            Ok((kiosk.put_to_sleep(Way::Dormouse)?, kiosk))
        });
        steps.finish();
        let (took, kiosk) = asleep?;
        println!(
            "first power-on: no image yet, so Linux came up from the boot partition; it had its \
             snapshot after {:.1} s",
            took.as_secs_f64()
        );
        for number in 1..=self.power_ons {
            let (running, took) = kiosk.power_on(Way::Dormouse)?;
            println!("power-on {number}: {}", words(&took));
            moment(&running)?.lines().for_each(|line| println!("    {line}"));
        }
        println!(
            "\nIts disk is {}. To start it yourself, with {} and the console on this terminal \
             (Ctrl-C ends it):\n\n{}",
            kiosk.disk().display(),
            kiosk.address(),
            kiosk.by_hand()
        );
        Ok(())
    }
}

fn words(took: &Took) -> String {
    format!(
        "the first answer after {:.2} s (firmware {:.2}, reader {:.2}, reading {} MiB {:.2}, \
         Linux {:.2}, web server {:.2})",
        took.total(),
        took.firmware,
        took.reader,
        took.read_mib,
        took.reading,
        took.kernel,
        took.service,
    )
}

/// What the kiosk says of itself.
fn moment(running: &Running) -> Result<String, Error> {
    let answer = running.get("/cgi-bin/moment")?;
    let body = answer.split_once("\r\n\r\n").map_or(&*answer, |(_, body)| body);
    Ok(body.to_owned())
}
