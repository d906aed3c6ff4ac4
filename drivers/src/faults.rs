//! Faults that the scripted controllers of the tests play, as values: the n-th
//! command goes wrong in one of the ways that a controller has.

use crate::fakes::FakeMachine;
use dormouse_handoff::units::Lba;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It fails with an error status, and again each time it is repeated.
    Status,
    /// It is never answered, and not done.
    Silence,
    /// It is done and answered late, within every deadline.
    Late,
    /// It is done and answered after every deadline.
    TooLate,
    /// It is done and answered twice.
    Twice,
    /// It is done, and the answer names another command.
    WrongId,
    /// From this command on the controller is dead: registers read all ones.
    Dead,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Status,
        Self::Silence,
        Self::Late,
        Self::TooLate,
        Self::Twice,
        Self::WrongId,
        Self::Dead,
    ];

    /// Microseconds until a late answer comes: less than any deadline of a
    /// driver, or more.
    pub fn delay_us(self) -> u64 {
        if self == Self::Late { 8_000_000 } else { 100_000_000 }
    }
}

/// The command that a fault hit, as a driver's error would name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// What is done, for example `write`.
    pub operation: &'static str,
    /// The first block, where there is one.
    pub lba: Option<Lba>,
}

/// Counts a controller's commands, and picks the one that goes wrong.
#[derive(Default)]
pub(crate) struct Faults {
    seen: Cell<usize>,
    at: Cell<Option<(usize, Fault)>>,
    culprit: Cell<Option<Culprit>>,
    dead: Cell<bool>,
    fates: RefCell<VecDeque<Option<Fault>>>,
}

impl Faults {
    /// Has the command go wrong that has the number `at` from now on, counted
    /// from 0; none where it is `None`. A controller that was dead lives again.
    pub fn set(&self, at: Option<(usize, Fault)>) {
        self.seen.set(0);
        self.at.set(at);
        self.culprit.set(None);
        self.dead.set(false);
        self.fates.borrow_mut().clear();
    }

    /// Says what becomes of each of the next commands.
    pub fn script(&self, fates: Vec<Option<Fault>>) {
        self.set(None);
        *self.fates.borrow_mut() = fates.into();
    }

    /// Commands since [`Self::set`].
    pub fn seen(&self) -> usize {
        self.seen.get()
    }

    /// The command that went wrong, if it came to that.
    pub fn culprit(&self) -> Option<Culprit> {
        self.culprit.get()
    }

    /// Whether the controller is dead.
    pub fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// A command arrives: what becomes of it. With a fault the clock goes by
    /// the millisecond, so that a deadline of a minute takes no time.
    pub fn next(&self, machine: &FakeMachine, command: Culprit) -> Option<Fault> {
        let number = self.seen.get();
        self.seen.set(number + 1);
        let repeated = || matches!(self.at.get(), Some((_, Fault::Status)));
        if self.culprit.get() == Some(command) && repeated() {
            return Some(Fault::Status);
        }
        let fate = self.fates.borrow_mut().pop_front().flatten();
        let planned = || self.at.get().filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let fault = fate.or_else(planned)?;
        self.culprit.set(Some(command));
        self.dead.set(fault == Fault::Dead);
        machine.set_tick(1000);
        Some(fault)
    }
}
