//! What moving workloads have in common: a count that must go on growing.

use super::Living;
use crate::error::Error;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a living thing may stand still.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many steps show that something goes on.
const STEPS: u64 = 5;

/// How far a thread got, and how it ended if it did.
#[derive(Clone, Default)]
pub struct Progress {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    steps: u64,
    fault: Option<String>,
}

impl Progress {
    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// One more step.
    pub fn step(&self) {
        self.lock().steps += 1;
        self.shared.1.notify_all();
    }

    /// Runs `work` in a thread of its own; an error of it is kept for
    /// [`Progress::wait_for_more`] to tell.
    pub fn watch(&self, work: impl FnOnce(&Self) -> Result<(), Error> + Send + 'static) {
        let progress = self.clone();
        std::thread::spawn(move || {
            let fault = work(&progress).err().map(|e| e.to_string());
            progress.lock().fault = fault.or(Some("ended by itself".into()));
            progress.shared.1.notify_all();
        });
    }

    /// Waits until a few more steps are made.
    pub fn wait_for_more(&self, what: &'static str) -> Result<u64, Error> {
        let state = self.lock();
        let goal = state.steps + STEPS;
        let (state, _) = self
            .shared
            .1
            .wait_timeout_while(state, PATIENCE, |s| s.steps < goal && s.fault.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match &state.fault {
            Some(fault) => Err(Error::Lost(format!("{what}: {fault}"))),
            None if state.steps < goal => Err(Error::Stalled { what, watched: PATIENCE }),
            None => Ok(state.steps),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that counts.
pub struct Counter(Progress);

/// Starts counting, a hundred times a second.
pub fn counter() -> Counter {
    let progress = Progress::default();
    progress.watch(|progress| {
        loop {
            std::thread::sleep(Duration::from_millis(10));
            progress.step();
        }
    });
    Counter(progress)
}

impl Living for Counter {
    fn check(&mut self) -> Result<String, Error> {
        let steps = self.0.wait_for_more("the counter")?;
        Ok(format!("counted to {steps}"))
    }

    fn progress(&self) -> u64 {
        self.0.steps()
    }
}
