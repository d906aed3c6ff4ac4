//! Suspending to RAM, beside Linux's own way there and back on the same machine.

use super::report::Suspend;
use super::{Bench, sorted};
use crate::error::Error;
use crate::fill::Fill;
use crate::life::Life;
use crate::scenario;
use dormouse_guest::protocol::Ran;
use std::time::Instant;

impl Bench<'_> {
    /// Each way by turns, in one life.
    pub(super) fn ways(&self) -> Result<Vec<Suspend>, Error> {
        let rounds = if self.quick { 7 } else { 21 };
        self.step("ways: suspending to RAM");
        let mut life = Life::begin_bare(self.artefacts, "bench-ways", self.options())?;
        let before = life.fill(&Fill::light())?;
        let mut suspends = Suspends { life, number: 0 };
        let mut all = [("linux", vec![]), ("dormouse suspend", vec![]), ("dormouse both", vec![])];
        for _ in 0..rounds {
            for (system, times) in &mut all {
                times.push(match *system {
                    "linux" => suspends.by_linux()?,
                    "dormouse suspend" => suspends.by(&["dormouse", "--json", "suspend"])?,
                    _ => {
                        let target = suspends.life.target()?;
                        let words = ["dormouse", "--json", "sleep", "--both", "--target", &target];
                        suspends.by(&words)?
                    }
                });
            }
        }
        let mut life = suspends.life;
        scenario::well(&mut life, &before)?;
        life.finish()?;
        Ok(all.into_iter().map(|(system, times)| row(system, times)).collect())
    }
}

/// A life, and how often its machine was suspended.
struct Suspends {
    life: Life,
    number: usize,
}

impl Suspends {
    /// Seconds from the command to the suspend, and from the wake-up to userland.
    fn by(&mut self, argv: &[&str]) -> Result<(f64, f64), Error> {
        self.number += 1;
        let attempt = self.life.attempt(argv)?;
        let down = self.life.suspended(&attempt, self.number)?;
        let (ran, wake): (Ran, f64) = self.life.wake_from_ram(&attempt)?;
        self.life.logged(|_| scenario::said(&ran, 0, &["woken-from-ram"]))?;
        Ok(((down - attempt.asked).as_secs_f64(), wake))
    }

    fn by_linux(&mut self) -> Result<(f64, f64), Error> {
        self.number += 1;
        let asked = Instant::now();
        let (down, wake) = self.life.suspend_by_linux(self.number)?;
        Ok(((down - asked).as_secs_f64(), wake))
    }
}

fn row(system: &str, times: Vec<(f64, f64)>) -> Suspend {
    let rounds = times.len();
    let (down, wake): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    let (down, wake) = (sorted(down), sorted(wake));
    let of = |values: &[f64], at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    Suspend {
        system: system.into(),
        rounds,
        down_s: of(&down, rounds / 2),
        wake_s: of(&wake, rounds / 2),
        quickest_wake_s: of(&wake, 0),
        slowest_wake_s: of(&wake, rounds.saturating_sub(1)),
    }
}
