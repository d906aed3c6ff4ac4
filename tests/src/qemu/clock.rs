//! The clock that a guest runs on without KVM: the host's time-stamp counter.

use std::arch::x86_64::_rdtsc;
use std::time::{Duration, Instant};

/// How long to measure: a thousandth of it is what Linux can live with.
const MEASURED: Duration = Duration::from_millis(50);

/// The rate of this machine's time-stamp counter, which QEMU hands to its guests.
pub fn host_tsc_khz() -> u64 {
    // SAFETY: every 64-bit processor has the instruction.
    let (started, from) = (Instant::now(), unsafe { _rdtsc() });
    std::thread::sleep(MEASURED);
    // SAFETY: as above.
    let (elapsed, to) = (started.elapsed(), unsafe { _rdtsc() });
    (u128::from(to.wrapping_sub(from)) * 1_000_000 / elapsed.as_nanos().max(1)) as u64
}
