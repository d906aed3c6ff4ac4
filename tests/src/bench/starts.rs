//! From power-on to the first answer of a web server: `examples/kiosk`.

use super::Bench;
use super::report::{Outcome, Start, StartFigures};
use crate::appliance::Appliance;
use crate::error::Error;
use crate::kiosk::{Kiosk, Model, System, Took, Way};
use crate::report::rate;

/// Power-ons of each, of which the one in the middle counts.
const POWER_ONS: usize = 3;

/// The same where it has to be quick.
const QUICK_POWER_ONS: usize = 1;

/// MB/s that the disk lets through when a snapshot is woken: all, a SATA disk's, a slow
/// NVMe disk's.
const LIMITS: [Option<u64>; 3] = [None, Some(400), Some(1000)];

impl Bench<'_> {
    /// Each machine, each system, each way.
    pub(super) fn starts(&self) -> Result<Vec<Start>, Error> {
        let models = if self.quick { &Model::ALL[..1] } else { &Model::ALL[..] };
        let mut all = Vec::new();
        for model in models {
            for system in &self.systems {
                for way in Way::ALL {
                    let row = |limit_mb_s: Option<u64>, outcome| {
                        let (machine, system) = (model.name(), system.name().into());
                        let limit = limit_mb_s.map(|limit| format!(", {limit} MB/s"));
                        let way = way.name().to_owned() + &limit.unwrap_or_default();
                        Start { machine, system, way, limit_mb_s, outcome }
                    };
                    match self.start(*model, system, way) {
                        Ok(measured) => all.extend(
                            measured
                                .into_iter()
                                .map(|(limit, figures)| row(limit, Outcome::Measured(figures))),
                        ),
                        Err(error) if matches!(way, Way::Cold | Way::Swsusp) => {
                            all.push(row(None, Outcome::of_peer(Err(error))));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(all)
    }

    /// Figures at each limit.
    fn start(
        &self,
        model: Model,
        system: &System,
        way: Way,
    ) -> Result<Vec<(Option<u64>, StartFigures)>, Error> {
        let name = format!("starts: {}, {}, {}", model.name(), system.name(), way.name());
        self.step(&name);
        let kiosk = Kiosk::new(self.artefacts, "bench-kiosk", system, model, Some(&self.disks))?;
        // Under OVMF the reading waits for the host's memory, whatever the disk is.
        let limited = way == Way::Dormouse && model.appliance != Appliance::Efi;
        let limits = if limited { &LIMITS[..] } else { &LIMITS[..1] };
        let measured = kiosk.put_to_sleep(way).and_then(|_| {
            let at = |limit: &Option<u64>| {
                if let Some(limit) = limit {
                    self.step(&format!("{name}, {limit} MB/s"));
                }
                Ok((*limit, self.power_ons(&kiosk, way, *limit)?))
            };
            limits.iter().map(at).collect()
        });
        // The next one's disk has the same name.
        if measured.is_ok() {
            kiosk.remove()?
        } else {
            kiosk.remove_disk()?
        }
        measured
    }

    /// Figures of the power-on in the middle, of a kiosk that was put to sleep.
    fn power_ons(
        &self,
        kiosk: &Kiosk,
        way: Way,
        limit: Option<u64>,
    ) -> Result<StartFigures, Error> {
        let mut power_ons = Vec::new();
        let count = if self.quick { QUICK_POWER_ONS } else { POWER_ONS };
        for number in 0..count {
            // What Linux hibernated it resumes once.
            if number > 0 && way == Way::Swsusp {
                kiosk.put_to_sleep(way)?;
            }
            let (_, took) = match limit {
                Some(limit) => kiosk.wake_limited(limit * 1_000_000)?,
                None => kiosk.power_on(way)?,
            };
            power_ons.push(took);
        }
        power_ons.sort_by(|one, other| one.total().total_cmp(&other.total()));
        let middle = power_ons[count / 2];
        let Took { firmware, reader, reading, kernel, service, read_mib } = middle;
        Ok(StartFigures {
            total_s: middle.total(),
            firmware_s: firmware,
            reader_s: reader,
            reading_s: reading,
            kernel_s: kernel,
            service_s: service,
            read_mib,
            read_mb_s: (way == Way::Dormouse).then(|| rate(read_mib << 20, (reading * 1e6) as u64)),
        })
    }
}
