//! `cargo xtask kiosk`: the example of an appliance, made and started.

use crate::error::Error;
use crate::qemu;
use clap::ValueEnum;
use dormouse_tests::kiosk::{Kiosk, Model, Way};

/// Make examples/kiosk, put it to sleep once, and start it
///
/// A web server with a cache of 100 MB in memory. It is started as often as asked
/// for; each power-on shows how long it took to the first answer, and which
/// moment the kiosk takes it for. Everything is in target/qemu/kiosk, QEMU's
/// command lines among it (qemu.log).
#[derive(clap::Args)]
pub struct KioskCommand {
    /// The machine, and what starts the reader on it
    #[arg(long, value_enum, default_value = "pc")]
    machine: MachineArgument,
    /// How often it is started
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
}

impl KioskCommand {
    pub fn run(self) -> Result<(), Error> {
        let artefacts = qemu::artefacts(None)?;
        let model = Model::ALL[self.machine as usize];
        let kiosk = Kiosk::new(&artefacts, "kiosk", model, None)?;
        eprintln!("{}: booting once, for the snapshot", model.name());
        kiosk.put_to_sleep(Way::Dormouse)?;
        for _ in 0..self.power_ons {
            let (running, took) = kiosk.power_on(Way::Dormouse)?;
            let moment = running.get("/cgi-bin/moment")?;
            let body = moment.split_once("\r\n\r\n").map_or(&*moment, |(_, body)| body);
            println!(
                "the first answer {:.2} s after power-on (firmware {:.2}, reader {:.2}, reading \
                 {} MiB {:.2}, Linux {:.2}, web server {:.2})",
                took.total(),
                took.firmware,
                took.reader,
                took.read_mib,
                took.reading,
                took.kernel,
                took.service,
            );
            body.lines().for_each(|line| println!("  {line}"));
        }
        Ok(())
    }
}
