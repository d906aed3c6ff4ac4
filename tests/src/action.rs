//! What the main job does to a guest, and what became of it where that is no
//! wake-up from the disk.

use crate::checks::{Baseline, Check};
use crate::compare::ImageFile;
use crate::error::Error;
use crate::life::{Attempt, Life};
use crate::qemu::Ended;
use crate::report::Table;
use dormouse_guest::protocol::Ran;
use dormouse_handoff::image::State;
use serde::Serialize;
use serde_json::Value;
use std::time::Instant;

/// What the main job does to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hibernate and power off.
    Off,
    /// Hibernate and reset.
    Reboot,
    /// Suspend to RAM with an image.
    Both,
    /// Suspend to RAM without one.
    Suspend,
    /// Take a snapshot for inspection.
    Snapshot,
    /// Rehearse a hibernation.
    Rehearse,
}

impl Action {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Reboot => "reboot",
            Self::Both => "both",
            Self::Suspend => "suspend",
            Self::Snapshot => "snapshot",
            Self::Rehearse => "rehearse",
        }
    }

    /// How QEMU says that the machine went down, where the guest wakes from the
    /// disk on another; `None` where it never leaves the machine.
    pub const fn end(self) -> Option<&'static str> {
        match self {
            Self::Off => Some(Ended::POWER_OFF),
            Self::Reboot => Some("guest-reset"),
            Self::Both | Self::Suspend | Self::Snapshot | Self::Rehearse => None,
        }
    }

    fn begin(self, life: &mut Life) -> Result<Attempt, Error> {
        match self {
            Self::Off => life.hibernate(&[]),
            Self::Reboot => life.hibernate(&["--reboot"]),
            Self::Both => life.dormouse("sleep", &["--both"]),
            Self::Suspend => life.attempt(&["dormouse", "--json", "suspend"]),
            Self::Snapshot => life.dormouse("snapshot", &[]),
            Self::Rehearse => life.dormouse("rehearse", &[]),
        }
    }
}

/// A trip into the writer and back, on one machine.
#[derive(Clone, Debug, Serialize)]
pub struct Trip {
    /// What it was for.
    pub action: &'static str,
    /// Seconds from the command to the suspend, or to the answer.
    pub away_s: f64,
    /// Seconds from the machine's wake-up to the answer of the guest's userland.
    pub wake_s: Option<f64>,
    /// What `dormouse` said in the end.
    pub said: Value,
    /// What the guest found.
    pub checks: Vec<Check>,
}

impl Trip {
    /// Makes the `number`-th trip of this machine; only for an action without
    /// an end.
    pub fn make(
        life: &mut Life,
        action: Action,
        number: usize,
        before: &Baseline,
    ) -> Result<Self, Error> {
        let attempt = action.begin(life)?;
        let suspends = matches!(action, Action::Both | Action::Suspend);
        let (ran, away_s, wake_s) = if suspends {
            let down = life.suspended(&attempt, number)?;
            if action == Action::Both {
                image(life)?.header(State::Valid)?;
            }
            let (ran, seconds) = life.wake_from_ram(&attempt)?;
            (ran, (down - attempt.asked).as_secs_f64(), Some(seconds))
        } else {
            let ran = life.return_from(&attempt)?;
            (ran, (Instant::now() - attempt.asked).as_secs_f64(), None)
        };
        let said = life.logged(|_| parse(&ran))?;
        let expected = if suspends { "woken-from-ram" } else { "done" };
        let mut checks = vec![Check::new(
            "report",
            ran.code == Some(0) && said["outcome"] == expected,
            said["outcome"].as_str().unwrap_or("nothing").to_owned(),
        )];
        let left = match action {
            Action::Both => Some(State::Consumed),
            Action::Rehearse => Some(State::Discarded),
            Action::Snapshot => Some(State::Inert),
            _ => None,
        };
        if let Some(state) = left {
            image(life)?.header(state)?;
            checks.push(Check::new("image", true, format!("{} now", state.name())));
        }
        checks.extend(life.compare(before)?);
        if action == Action::Snapshot {
            // The next one needs the place.
            let target = life.target()?;
            life.guest.run(&["dormouse", "discard", &target])?;
        }
        Ok(Self { action: action.name(), away_s, wake_s, said, checks })
    }

    /// Its rows in the report's table.
    pub fn rows(&self, number: usize, table: &mut Table) {
        table.head(&format!("{} {number}", self.action));
        let rate = |pass: &str| {
            let rate = self.said[pass]["bytes_per_second"].as_f64()?;
            let bytes = self.said[pass]["data_bytes"].as_f64()?;
            Some(format!("{:.0} MB at {:.0} MB/s", bytes / 1e6, rate / 1e6))
        };
        for (name, pass) in [("written", "write"), ("read back", "read")] {
            if let Some(words) = rate(pass) {
                table.row(name, words);
            }
        }
        let to = if self.wake_s.is_some() { "command to suspend" } else { "command to answer" };
        table.row(to, format!("{:.2} s", self.away_s));
        if let Some(seconds) = self.wake_s {
            table.row("wake to userland", format!("{seconds:.2} s"));
        }
        table.checks(&self.checks);
    }
}

fn image(life: &Life) -> Result<ImageFile, Error> {
    ImageFile::open(&life.target_disk(), life.options.target_start())
}

fn parse(ran: &Ran) -> Result<Value, Error> {
    serde_json::from_str(&ran.stdout)
        .map_err(|e| Error::verdict(format!("no report ({e}): {}{}", ran.stdout, ran.stderr)))
}
