//! Against Linux's own hibernation, and a whole Linux as the writer: the same
//! machine, disk and contents of memory for each.

use super::host::{Ticks, touch_memory};
use super::report::{Hibernation, Outcome, Peer, PeerFigures};
use super::{Bench, median, sorted};
use crate::error::Error;
use crate::fill::Fill;
use crate::initramfs;
use crate::life::Life;
use crate::options::Options;
use crate::qemu::Sample;
use crate::report::{Said, Sleep, rate};
use crate::{checks, disk, scenario, swsusp};
use dormouse_handoff::image::State;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes below which what is written is a file system's or header's, not
/// memory.
const OVERHEAD: u64 = 512 << 10;

/// What a crash kernel reserves: what Debian's kdump-tools suggest.
const CRASH_KERNEL_MIB: u64 = 192;

/// Longest time for a crash kernel to boot, dump and power off.
const DUMP: Duration = Duration::from_secs(300);

/// Hibernations in one life; odd, so that the median of each figure is one of them.
const ROUNDS: usize = 5;

/// The same of ours where it has to be quick; of Linux's own there is time for one.
const QUICK_ROUNDS: usize = 3;

/// The crash kernel in the guest.
const CRASH_KERNEL: &str = "/crash/vmlinuz";
const CRASH_INITRAMFS: &str = "/crash/initramfs";

impl Bench<'_> {
    /// All systems at all sizes.
    pub(super) fn peers(&self) -> Result<Vec<Peer>, Error> {
        let sizes: &[u64] = if self.quick { &[1024] } else { &[1024, 4096] };
        let mut all = Vec::new();
        for &memory_mib in sizes {
            // A guest's memory, and as much again as its disk.
            if !self.has_room("peers", memory_mib, 2 * memory_mib + 512)? {
                continue;
            }
            let step = |words: &str| self.step(&format!("peers, {memory_mib} MiB: {words}"));
            let row = |system: &str, outcome| Peer { system: system.into(), memory_mib, outcome };
            let options = Options { memory_mib, sampled: true, allocated: true, ..self.options() };
            let fill = Fill::for_memory(1 << 30);
            step("dormouse");
            let rounds = if self.quick { QUICK_ROUNDS } else { ROUNDS };
            let ours = row_of(|| self.dormouse(options.clone(), &fill, rounds))?;
            all.push(row("dormouse", Outcome::Measured(ours)));
            let stock = Some(self.artefacts.distribution_kernel()?);
            let options = Options { kernel: stock, ..options };
            for (name, compressed) in [("swsusp-nocompress", false), ("swsusp", true)] {
                step(name);
                let options = swsusp::options(&options, compressed);
                let rounds = if self.quick { 1 } else { rounds };
                let measured = row_of(|| self.swsusp(name, options, &fill, rounds));
                all.push(row(name, Outcome::of_peer(measured)));
            }
            step("kdump");
            let measured = row_of(|| Ok(vec![self.kdump(options, &fill)?]));
            all.push(row("kdump", Outcome::of_peer(measured)));
        }
        Ok(all)
    }

    fn dormouse(
        &self,
        options: Options,
        fill: &Fill,
        rounds: usize,
    ) -> Result<Vec<Hibernation>, Error> {
        let mut life = Life::begin_bare(self.artefacts, "peer-dormouse", options)?;
        let before = life.fill(fill)?;
        let mut all = Vec::new();
        for _ in 0..rounds {
            let asleep = scenario::sleep(&mut life, &[])?;
            let header = scenario::image(&life)?.header(State::Valid)?;
            touch_memory(life.options.memory());
            let awake = life.wake(&asleep)?;
            let said = life.logged(|_| Said::parse(&awake.said))?;
            checks::all_good(&life.compare(&before)?)?;
            let Sleep { first_write_ms, write_mb_s, .. } = Sleep::new(&header, 0.0);
            let seen = Seen::of(&asleep.samples, asleep.asked, asleep.off)?;
            all.push(seen.and(Told {
                stored_bytes: header.counts.stored * 4096,
                first_write_ms,
                write_mb_s,
                read_mb_s: Some(said.read.bytes_per_second / 1e6),
                start_to_userland_s: Some((awake.answered - awake.started).as_secs_f64()),
                reserved_mib: (header.counts.window * 4096) >> 20,
            }));
        }
        life.finish()?;
        Ok(all)
    }

    fn swsusp(
        &self,
        name: &str,
        options: Options,
        fill: &Fill,
        rounds: usize,
    ) -> Result<Vec<Hibernation>, Error> {
        let mut life = Life::begin_bare(self.artefacts, &format!("peer-{name}"), options)?;
        let before = life.fill(fill)?;
        let mut all = Vec::new();
        for _ in 0..rounds {
            let asleep = swsusp::sleep(&mut life)?;
            touch_memory(life.options.memory());
            let took = swsusp::wake(&mut life, &asleep, &before)?;
            let seen = Seen::of(&asleep.samples, asleep.asked, asleep.off)?;
            let first_write_ms = seen.trigger_to_first_ms;
            all.push(seen.and(Told {
                stored_bytes: took.stored_bytes,
                first_write_ms,
                write_mb_s: took.write_mb_s,
                read_mb_s: Some(took.read_mb_s),
                start_to_userland_s: Some(took.start_to_userland_s),
                reserved_mib: took.stored_bytes >> 20,
            }));
        }
        life.finish()?;
        Ok(all)
    }

    /// Debian's kernel crashes into another one of the same, whose userland is
    /// nothing but makedumpfile.
    fn kdump(&self, options: Options, fill: &Fill) -> Result<Hibernation, Error> {
        let folder = self.artefacts.fresh_run("peer-kdump-files")?;
        let dumping = folder.join("initramfs");
        initramfs::write_for_dump(self.artefacts, &dumping)?;
        let kernel = options.kernel.clone().unwrap_or_else(|| self.artefacts.kernel().into());
        let files = vec![
            (Path::new(CRASH_KERNEL).into(), kernel),
            (Path::new(CRASH_INITRAMFS).into(), dumping),
        ];
        let command_line = format!("crashkernel={CRASH_KERNEL_MIB}M");
        let options = Options { files, command_line, ..options };
        let mut life = Life::begin_bare(self.artefacts, "peer-kdump", options)?;
        // The crashing kernel never looks at what is on it.
        disk::format_ext4(&life.target_disk())?;
        // Formatting has given the blocks back.
        disk::allocate(&life.target_disk())?;
        life.fill(fill)?;
        let initrd = format!("--initrd={CRASH_INITRAMFS}");
        let line = "--command-line=console=ttyS0,115200 panic=-1 nr_cpus=1 reset_devices";
        let loaded = life.guest.run(&["kexec", "-p", CRASH_KERNEL, &initrd, line])?;
        scenario::said(&loaded, 0, &[])?;
        let crash = life.attempt(&["sh", "-c", "echo c > /proc/sysrq-trigger"])?;
        let crashed = life.standstill(&crash, "Kernel panic - not syncing")?;
        let ended = life.wait_for_end(DUMP)?;
        if !ended.by_power_off() {
            return Err(life.with_log(Error::verdict("the crash kernel did not power off")));
        }
        let seen = Seen::of(&ended.samples, crashed, ended.at)?;
        life.abandon()?;
        let told = Told {
            stored_bytes: seen.bytes,
            first_write_ms: seen.trigger_to_first_ms,
            write_mb_s: rate(seen.bytes, (seen.writing_s * 1e6) as u64),
            read_mb_s: None,
            start_to_userland_s: None,
            reserved_mib: CRASH_KERNEL_MIB,
        };
        Ok(seen.and(told))
    }
}

/// What a hibernation's figures have from the system itself, as the fields of
/// [`Hibernation`].
struct Told {
    stored_bytes: u64,
    first_write_ms: f64,
    write_mb_s: f64,
    read_mb_s: Option<f64>,
    start_to_userland_s: Option<f64>,
    reserved_mib: u64,
}

/// What QEMU saw of a system's writing.
struct Seen {
    bytes: u64,
    writing_s: f64,
    trigger_to_first_ms: f64,
    last_to_off_ms: f64,
    trigger_to_off_s: f64,
    progress: Vec<(f64, f64)>,
}

impl Seen {
    fn of(samples: &[Sample], asked: Instant, off: Instant) -> Result<Self, Error> {
        let nothing = || Error::verdict("nothing was seen being written");
        let from = samples.iter().rfind(|sample| sample.at <= asked).map_or(0, |s| s.written);
        let since: Vec<&Sample> = samples.iter().filter(|sample| sample.at > asked).collect();
        let last = since.last().ok_or_else(nothing)?.written;
        let first = since.iter().find(|s| s.written > from + OVERHEAD).ok_or_else(nothing)?.at;
        let done = since.iter().find(|sample| sample.written == last).ok_or_else(nothing)?.at;
        let mut progress: Vec<(f64, f64)> = Vec::new();
        for sample in since {
            let at = (sample.at - asked).as_secs_f64();
            let megabytes = (sample.written - from) as f64 / 1e6;
            // Points on a level line tell nothing.
            let level = progress.len() >= 2
                && progress[progress.len() - 2..].iter().all(|(_, y)| *y == megabytes);
            if level {
                progress.pop();
            }
            progress.push((at, megabytes));
        }
        progress.push(((off - asked).as_secs_f64(), (last - from) as f64 / 1e6));
        Ok(Self {
            bytes: last - from,
            writing_s: (done - first).as_secs_f64(),
            trigger_to_first_ms: (first - asked).as_secs_f64() * 1e3,
            last_to_off_ms: off.saturating_duration_since(done).as_secs_f64() * 1e3,
            trigger_to_off_s: (off - asked).as_secs_f64(),
            progress,
        })
    }

    /// A hibernation's figures, with what was told.
    fn and(self, told: Told) -> Hibernation {
        Hibernation {
            stored_bytes: told.stored_bytes,
            written_bytes: self.bytes,
            first_write_ms: told.first_write_ms,
            write_mb_s: told.write_mb_s,
            read_mb_s: told.read_mb_s,
            trigger_to_off_s: self.trigger_to_off_s,
            start_to_userland_s: told.start_to_userland_s,
            reserved_mib: told.reserved_mib,
            trigger_to_first_write_ms: self.trigger_to_first_ms,
            last_write_to_off_ms: self.last_to_off_ms,
            progress: self.progress,
        }
    }
}

/// A row's figures, by the hibernations that `measure` finds.
fn row_of(measure: impl FnOnce() -> Result<Vec<Hibernation>, Error>) -> Result<PeerFigures, Error> {
    let before = Ticks::now()?;
    let rounds = measure()?;
    let others_percent = Ticks::now()?.others_percent(&before);
    medians(rounds, others_percent).ok_or_else(|| Error::verdict("nothing was measured"))
}

/// A row's figures; `None` of none.
fn medians(mut rounds: Vec<Hibernation>, others_percent: f64) -> Option<PeerFigures> {
    fn of<T: Copy + PartialOrd>(
        rounds: &[Hibernation],
        figure: impl Fn(&Hibernation) -> T,
    ) -> Option<T> {
        median(rounds.iter().map(figure).collect())
    }
    rounds.sort_by(|one, other| one.trigger_to_off_s.total_cmp(&other.trigger_to_off_s));
    let rates = sorted(rounds.iter().map(|round| round.write_mb_s).collect());
    let all = &rounds;
    let median = Hibernation {
        stored_bytes: of(all, |round| round.stored_bytes)?,
        written_bytes: of(all, |round| round.written_bytes)?,
        first_write_ms: of(all, |round| round.first_write_ms)?,
        write_mb_s: of(all, |round| round.write_mb_s)?,
        read_mb_s: of(all, |round| round.read_mb_s)?,
        trigger_to_off_s: of(all, |round| round.trigger_to_off_s)?,
        start_to_userland_s: of(all, |round| round.start_to_userland_s)?,
        reserved_mib: of(all, |round| round.reserved_mib)?,
        trigger_to_first_write_ms: of(all, |round| round.trigger_to_first_write_ms)?,
        last_write_to_off_ms: of(all, |round| round.last_write_to_off_ms)?,
        progress: all.get(all.len() / 2)?.progress.clone(),
    };
    Some(PeerFigures {
        median,
        rounds: all.len(),
        quickest_write_mb_s: *rates.last()?,
        slowest_write_mb_s: *rates.first()?,
        others_percent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_the_median_of_its_own() {
        let round = |write_mb_s, trigger_to_off_s, read_mb_s| Hibernation {
            write_mb_s,
            read_mb_s,
            trigger_to_off_s,
            progress: vec![(trigger_to_off_s, write_mb_s)],
            ..Hibernation::default()
        };
        let rounds = vec![
            round(30.0, 0.7, Some(5.0)),
            round(10.0, 0.5, Some(4.0)),
            round(20.0, 0.9, Some(6.0)),
        ];
        let row = medians(rounds, 3.0).unwrap();
        let median = row.median;
        let figures = (median.write_mb_s, median.trigger_to_off_s, median.read_mb_s);
        assert_eq!(figures, (20.0, 0.7, Some(5.0)));
        assert_eq!((row.slowest_write_mb_s, row.quickest_write_mb_s), (10.0, 30.0));
        assert_eq!((row.rounds, median.progress), (3, vec![(0.7, 30.0)]));
        let lone = medians(vec![round(10.0, 0.5, None)], 0.0).unwrap();
        assert_eq!((lone.median.write_mb_s, lone.median.read_mb_s), (10.0, None));
        assert!(medians(Vec::new(), 0.0).is_none());
    }
}
