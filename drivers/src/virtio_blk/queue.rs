//! A split virtqueue (virtio 1.2, §2.7) without allocation on its way.
//!
//! Who makes the chains decides which descriptors a chain has: this module
//! keeps the three areas and the counters. What the device could have changed
//! is never read back, save the used ring, which is the device's to write.

use super::spec::{AVAIL_NO_INTERRUPT, Descriptor, USED_NO_NOTIFY, UsedElement};
use crate::dma::DmaBuffer;
use crate::platform::{Exhausted, Platform};
use crate::queue::Cause;
use core::sync::atomic::{Ordering, fence};
use dormouse_handoff::units::PhysAddr;
use virtio_drivers::transport::Transport;

/// Flags and index of a ring before its entries.
const RING_HEADER: usize = 4;

/// How the three areas lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Where the driver likes, and tells.
    Free,
    /// One after the other from a page on, as the legacy interface wants them
    /// (virtio 1.2, §2.7.2).
    Legacy,
}

impl Layout {
    /// The layout that a transport needs.
    pub fn of(transport: &impl Transport) -> Self {
        if transport.requires_legacy_layout() { Self::Legacy } else { Self::Free }
    }

    /// Where the used ring begins is a multiple of this.
    const fn used_alignment(self) -> usize {
        match self {
            // A cache line of its own: the device writes it while the processor
            // writes the other two areas.
            Self::Free => 64,
            Self::Legacy => LEGACY_ALIGNMENT,
        }
    }
}

/// Alignment of a legacy queue, and of its used ring, in bytes: a page.
pub const LEGACY_ALIGNMENT: usize = 4096;

/// The queue's three areas and what the driver knows of them.
pub struct SplitQueue {
    memory: DmaBuffer,
    size: u16,
    available: usize,
    used: usize,
    /// Chains offered so far, modulo 2^16; the device is told by `publish`.
    offered: u16,
    /// Of these, how many the device was told of.
    published: u16,
    /// Entries of the used ring taken so far, modulo 2^16.
    taken: u16,
}

/// Where the device finds the areas.
pub struct Areas {
    /// The descriptor table.
    pub descriptors: PhysAddr,
    /// The available ring.
    pub driver: PhysAddr,
    /// The used ring.
    pub device: PhysAddr,
}

impl SplitQueue {
    /// Makes an empty queue of `size` entries, a power of two.
    pub fn new(platform: &dyn Platform, size: u16, layout: Layout) -> Result<Self, Exhausted> {
        let entries = usize::from(size);
        let available = entries * Descriptor::SIZE;
        // Each ring has a 16-bit field for another kind of notification behind
        // its entries.
        let available_end = available + RING_HEADER + entries * size_of::<u16>() + 2;
        let used = available_end.next_multiple_of(layout.used_alignment());
        let end = used + RING_HEADER + entries * size_of::<UsedElement>() + 2;
        let mut memory = DmaBuffer::allocate(platform, end)?;
        memory.write(available, AVAIL_NO_INTERRUPT);
        Ok(Self { memory, size, available, used, offered: 0, published: 0, taken: 0 })
    }

    /// How many entries there are.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Where the device finds the areas.
    pub fn areas(&self) -> Areas {
        Areas {
            descriptors: self.memory.address(0),
            driver: self.memory.address(self.available),
            device: self.memory.address(self.used),
        }
    }

    /// Fills in a descriptor, one that no chain in flight uses.
    pub fn write_descriptor(&mut self, index: u16, descriptor: Descriptor) {
        self.memory.write(usize::from(index) * Descriptor::SIZE, descriptor);
    }

    /// Queues the chain that begins at `head`, without telling the device.
    pub fn offer(&mut self, head: u16) {
        let entry = usize::from(self.offered % self.size);
        self.memory.write(self.available + RING_HEADER + entry * size_of::<u16>(), head);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Lets the device see all chains offered so far. Answers whether it has
    /// to be notified of them.
    pub fn publish(&mut self) -> bool {
        if self.published == self.offered {
            return false;
        }
        // Chains, and the pages that they name, before the index (§2.7.13.2).
        fence(Ordering::SeqCst);
        self.memory.write(self.available + 2, self.offered);
        self.published = self.offered;
        // The index before the flags, or both sides could wait (§2.7.13.4.1).
        fence(Ordering::SeqCst);
        self.used_flags_and_index().0 & USED_NO_NOTIFY == 0
    }

    /// The head of the next chain that the device is done with, as it says;
    /// there are never more than `most`.
    pub fn take_used(&mut self, most: usize) -> Result<Option<u32>, Cause> {
        let (_, index) = self.used_flags_and_index();
        let ready = index.wrapping_sub(self.taken);
        if ready == 0 {
            return Ok(None);
        }
        if usize::from(ready) > most {
            return Err(Cause::Protocol("more requests came back than can be in flight"));
        }
        let entry = usize::from(self.taken % self.size);
        let offset = self.used + RING_HEADER + entry * size_of::<UsedElement>();
        let element: UsedElement = self.memory.read(offset);
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(element.id))
    }

    /// Whether the device is done with a chain that was not taken yet.
    pub fn has_used(&self) -> bool {
        self.used_flags_and_index().1 != self.taken
    }

    /// Both in one access; entries are read after it.
    fn used_flags_and_index(&self) -> (u16, u16) {
        let word = self.memory.load_acquire(self.used);
        (word as u16, (word >> 16) as u16)
    }
}
