//! What has to be shown, held against what was measured.

use super::report::{Goal, Hibernation, Report, Start, StartFigures};

impl Report {
    /// Judges what the report has so far.
    pub fn judge(&mut self) {
        let mut goals = Vec::new();
        for row in &self.ceiling {
            let Some(limit) = row.limit_mb_s else { continue };
            let wanted = if limit <= 400 { 98.0 } else { 90.0 };
            for (verb, percent) in [("writing", row.write_percent), ("reading", row.read_percent)] {
                goals.push(Goal {
                    what: format!(
                        "{}, {limit} MB/s: {verb} at {wanted:.0} % of the device's rate",
                        row.driver
                    ),
                    measured: format!("{percent:.1} %"),
                    met: percent >= wanted,
                });
            }
        }
        for ours in self.peers.iter().filter(|peer| peer.system == "dormouse") {
            let figures = ours.outcome.figures().into_iter();
            goals.extend(figures.flat_map(|row| self.against_peers(ours.memory_mib, &row.median)));
        }
        let largest = self.scale.iter().max_by_key(|row| row.window_kib);
        goals.extend(largest.map(|row| Goal {
            what: "window of at most 4 MiB at any size of memory".into(),
            measured: format!("{} KiB", row.window_kib),
            met: row.window_kib <= 4096,
        }));
        for ours in self.starts.iter().filter(|start| start.way.starts_with("dormouse")) {
            let figures = ours.outcome.figures().into_iter();
            goals.extend(figures.flat_map(|figures| self.against_starts(ours, figures)));
        }
        self.goals = goals;
    }

    fn against_starts(&self, row: &Start, ours: &StartFigures) -> Vec<Goal> {
        let Start { machine, system, .. } = row;
        let reading = |of: String, device_s: f64, rate: String| {
            let own = (ours.reader_s + ours.reading_s) / device_s;
            Goal {
                what: format!("{of}: reader entered to the jump in 1.15 × the reading"),
                measured: format!("{own:.2} ×{rate}"),
                met: own <= 1.15,
            }
        };
        if let Some(limit) = row.limit_mb_s {
            // A reading slower than the disk must not count as the disk's.
            let at_limit = (ours.read_mib << 20) as f64 / (limit * 1_000_000) as f64;
            let rate = ours.read_mb_s.map_or(String::new(), |rate| format!(", at {rate:.0} MB/s"));
            let of = format!("{machine}, {system}, {limit} MB/s");
            return vec![reading(of, ours.reading_s.min(at_limit), rate)];
        }
        let mut goals =
            vec![reading(format!("{machine}, {system}"), ours.reading_s, String::new())];
        let cold = self.starts.iter().find(|start| {
            start.machine == *machine && start.system == *system && start.way == "cold boot"
        });
        if let Some(cold) = cold.and_then(|start| start.outcome.figures()) {
            let ratio = cold.total_s / ours.total_s;
            goals.push(Goal {
                what: format!("{machine}, {system}: answers 5 times sooner than after a cold boot"),
                measured: format!("{ratio:.1} times"),
                met: ratio >= 5.0,
            });
        }
        goals
    }

    fn against_peers(&self, size: u64, ours: &Hibernation) -> Vec<Goal> {
        let named = |name: &str| {
            let peer = self.peers.iter().find(|p| p.system == name && p.memory_mib == size)?;
            Some(&peer.outcome.figures()?.median)
        };
        let at_most = |what: &str, ms: f64, most: f64| Goal {
            what: format!("{size} MiB: {what} in at most {most:.0} ms"),
            measured: format!("{ms:.1} ms"),
            met: ms <= most,
        };
        let times = |what: &str, ratio: f64, wanted: f64| Goal {
            what: format!("{size} MiB: {what}, {wanted:.0} times"),
            measured: format!("{ratio:.1} times"),
            met: ratio >= wanted,
        };
        let mut goals = vec![
            at_most("jump to first write", ours.first_write_ms, 20.0),
            at_most("last write to power off", ours.last_write_to_off_ms, 50.0),
        ];
        if let Some(linux) = named("swsusp-nocompress") {
            goals.push(times("writes faster than swsusp", ours.write_mb_s / linux.write_mb_s, 5.0));
            let off = linux.trigger_to_off_s / ours.trigger_to_off_s;
            goals.push(times("off sooner than swsusp", off, 4.0));
            if let (Some(ours), Some(linux)) = (ours.start_to_userland_s, linux.start_to_userland_s)
            {
                goals.push(times("awake sooner than swsusp", linux / ours, 4.0));
            }
        }
        if let Some(linux) = named("kdump") {
            let ratio = linux.first_write_ms / ours.first_write_ms;
            goals.push(times("first write sooner than a full Linux's", ratio, 50.0));
        }
        goals
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::*;

    /// The first goal of a wake-up that read 100 MB, of a disk with this limit.
    fn judged(limit_mb_s: Option<u64>, reader_s: f64, reading_s: f64) -> (String, bool) {
        let read_mib = 100;
        let figures = StartFigures {
            total_s: 1.0,
            firmware_s: 0.0,
            reader_s,
            reading_s,
            kernel_s: 0.0,
            service_s: 0.0,
            read_mib,
            read_mb_s: Some((read_mib << 20) as f64 / 1e6 / reading_s),
        };
        let (machine, system, way) = ("pc".into(), "Debian".into(), "dormouse".into());
        let outcome = Outcome::Measured(figures);
        let starts = vec![Start { machine, system, way, limit_mb_s, outcome }];
        let mut report = Report { starts, ..Report::default() };
        report.judge();
        (report.goals[0].measured.clone(), report.goals[0].met)
    }

    #[test]
    fn a_reading_slower_than_its_disk_does_not_meet_the_goal_by_that() {
        let at_limit = (100 << 20) as f64 / 400e6;
        assert_eq!(judged(Some(400), 0.03, at_limit), ("1.11 ×, at 400 MB/s".into(), true));
        // What the reader does itself is a ninth of this reading as well.
        assert_eq!(judged(Some(400), 0.06, 2.0 * at_limit), ("2.23 ×, at 200 MB/s".into(), false));
        // Faster than it should be, it is held against itself.
        assert_eq!(judged(Some(400), 0.03, 0.1), ("1.30 ×, at 1049 MB/s".into(), false));
        assert_eq!(judged(None, 0.03, 2.0 * at_limit), ("1.06 ×".into(), true));
    }
}
