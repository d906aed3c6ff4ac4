//! How fast the time-stamp counter runs.
//!
//! The kernel knows, but tells nobody. So the counter is compared with the
//! kernel's raw clock, which no time server adjusts, over the time that a trip's
//! preparation takes anyway.

use rustix::time::{ClockId, clock_gettime};
use std::arch::x86_64::_rdtsc;

/// The least time to measure over, in nanoseconds: what a reading is uncertain
/// by is a ten-thousandth of it.
const LEAST_NS: u64 = 20_000_000;

/// Readings of which the narrowest counts: the program may be interrupted in the
/// middle of one.
const TRIES: usize = 8;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    ticks: u64,
    ns: u64,
    /// How long the reading took, in ticks.
    width: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let first = Self::reading();
        (1..TRIES)
            .map(|_| Self::reading())
            .fold(first, |best, next| if next.width < best.width { next } else { best })
    }

    fn reading() -> Self {
        let before = ticks();
        let time = clock_gettime(ClockId::MonotonicRaw);
        let width = ticks().wrapping_sub(before);
        let ns = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        Self { ticks: before.wrapping_add(width / 2), ns, width }
    }

    /// The counter's rate since then, in kHz; 0 where it makes no sense. Waits
    /// until there is enough to measure by.
    pub fn khz_since(self) -> u32 {
        let mut now = Self::now();
        while now.ns.saturating_sub(self.ns) < LEAST_NS {
            std::hint::spin_loop();
            now = Self::now();
        }
        khz(now.ticks.wrapping_sub(self.ticks), now.ns - self.ns)
    }
}

/// Ticks in so many nanoseconds, as kHz; 0 where no counter runs like that.
fn khz(ticks: u64, ns: u64) -> u32 {
    let khz = u128::from(ticks) * 1_000_000 / u128::from(ns.max(1));
    u32::try_from(khz).unwrap_or(0)
}

fn ticks() -> u64 {
    // SAFETY: every 64-bit processor has the instruction, and Linux allows it
    // unless a program asks otherwise.
    unsafe { _rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_ticks_by_time() {
        assert_eq!(khz(2_610_000, 1_000_000), 2_610_000);
        assert_eq!(khz(0, 1_000_000), 0);
        assert_eq!(khz(u64::MAX, 1), 0);
        assert_eq!(khz(5, 0), 5_000_000);
    }

    #[test]
    fn two_measurements_agree() {
        let (first, second) = (Moment::now().khz_since(), Moment::now().khz_since());
        assert!(first > 100_000, "{first} kHz");
        assert!(first.abs_diff(second) < first / 20, "{first} and {second} kHz");
    }
}
