//! Being the first program that runs after a wake-up.
//!
//! The kernel thaws all programs at once, and until its random numbers are
//! fresh, each of them may draw those that somebody else has seen. At the
//! highest real-time priority this one is not passed over on its processor. On
//! others, programs may run while the kernel is still thawing the rest: for
//! well under a millisecond.

/// While this lives, no other program goes before this one.
#[derive(Debug)]
#[must_use = "it goes first only as long as this lives"]
pub struct Foremost {
    before: Option<(libc::c_int, libc::sched_param)>,
}

impl Foremost {
    /// Goes first, where the system lets it.
    pub fn begin() -> Self {
        let mut priority = libc::sched_param { sched_priority: 0 };
        // SAFETY: the calls read and write one structure, on this stack; process
        // 0 is the calling one.
        unsafe {
            let policy = libc::sched_getscheduler(0);
            if policy < 0 || libc::sched_getparam(0, &mut priority) < 0 {
                return Self { before: None };
            }
            let highest = libc::sched_get_priority_max(libc::SCHED_FIFO);
            let first = libc::sched_param { sched_priority: highest };
            let set = libc::sched_setscheduler(0, libc::SCHED_FIFO, &first);
            Self { before: (set == 0).then_some((policy, priority)) }
        }
    }
}

impl Drop for Foremost {
    fn drop(&mut self) {
        if let Some((policy, priority)) = &self.before {
            // SAFETY: as in `begin`; policy and priority are what it was told.
            unsafe { libc::sched_setscheduler(0, *policy, priority) };
        }
    }
}
