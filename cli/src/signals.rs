//! Not being interrupted halfway.
//!
//! Between the first thing that is changed and the last that is put back, a
//! signal would leave swap off or devices half asleep. The network is gone
//! while the machine sleeps, so a hang-up after the wake-up is even likely.

use std::mem::MaybeUninit;

/// While this lives, the signals that end or stop programs wait.
#[derive(Debug)]
#[must_use = "signals are held back only as long as this lives"]
pub struct Uninterrupted {
    before: libc::sigset_t,
}

impl Uninterrupted {
    /// Holds SIGHUP, SIGINT, SIGQUIT, SIGTERM and SIGTSTP (Ctrl-Z) back from this
    /// thread. Programs that are started meanwhile get them: they begin with no signal
    /// held back.
    pub fn begin() -> Self {
        const HELD: [libc::c_int; 5] =
            [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGTSTP];
        let mut held = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: the sets are written before they are read, and the signal
        // numbers are valid, so that none of the calls can fail.
        unsafe {
            libc::sigemptyset(held.as_mut_ptr());
            for signal in HELD {
                libc::sigaddset(held.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, held.as_ptr(), before.as_mut_ptr());
            Self { before: before.assume_init() }
        }
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        // SAFETY: the set is the one that pthread_sigmask gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}
