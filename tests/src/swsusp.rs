//! Linux's own hibernation on the same machine, to compare with.

use crate::checks::Baseline;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::{Asleep, Life};
use crate::options::Options;
use crate::qemu::DiskKind;
use crate::scenario;
use dormouse_guest::protocol::Call;
use serde::Serialize;

/// What Linux's own hibernation took.
#[derive(Clone, Debug, Serialize)]
pub struct Swsusp {
    /// Bytes written, as the kernel says.
    pub stored_bytes: u64,
    /// Rate of writing in MB/s (10^6 bytes), as the kernel says.
    pub write_mb_s: f64,
    /// Rate of reading, likewise.
    pub read_mb_s: f64,
    /// Seconds from the command to power off.
    pub trigger_to_off_s: f64,
    /// Seconds from QEMU's start to the command's end in the woken userland.
    pub start_to_userland_s: f64,
}

/// What a guest has to be like.
pub fn options(options: &Options, compressed: bool) -> Options {
    let mut options = Options { keep_disks: false, ..options.clone() };
    // `resume=` names the target before there is a guest to ask.
    options.bystander = Some(DiskKind::VirtioBlk);
    options.command_line += &format!(" resume={} resumewait", options.target_name());
    if !compressed {
        options.command_line += " hibernate=nocompress";
    }
    options
}

/// Fills, hibernates and wakes a guest.
pub fn measure(mut life: Life, fill: &Fill) -> Result<Swsusp, Error> {
    let before = life.fill(fill)?;
    let asleep = sleep(&mut life)?;
    let took = wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(took)
}

/// Puts a guest to sleep, into a swap space that has nothing yet.
pub fn sleep(life: &mut Life) -> Result<Asleep, Error> {
    let device = life.options.target_name();
    life.logged(|life| {
        for argv in [["mkswap", &device], ["swapon", &device]] {
            scenario::said(&life.guest.run(&argv)?, 0, &[])?;
        }
        let (path, contents) = ("/sys/power/disk".into(), "shutdown".into());
        life.guest.call(Call::Write { path, contents }).map(drop)
    })?;
    let argv = ["sh", "-c", "echo disk > /sys/power/state"];
    let attempt = life.attempt(&argv)?;
    life.fall_asleep(attempt)
}

/// Wakes a guest, checks that it is what it was, and takes its swap space from it
/// again; what all of it took.
pub fn wake(life: &mut Life, asleep: &Asleep, before: &Baseline) -> Result<Swsusp, Error> {
    // The same kernel again: it finds its image by `resume=`.
    let setup = life.setup.clone();
    let awake = life.wake_on(asleep, &setup)?;
    let checks = life.compare(before)?;
    // Its warnings are its own affair; its memory has to be right.
    let damaged = checks.iter().find(|check| !check.good && check.what != "kernel log");
    if let Some(check) = damaged {
        return Err(Error::verdict(format!("swsusp: {}: {}", check.what, check.detail)));
    }
    let text = life.serial_log()?;
    let speed = |verb| {
        let missing = || Error::verdict(format!("no line of {verb:?} on the console"));
        text.lines().rev().find_map(|line| speed(line, verb)).ok_or_else(missing)
    };
    let (stored_bytes, write_mb_s) = speed("Wrote")?;
    let (_, read_mb_s) = speed("Read")?;
    let device = life.options.target_name();
    life.logged(|life| scenario::said(&life.guest.run(&["swapoff", &device])?, 0, &[]))?;
    Ok(Swsusp {
        stored_bytes,
        write_mb_s,
        read_mb_s,
        trigger_to_off_s: (asleep.off - asleep.asked).as_secs_f64(),
        start_to_userland_s: (awake.answered - awake.started).as_secs_f64(),
    })
}

/// Bytes, and MB/s, of a kernel's line as in `PM: hibernation: Wrote 383700
/// kbytes in 3.03 seconds (126.63 MB/s)`.
fn speed(line: &str, verb: &str) -> Option<(u64, f64)> {
    let (_, rest) = line.split_once(&format!("{verb} "))?;
    let (kib, rest) = rest.split_once(" kbytes in ")?;
    let (_, rate) = rest.split_once('(')?;
    let rate = rate.strip_suffix(" MB/s)")?;
    Some((kib.parse::<u64>().ok()? << 10, rate.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_figures_are_taken() {
        let line = "[    9.1] PM: hibernation: Wrote 383700 kbytes in 3.03 seconds (126.63 MB/s)";
        assert_eq!(speed(line, "Wrote"), Some((383_700 << 10, 126.63)));
        assert_eq!(speed(line, "Read"), None);
    }
}
