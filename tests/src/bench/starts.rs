//! From power-on to the first answer of a web server: `examples/kiosk`.

use super::Bench;
use super::report::{Outcome, Start, StartFigures};
use crate::error::Error;
use crate::kiosk::{Kiosk, Model, System, Took, Way};

/// Power-ons of each, of which the one in the middle counts.
const POWER_ONS: usize = 3;

/// The same where it has to be quick.
const QUICK_POWER_ONS: usize = 1;

impl Bench<'_> {
    /// Each machine, each system, each way.
    pub(super) fn starts(&self) -> Result<Vec<Start>, Error> {
        let models = if self.quick { &Model::ALL[..1] } else { &Model::ALL[..] };
        let mut all = Vec::new();
        for model in models {
            for system in &self.systems {
                for way in Way::ALL {
                    let (machine, system_name) = (model.name(), system.name());
                    self.step(&format!("starts: {machine}, {system_name}, {}", way.name()));
                    let measured = self.start(*model, system, way);
                    let outcome = match way {
                        Way::Cold | Way::Swsusp => Outcome::of_peer(measured),
                        Way::ByReader | Way::Dormouse => Outcome::Measured(measured?),
                    };
                    let (machine, system) = (model.name(), system.name().into());
                    all.push(Start { machine, system, way: way.name().into(), outcome });
                }
            }
        }
        Ok(all)
    }

    fn start(&self, model: Model, system: &System, way: Way) -> Result<StartFigures, Error> {
        let kiosk = Kiosk::new(self.artefacts, "bench-kiosk", system, model, Some(&self.disks))?;
        let measured = self.power_ons(&kiosk, way);
        // The next one's disk has the same name.
        if measured.is_ok() {
            kiosk.remove()?
        } else {
            kiosk.remove_disk()?
        }
        measured
    }

    /// Figures of the power-on in the middle.
    fn power_ons(&self, kiosk: &Kiosk, way: Way) -> Result<StartFigures, Error> {
        // What Linux hibernated it resumes once.
        let mut power_ons = Vec::new();
        let count = if self.quick { QUICK_POWER_ONS } else { POWER_ONS };
        for number in 0..count {
            if number == 0 || way == Way::Swsusp {
                kiosk.put_to_sleep(way)?;
            }
            power_ons.push(kiosk.power_on(way)?.1);
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
        })
    }
}
