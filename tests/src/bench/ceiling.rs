//! The path against what the device can do.

use super::Bench;
use super::measured::Steps;
use super::report::Ceiling;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::Life;
use crate::options::Options;
use crate::qemu::DiskKind;
use crate::report::{Said, Sleep};
use crate::scenario;
use dormouse_guest::protocol::{Answer, Call};
use dormouse_handoff::image::State;

const DRIVERS: [DiskKind; 3] = [DiskKind::Nvme, DiskKind::VirtioBlk, DiskKind::Ahci];

/// MB/s that the disk lets through.
const LIMITS: [Option<u64>; 4] = [Some(100), Some(400), Some(1000), None];

/// Where Linux's own requests begin: the target's ends have to look blank.
const LINUX_START: u64 = 8 << 20;

impl Bench<'_> {
    /// Each driver at each limit.
    pub(super) fn ceiling(&self) -> Result<Vec<Ceiling>, Error> {
        let mut all = Vec::new();
        for driver in DRIVERS {
            all.extend(self.ceiling_of(driver)?);
        }
        Ok(all)
    }

    /// One life, with a hibernation for each limit.
    fn ceiling_of(&self, driver: DiskKind) -> Result<Vec<Ceiling>, Error> {
        let step = |words: &str| self.step(&format!("ceiling, {driver}: {words}"));
        step("booting");
        // Else the first of two passes over memory is the one that waits for it.
        let qemu = vec!["-mem-prealloc".into()];
        let options = Options { disk: driver, memory_mib: 1024, qemu, ..self.options() };
        let patterned = if self.quick { 200 } else { 600 } << 20;
        let fill = Fill { patterned, sparse: 16 << 20, every: 16 };
        let mut life = Life::begin(self.artefacts, &format!("ceiling-{driver}"), options)?;
        let before = life.fill(&fill)?;
        let mut found = Vec::new();
        for limit in LIMITS {
            let name = limit.map_or("no limit".into(), |limit| format!("{limit} MB/s"));
            life.limit_disk(limit.map(|limit| limit * 1_000_000))?;
            step(&format!("{name}, Linux"));
            let linux_write = self.direct(&mut life, patterned, true)?;
            let linux_read = self.direct(&mut life, patterned, false)?;
            step(&format!("{name}, writing"));
            let asleep = scenario::sleep(&mut life, &["--test-measure"])?;
            let header = scenario::image(&life)?.header(State::Valid)?;
            let write = Sleep::new(&header, 0.0);
            let device_write = Steps::of(&life)?.last("device")?.mb_s();
            step(&format!("{name}, reading"));
            let awake = life.wake(&asleep)?;
            let said = life.logged(|_| Said::parse(&awake.said))?;
            scenario::well(&mut life, &before)?;
            let device_read = Steps::of(&life)?.last("device")?.mb_s();
            let read_mb_s = said.read.bytes_per_second / 1e6;
            found.push(Ceiling {
                driver: driver.to_string(),
                limit_mb_s: limit,
                stored_bytes: header.counts.stored * 4096,
                write_percent: 100.0 * write.write_mb_s / device_write,
                read_percent: 100.0 * read_mb_s / device_read,
                write_mb_s: write.write_mb_s,
                read_mb_s,
                device_write_mb_s: device_write,
                device_read_mb_s: device_read,
                linux_write_mb_s: linux_write,
                linux_read_mb_s: linux_read,
            });
        }
        life.finish()?;
        Ok(found)
    }

    /// MB/s that Linux reaches on the target with O_DIRECT.
    fn direct(&self, life: &mut Life, bytes: u64, write: bool) -> Result<f64, Error> {
        let device = life.target()?;
        let call = Call::DirectIo { device, start: LINUX_START, bytes, write };
        match life.logged(|life| life.guest.call(call))? {
            Answer::Took(us) => Ok(crate::report::rate(bytes, us)),
            other => Err(Error::verdict(format!("direct requests were answered with {other:?}"))),
        }
    }
}
