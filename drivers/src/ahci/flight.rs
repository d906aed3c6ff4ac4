//! Where each of a port's commands is.
//!
//! ```text
//!  free ─> built ─> rung ─> issued ─> ended ─> free
//!                     ^        │
//!                     └─ again ┘  a fault, and not known whose
//! ```
//!
//! After a fault the controller and the disk have forgotten every command, and
//! which one failed is told in ways that not every disk knows. So all that were
//! under way are issued again, one at a time: a command that fails alone has
//! failed. Reads and writes of the same pages do no harm twice.

use crate::in_flight::{InFlight, Record};
use crate::queue::Cause;

/// A command that came to its end, and why if not well.
#[derive(Debug)]
pub struct Ended {
    /// What it was.
    pub record: Record,
    /// Why it failed, if it did.
    pub failure: Option<Cause>,
}

/// All slots of a port; sets of slots are bit masks.
pub struct Flight {
    records: InFlight,
    built: u32,
    rung: u32,
    issued: u32,
    again: u32,
    finished: u32,
    failed: Option<(u32, Cause)>,
    /// One at a time until all of `again` have ended.
    careful: bool,
}

impl Flight {
    /// `slots` free slots, 1 to 32.
    pub fn new(slots: u32) -> Self {
        Self {
            records: InFlight::new(slots as usize),
            built: 0,
            rung: 0,
            issued: 0,
            again: 0,
            finished: 0,
            failed: None,
            careful: false,
        }
    }

    /// The commands anywhere on their way.
    pub fn records(&mut self) -> &mut InFlight {
        &mut self.records
    }

    /// Takes a free slot; `None` if there is none.
    pub fn take(&mut self, record: Record, now_us: u64) -> Option<u32> {
        let slot = self.records.start(record, now_us)? as u32;
        self.built |= 1 << slot;
        Some(slot)
    }

    /// All commands built so far may be issued.
    pub fn ring(&mut self) {
        self.rung |= core::mem::take(&mut self.built);
    }

    /// The slots to issue now; they count as issued from now on.
    pub fn issue(&mut self, now_us: u64) -> u32 {
        if self.issued == 0 && self.again == 0 {
            self.careful = false;
        }
        let slots = match self.careful {
            false => core::mem::take(&mut self.rung),
            true if self.issued == 0 => lowest(self.again),
            true => 0,
        };
        if self.careful && slots != 0 {
            self.records.restart(now_us);
        }
        self.again &= !slots;
        self.issued |= slots;
        slots
    }

    /// The slots under way with the controller.
    pub fn issued(&self) -> u32 {
        self.issued
    }

    /// Of the issued slots only `left` are still under way: the others are
    /// done.
    pub fn settle(&mut self, left: u32) {
        self.finished |= self.issued & !left;
        self.issued &= left;
    }

    /// The controller stopped because of one of the issued commands.
    pub fn fault(&mut self, cause: Cause) {
        let slots = core::mem::take(&mut self.issued);
        if slots.count_ones() == 1 {
            self.failed = Some((slots.trailing_zeros(), cause));
        } else {
            self.again |= slots;
            self.careful = true;
        }
    }

    /// The next command that has come to its end; its slot is free again.
    pub fn next_ended(&mut self) -> Option<Ended> {
        let (slot, failure) = match self.failed.take() {
            Some((slot, cause)) => (slot, Some(cause)),
            None => {
                let slot = lowest(self.finished);
                self.finished &= !slot;
                (slot.trailing_zeros(), None)
            }
        };
        let record = self.records.finish(slot as usize)?;
        Some(Ended { record, failure })
    }
}

/// The lowest slot of a set, as a set.
fn lowest(slots: u32) -> u32 {
    slots & slots.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tag: u32) -> Record {
        Record { operation: "read", lba: None, tag, limit_ms: 30 }
    }

    fn taken(flight: &mut Flight, count: u32) -> Vec<u32> {
        (0..count).map(|tag| flight.take(record(tag), 0).unwrap()).collect()
    }

    fn next_tag(flight: &mut Flight) -> Option<(u32, bool)> {
        flight.next_ended().map(|ended| (ended.record.tag, ended.failure.is_none()))
    }

    #[test]
    fn slots_are_as_many_as_there_are() {
        for slots in [1, 2, 31, 32] {
            let mut flight = Flight::new(slots);
            taken(&mut flight, slots);
            assert!(flight.take(record(99), 0).is_none(), "{slots}");
        }
    }

    #[test]
    fn nothing_is_issued_before_it_is_rung() {
        let mut flight = Flight::new(4);
        taken(&mut flight, 2);
        assert_eq!(flight.issue(0), 0);
        flight.ring();
        assert_eq!(flight.issue(0), 0b11);
        assert_eq!(flight.issue(0), 0);
    }

    #[test]
    fn what_is_not_left_is_done() {
        let mut flight = Flight::new(4);
        taken(&mut flight, 3);
        flight.ring();
        flight.issue(0);
        flight.settle(0b010);
        assert_eq!(next_tag(&mut flight), Some((0, true)));
        assert_eq!(next_tag(&mut flight), Some((2, true)));
        assert_eq!(next_tag(&mut flight), None);
        assert_eq!(flight.issued(), 0b010);
    }

    #[test]
    fn slots_that_were_never_issued_cannot_end() {
        let mut flight = Flight::new(4);
        taken(&mut flight, 1);
        flight.settle(0);
        assert_eq!(next_tag(&mut flight), None);
    }

    #[test]
    fn after_a_fault_commands_go_one_at_a_time_and_one_fails_alone() {
        let mut flight = Flight::new(4);
        taken(&mut flight, 3);
        flight.ring();
        assert_eq!(flight.issue(0), 0b111);
        flight.fault(Cause::Exhausted);
        assert_eq!(next_tag(&mut flight), None, "nobody knows yet whose it was");

        assert_eq!(flight.issue(0), 0b001);
        flight.take(record(9), 0).unwrap();
        flight.ring();
        assert_eq!(flight.issue(0), 0, "new ones wait");
        flight.settle(0);
        assert_eq!(next_tag(&mut flight), Some((0, true)));

        assert_eq!(flight.issue(0), 0b010);
        flight.fault(Cause::Exhausted);
        assert_eq!(next_tag(&mut flight), Some((1, false)));

        assert_eq!(flight.issue(0), 0b100);
        flight.settle(0);
        assert_eq!(next_tag(&mut flight), Some((2, true)));
        assert_eq!(flight.issue(0), 0b1000, "and now they go on");
    }

    #[test]
    fn commands_that_wait_for_others_are_not_late() {
        let mut flight = Flight::new(2);
        taken(&mut flight, 2);
        flight.ring();
        flight.issue(0);
        flight.fault(Cause::Exhausted);
        assert_eq!(flight.issue(20_000), 0b01);
        assert!(flight.records().overdue(49_999).is_none());
        flight.settle(0);
        assert!(next_tag(&mut flight).is_some());
        assert_eq!(flight.issue(40_000), 0b10);
        assert!(flight.records().overdue(69_999).is_none());
        assert!(flight.records().overdue(70_000).is_some());
    }
}
