//! What is in flight, by the driver's own record.
//!
//! A device's answer is only ever looked up here, so one that answers twice, or
//! what was never asked, is found out; and here it shows which answer is late.

use crate::place::Place;
use crate::queue::{Cause, DeviceError};
use alloc::boxed::Box;
use alloc::vec;
use dormouse_handoff::units::Lba;

/// How often a driver looks for what does not show as an answer, while there
/// is none: a dead device, a passed deadline. In microseconds.
const LOOK_INTERVAL_US: u64 = 10_000;

/// What has to be known of a command until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What messages call it, for example `write`.
    pub operation: &'static str,
    /// The first block, where there is one.
    pub lba: Option<Lba>,
    /// The caller's tag.
    pub tag: u32,
    /// How long it may take, in milliseconds.
    pub limit_ms: u64,
}

impl Record {
    /// The error that the command ended in.
    pub fn error(&self, place: &Place, cause: Cause) -> DeviceError {
        DeviceError { lba: self.lba, ..place.error(self.operation, cause) }
    }
}

/// Up to 64 commands, each in a slot of its own.
pub struct InFlight {
    slots: Box<[Slot]>,
    /// One bit for each slot that is free.
    free: u64,
    look_at_us: u64,
}

#[derive(Clone, Copy)]
struct Slot {
    record: Record,
    deadline_us: u64,
}

impl InFlight {
    /// Most slots of a table.
    pub const MOST: usize = u64::BITS as usize;

    /// A table with `slots` free slots; with [`Self::MOST`] where that is less.
    pub fn new(slots: usize) -> Self {
        let slots = slots.min(Self::MOST);
        let record = Record { operation: "", lba: None, tag: 0, limit_ms: 0 };
        Self {
            slots: vec![Slot { record, deadline_us: 0 }; slots].into_boxed_slice(),
            free: all_free(slots),
            look_at_us: 0,
        }
    }

    /// Whether there is nothing in flight.
    pub fn is_idle(&self) -> bool {
        self.free == all_free(self.slots.len())
    }

    /// Takes a slot for a command that starts now; `None` if none is free.
    pub fn start(&mut self, record: Record, now_us: u64) -> Option<usize> {
        let index = self.free.trailing_zeros() as usize;
        let slot = self.slots.get_mut(index)?;
        let deadline_us = now_us.saturating_add(record.limit_ms.saturating_mul(1000));
        *slot = Slot { record, deadline_us };
        self.free &= !(1 << index);
        Some(index)
    }

    /// Gives the commands in flight all their time again: a driver holds them
    /// back, they are not late.
    pub fn restart(&mut self, now_us: u64) {
        for slot in &mut self.slots {
            slot.deadline_us = now_us.saturating_add(slot.record.limit_ms.saturating_mul(1000));
        }
    }

    /// Whether a command is in flight in this slot, of which there may be no
    /// such.
    pub fn is_busy(&self, slot: usize) -> bool {
        slot < self.slots.len() && self.free & 1 << slot == 0
    }

    /// Frees a slot; what was in flight there, if anything was.
    pub fn finish(&mut self, slot: usize) -> Option<Record> {
        if !self.is_busy(slot) {
            return None;
        }
        self.free |= 1 << slot;
        Some(self.slots[slot].record)
    }

    /// Whether it is time to look for what does not show as an answer.
    pub fn is_look_due(&mut self, now_us: u64) -> bool {
        if self.is_idle() || now_us < self.look_at_us {
            return false;
        }
        self.look_at_us = now_us.saturating_add(LOOK_INTERVAL_US);
        true
    }

    /// The command that is overdue for longest.
    pub fn overdue(&self, now_us: u64) -> Option<Record> {
        (0..self.slots.len())
            .filter(|slot| self.is_busy(*slot))
            .map(|slot| &self.slots[slot])
            .filter(|slot| slot.deadline_us <= now_us)
            .min_by_key(|slot| slot.deadline_us)
            .map(|slot| slot.record)
    }
}

/// The bits of `slots` slots.
const fn all_free(slots: usize) -> u64 {
    if slots >= InFlight::MOST { u64::MAX } else { (1 << slots) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tag: u32, limit_ms: u64) -> Record {
        Record { operation: "read", lba: Some(Lba(8)), tag, limit_ms }
    }

    #[test]
    fn each_slot_is_taken_once_and_ends_once() {
        for slots in [1, 2, 63, 64] {
            let mut table = InFlight::new(slots);
            for tag in 0..slots {
                assert_eq!(table.start(record(tag as u32, 1), 0), Some(tag));
            }
            assert_eq!(table.start(record(99, 1), 0), None);
            assert_eq!(table.finish(slots - 1).map(|record| record.tag), Some(slots as u32 - 1));
            assert_eq!(table.finish(slots - 1), None, "it ended twice");
            assert_eq!(table.start(record(99, 1), 0), Some(slots - 1));
            assert!(!table.is_idle());
            (0..slots).for_each(|slot| assert!(table.finish(slot).is_some()));
            assert!(table.is_idle());
        }
    }

    #[test]
    fn slots_that_do_not_exist_are_never_busy() {
        let mut table = InFlight::new(3);
        assert_eq!(table.finish(3), None);
        assert_eq!(table.finish(64), None);
        assert_eq!(table.finish(usize::MAX), None);
    }

    #[test]
    fn the_command_that_waits_longest_past_its_deadline_is_overdue() {
        let mut table = InFlight::new(4);
        table.start(record(1, 30), 0);
        table.start(record(2, 10), 0);
        table.start(record(3, 10), 5_000);
        assert_eq!(table.overdue(9_999), None);
        assert_eq!(table.overdue(40_000).map(|record| record.tag), Some(2));
        table.finish(1);
        assert_eq!(table.overdue(40_000).map(|record| record.tag), Some(3));
    }

    #[test]
    fn a_command_that_was_held_back_has_all_its_time() {
        let mut table = InFlight::new(1);
        table.start(record(1, 30), 0);
        table.restart(20_000);
        assert_eq!(table.overdue(49_999), None);
        assert!(table.overdue(50_000).is_some());
    }

    #[test]
    fn looks_are_due_at_intervals_while_something_is_in_flight() {
        let mut table = InFlight::new(1);
        assert!(!table.is_look_due(50));
        table.start(record(1, 30), 50);
        assert!(table.is_look_due(50));
        assert!(!table.is_look_due(51));
        assert!(table.is_look_due(50 + LOOK_INTERVAL_US));
    }
}
