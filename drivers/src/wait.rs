//! Waiting, never without a deadline.

use crate::platform::Platform;

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Polls until `done` says so, for at most `limit_ms` milliseconds.
///
/// `done` is asked once more after the deadline: a machine that stood still
/// meanwhile does not make a device late.
pub fn wait_until(
    platform: &dyn Platform,
    limit_ms: u64,
    mut done: impl FnMut() -> bool,
) -> Result<(), Elapsed> {
    let deadline = deadline_us(platform, limit_ms);
    while !done() {
        if platform.now_us() >= deadline {
            return if done() { Ok(()) } else { Err(Elapsed) };
        }
        core::hint::spin_loop();
    }
    Ok(())
}

/// Lets `us` microseconds pass, where a specification asks for time and has
/// nothing to poll.
pub fn settle(platform: &dyn Platform, us: u64) {
    let end = platform.now_us().saturating_add(us);
    while platform.now_us() < end {
        core::hint::spin_loop();
    }
}

/// The moment `limit_ms` milliseconds from now, on the platform's clock.
pub fn deadline_us(platform: &dyn Platform, limit_ms: u64) -> u64 {
    platform.now_us().saturating_add(limit_ms.saturating_mul(1000))
}
