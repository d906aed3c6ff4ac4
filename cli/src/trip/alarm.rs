//! Waking by the clock (Linux Documentation/admin-guide/rtc.rst, `wakealarm`).

use crate::error::{Error, Result};
use crate::system::System;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The clock that can wake the machine.
const CLOCK: &str = "/sys/class/rtc/rtc0";

/// A time from now, as the command line has it: `8h`, `90m`, `1d12h`, `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeAfter(pub Duration);

impl FromStr for WakeAfter {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        const WRONG: &str = "not a time such as 8h, 90m, 1d12h or 30s";
        let mut seconds = 0u64;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(WRONG)?;
            let number: u64 = rest[..digits].parse().map_err(|_| WRONG)?;
            let unit = match rest.as_bytes()[digits] {
                b's' => 1,
                b'm' => 60,
                b'h' => 3600,
                b'd' => 86_400,
                _ => return Err(WRONG),
            };
            let part = number.checked_mul(unit).ok_or(WRONG)?;
            seconds = seconds.checked_add(part).ok_or(WRONG)?;
            rest = &rest[digits + 1..];
        }
        match seconds {
            0 => Err(WRONG),
            _ => Ok(Self(Duration::from_secs(seconds))),
        }
    }
}

/// An alarm that is set; unset when this goes.
#[derive(Debug)]
pub struct Alarm {
    file: PathBuf,
}

impl Alarm {
    /// Whether the clock of this machine can wake it.
    ///
    /// # Errors
    /// [`Error::NoAlarm`] with the reason.
    pub fn possible(system: &System) -> Result<()> {
        let refused = |reason: &str| Err(Error::NoAlarm { reason: reason.to_owned() });
        if !system.exists(CLOCK) {
            return refused("there is no clock at /sys/class/rtc/rtc0");
        }
        if !system.exists(format!("{CLOCK}/wakealarm")) {
            return refused("its clock has no alarm");
        }
        let wakeup = system.line(format!("{CLOCK}/device/power/wakeup"));
        if wakeup.as_deref() == Some("disabled") {
            return refused(
                "its clock may not wake it (write `enabled` to /sys/class/rtc/rtc0/device/power/wakeup)",
            );
        }
        match system.line(format!("{CLOCK}/wakealarm")).as_deref() {
            None | Some("") => Ok(()),
            Some(at) => refused(&format!(
                "its clock's alarm is set already, by another program, for {at} s since 1970"
            )),
        }
    }

    /// Sets the alarm.
    ///
    /// # Errors
    /// [`Error::NoAlarm`] where the clock does not take it.
    pub fn set(system: &System, after: WakeAfter) -> Result<Self> {
        let file = system.path(format!("{CLOCK}/wakealarm"));
        let seconds = after.0.as_secs();
        match std::fs::write(&file, format!("+{seconds}")) {
            Ok(()) => Ok(Self { file }),
            Err(error) => Err(Error::NoAlarm {
                reason: match error.kind() {
                    ErrorKind::ResourceBusy => "its clock's alarm is set already".to_owned(),
                    ErrorKind::InvalidInput => {
                        format!("its clock takes no alarm in {seconds} s: that may be too far away")
                    }
                    _ => error.to_string(),
                },
            }),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // One that has gone off is unset already; one that was forgotten would
        // wake the machine from another sleep.
        let _ = std::fs::write(&self.file, "0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn times_are_read() {
        let seconds = |text: &str| text.parse::<WakeAfter>().map(|after| after.0.as_secs());
        assert_eq!(seconds("8h"), Ok(28_800));
        assert_eq!(seconds("1d12h"), Ok(129_600));
        assert_eq!(seconds("90m"), Ok(5_400));
        assert_eq!(seconds("30s"), Ok(30));
        for wrong in ["", "8", "h", "8x", "0s", "8h5", "-1h", "99999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    fn system(alarm: Option<&str>, wakeup: &str) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        let clock = root.path().join(&CLOCK[1..]);
        fs::create_dir_all(clock.join("device/power")).unwrap();
        fs::write(clock.join("device/power/wakeup"), wakeup).unwrap();
        if let Some(alarm) = alarm {
            fs::write(clock.join("wakealarm"), alarm).unwrap();
        }
        let system = System::below(root.path());
        (root, system)
    }

    #[test]
    fn a_clock_that_cannot_wake_is_named_with_the_reason() {
        let reason = |alarm, wakeup| {
            let (_root, system) = system(alarm, wakeup);
            Alarm::possible(&system).unwrap_err().to_string()
        };
        assert!(reason(None, "enabled\n").contains("no alarm"));
        assert!(reason(Some(""), "disabled\n").contains("may not wake it"));
        assert!(reason(Some("1800000000\n"), "enabled\n").contains("for 1800000000 s"));
        let (_root, good) = system(Some(""), "enabled\n");
        Alarm::possible(&good).unwrap();
    }

    #[test]
    fn the_alarm_is_set_and_unset_again() {
        let (root, system) = system(Some(""), "enabled\n");
        let file = root.path().join(&CLOCK[1..]).join("wakealarm");
        let alarm = Alarm::set(&system, "2h".parse().unwrap()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "+7200");
        drop(alarm);
        assert_eq!(fs::read_to_string(&file).unwrap(), "0");
    }
}
