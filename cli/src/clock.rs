//! The clock on the wall after a wake-up.
//!
//! Linux sets its clock by the machine's own when it comes back from a jump
//! (`timekeeping_resume`), but only forward: a machine whose clock was put back,
//! as by an empty battery, keeps the time of its snapshot. And it does nothing
//! where the kernel knows no persistent clock. So it is looked at once more.

use crate::error::{Error, Result};
use crate::system::System;
use rustix::time::{ClockId, Timespec, clock_settime};
use std::time::{Duration, SystemTime};

/// Seconds since 1970 that the machine's clock shows; also in its own time zone,
/// where it has one (Linux Documentation/admin-guide/rtc.rst).
const MACHINES: &str = "/sys/class/rtc/rtc0/since_epoch";

/// The time sources that the kernel knows. KVM's own tells it the time of day as
/// well, without any clock of the machine.
const CLOCKSOURCES: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
const KVM_CLOCK: &str = "kvm-clock";

/// What is less is what two clocks that count in seconds may differ by.
const TOLERATED_S: i64 = 2;

/// How far the machine's clock is ahead of the system's.
#[derive(Clone, Copy, Debug)]
pub struct Ahead(Option<i64>);

/// What became of the system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrected {
    /// It was right.
    Right,
    /// It was put forward by so many seconds, or back.
    By(i64),
    /// The machine has no clock that could tell.
    Unknown,
}

impl Ahead {
    /// Compares the two before the sleep.
    pub fn before_sleep(system: &System) -> Self {
        Self(machines(system).map(|machine| machine - seconds(SystemTime::now())))
    }

    /// Makes the difference after the wake-up what it was before.
    ///
    /// # Errors
    /// [`Error::Call`] where the clock cannot be set.
    pub fn restore(self, system: &System) -> Result<Corrected> {
        let Some((machine, ahead)) = machines(system).zip(self.0) else {
            let told = system.line(CLOCKSOURCES).is_some_and(|all| all.contains(KVM_CLOCK));
            return Ok(if told { Corrected::Right } else { Corrected::Unknown });
        };
        let wrong_by = machine - ahead - seconds(SystemTime::now());
        if wrong_by.abs() <= TOLERATED_S {
            return Ok(Corrected::Right);
        }
        let right = Timespec { tv_sec: machine - ahead, tv_nsec: 0 };
        clock_settime(ClockId::Realtime, right).map_err(|e| Error::call("clock_settime", e))?;
        Ok(Corrected::By(wrong_by))
    }
}

fn machines(system: &System) -> Option<i64> {
    system.line(MACHINES)?.parse().ok()
}

/// Whole seconds since 1970.
pub fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    }
}

/// How long it is from one time to another; nothing where that is in the past.
pub fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn system(machine: i64) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("sys/class/rtc/rtc0")).unwrap();
        fs::write(root.path().join(&MACHINES[1..]), format!("{machine}\n")).unwrap();
        let system = System::below(root.path());
        (root, system)
    }

    #[test]
    fn a_clock_that_agrees_is_left_alone_whatever_its_time_zone() {
        for zone in [0, 3600, -7 * 3600] {
            let (_root, system) = system(seconds(SystemTime::now()) + zone);
            let ahead = Ahead::before_sleep(&system);
            assert_eq!(ahead.restore(&system).unwrap(), Corrected::Right);
        }
    }

    #[test]
    fn a_machine_without_a_clock_tells_nothing() {
        let (_root, with) = system(seconds(SystemTime::now()));
        let without = System::below("/nonexistent");
        let ahead = Ahead::before_sleep(&with);
        assert_eq!(ahead.restore(&without).unwrap(), Corrected::Unknown);
        let ahead = Ahead::before_sleep(&without);
        assert_eq!(ahead.restore(&with).unwrap(), Corrected::Unknown);
    }

    #[test]
    fn kvm_tells_the_time_without_a_clock() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(&CLOCKSOURCES[1..]);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "kvm-clock tsc acpi_pm \n").unwrap();
        let system = System::below(root.path());
        let ahead = Ahead::before_sleep(&system);
        assert_eq!(ahead.restore(&system).unwrap(), Corrected::Right);
    }
}
