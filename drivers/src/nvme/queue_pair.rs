//! A submission queue and the completion queue that answers it (NVM Express
//! base specification 2.0, §3.3).

use super::spec::{Command, CompletionEntry, register};
use crate::dma::DmaBuffer;
use crate::platform::{Exhausted, Platform};
use crate::registers::Registers;
use core::sync::atomic::{Ordering, fence};
use dormouse_handoff::units::PhysAddr;

/// Both queues, of the same number of entries.
///
/// The caller keeps fewer commands in flight than there are entries, so neither
/// queue can overflow, and the submission queue's head need not be known.
pub struct QueuePair {
    id: u16,
    entries: u16,
    sq_entry_shift: u32,
    submissions: DmaBuffer,
    completions: DmaBuffer,
    /// Where the next command goes, and how far the controller has been told.
    tail: u16,
    told_tail: u16,
    /// Where the next completion is expected, and in which phase; how far the
    /// controller has been told.
    head: u16,
    phase: bool,
    told_head: u16,
    doorbell_stride: usize,
}

impl QueuePair {
    /// Allocates queues of `entries` entries, 2 to 32768.
    pub fn allocate(
        platform: &dyn Platform,
        id: u16,
        entries: u16,
        sq_entry_shift: u32,
        doorbell_stride: usize,
    ) -> Result<Self, Exhausted> {
        let count = usize::from(entries);
        Ok(Self {
            id,
            entries,
            sq_entry_shift,
            submissions: DmaBuffer::allocate(platform, count << sq_entry_shift)?,
            completions: DmaBuffer::allocate(platform, count * size_of::<CompletionEntry>())?,
            tail: 0,
            told_tail: 0,
            head: 0,
            phase: true,
            told_head: 0,
            doorbell_stride,
        })
    }

    /// Empties both queues, as after a reset of the controller.
    pub fn clear(&mut self) {
        self.submissions.clear();
        self.completions.clear();
        (self.tail, self.told_tail) = (0, 0);
        (self.head, self.told_head) = (0, 0);
        self.phase = true;
    }

    /// The queues' number.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// How many entries each has.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Where the controller finds the submission queue.
    pub fn submissions(&self) -> PhysAddr {
        self.submissions.address(0)
    }

    /// Where the controller finds the completion queue.
    pub fn completions(&self) -> PhysAddr {
        self.completions.address(0)
    }

    /// Puts a command into the queue, without telling the controller yet.
    pub fn push(&mut self, command: Command) {
        self.submissions.write(usize::from(self.tail) << self.sq_entry_shift, command);
        self.tail = self.after(self.tail);
    }

    /// Tells the controller of all commands put into the queue so far.
    pub fn ring(&mut self, registers: &impl Registers) {
        if self.tail == self.told_tail {
            return;
        }
        // With all entries given back there is room for every answer.
        self.acknowledge(registers);
        self.told_tail = self.tail;
        // What was put into the queue is in memory before the controller looks.
        fence(Ordering::Release);
        registers.write32(self.doorbell(0), u32::from(self.tail));
    }

    /// Takes the next completion, if there is one by now.
    pub fn pop(&mut self) -> Option<CompletionEntry> {
        let offset = usize::from(self.head) * size_of::<CompletionEntry>();
        // The last word holds the phase: the controller has written the others
        // no later.
        let last = self.completions.load_acquire(offset + CompletionEntry::LAST_WORD);
        if (last & CompletionEntry::PHASE != 0) != self.phase {
            return None;
        }
        let entry = self.completions.read(offset);
        self.head = self.after(self.head);
        if self.head == 0 {
            self.phase = !self.phase;
        }
        Some(entry)
    }

    /// Gives the entries of all completions taken so far back to the controller.
    pub fn acknowledge(&mut self, registers: &impl Registers) {
        if self.head != self.told_head {
            self.told_head = self.head;
            registers.write32(self.doorbell(1), u32::from(self.head));
        }
    }

    fn after(&self, index: u16) -> u16 {
        if index + 1 == self.entries { 0 } else { index + 1 }
    }

    /// The submission queue's doorbell is the even one, the completion queue's
    /// the odd one.
    fn doorbell(&self, odd: usize) -> usize {
        register::DOORBELLS + (2 * usize::from(self.id) + odd) * self.doorbell_stride
    }
}
