//! `cargo xtask torture`: attacks in numbers, with a report.

use crate::error::Error;
use crate::paths;
use crate::progress::Steps;
use crate::qemu::{self, DiskArgument};
use dormouse_attacks::{Attack, record, record_part};
use dormouse_tests::torture::{Report, Share, Torture as Campaigns, Weapon};
use std::fs;
use std::path::PathBuf;

/// Attack hibernation and wake-up in QEMU, again and again
///
/// Without a campaign's option all of them run, each as often as in `cargo
/// xtask test`. Every choice follows from the seed. The report is
/// target/torture/report.json; the serial logs are in target/qemu/torture-*.
#[derive(clap::Args)]
pub struct Torture {
    /// Cut the power this often, while hibernating and while waking
    #[arg(long, value_name = "N")]
    cuts: Option<u32>,
    /// Let devices fail this often: at the n-th command, by silence, by
    /// vanishing; shared out to the three drivers
    #[arg(long, value_name = "N")]
    faults: Option<u32>,
    /// Damage the image this often
    #[arg(long, value_name = "N")]
    flips: Option<u32>,
    /// Decides all choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Carry out only this part of the same choices, as in 3/10; the record
    /// adds the parts up
    #[arg(long, value_name = "K/N", default_value_t = Share::ALL)]
    share: Share,
    /// How the disk that the image goes to is attached, for cuts and
    /// flips
    #[arg(long, value_enum, default_value = "nvme")]
    disk: DiskArgument,
    /// Boot this bzImage (any kernel with CONFIG_KEXEC_JUMP) instead of the
    /// built one
    #[arg(long, value_name = "BZIMAGE")]
    kernel: Option<PathBuf>,
    /// Machines that run side by side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Torture {
    pub fn run(self) -> Result<(), Error> {
        let artefacts = qemu::artefacts(self.kernel.clone())?;
        let steps = Steps::new();
        let report = self.campaigns().run(&artefacts, &steps);
        steps.finish();
        let folder = paths::target().join("torture");
        fs::create_dir_all(&folder).map_err(Error::file("making", &folder))?;
        let file = folder.join("report.json");
        let json = report.json()?;
        fs::write(&file, format!("{json}\n")).map_err(Error::file("writing", &file))?;
        if self.json {
            println!("{json}");
        } else {
            print!("{}", report.table());
        }
        if !report.good {
            return Err(Error::Torture(file));
        }
        self.record(&report);
        Ok(())
    }

    /// Leaves what was tried for the table in docs/guarantees.md, in a line of
    /// its own beside that of `cargo xtask test`.
    fn record(&self, report: &Report) {
        for (weapon, cases) in report.cases() {
            let asked = match weapon {
                Weapon::Cuts => self.campaigns().cuts,
                Weapon::Faults => self.campaigns().faults,
                Weapon::Flips => self.campaigns().flips,
            };
            let option = weapon.option();
            let attack = Attack {
                promise: weapon.promise(),
                attack: format!("{}; a campaign by itself", weapon.attack()),
                cases,
                command: format!("cargo xtask torture --{option} {asked} --seed {}", self.seed),
            };
            if self.share == Share::ALL {
                record(attack);
            } else {
                record_part(attack, &self.share.to_string());
            }
        }
    }

    fn campaigns(&self) -> Campaigns {
        let all = [self.cuts, self.faults, self.flips].iter().all(Option::is_none);
        let number = |asked: Option<u32>, usual: u32| asked.unwrap_or(if all { usual } else { 0 });
        Campaigns {
            cuts: number(self.cuts, Campaigns::USUAL_CUTS),
            faults: number(self.faults, Campaigns::USUAL_FAULTS),
            flips: number(self.flips, Campaigns::USUAL_FLIPS),
            disk: self.disk.into(),
            seed: self.seed,
            share: self.share,
            jobs: usize::from(self.jobs),
        }
    }
}
