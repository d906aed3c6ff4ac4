//! The memory of requests in flight.
//!
//! Slot `i` owns descriptor `i` of the queue where chains lie in tables of
//! their own, else descriptors `i * chain` and on. So a chain's head says whose
//! it is, and nothing has to be found or freed.

use super::queue::SplitQueue;
use super::shape::Shape;
use super::spec::{Descriptor, ID_BYTES, Operation, RequestHeader, status};
use crate::dma::DmaBuffer;
use crate::in_flight::{InFlight, Record};
use crate::platform::{Exhausted, Platform};
use crate::queue::{Cause, Segment};

/// A request's own bytes behind its table: header, then status.
const HEADER_AND_STATUS: usize = size_of::<RequestHeader>() + 16;
/// Room for a serial number, rounded up.
const ID_ROOM: usize = 32;

/// All slots.
pub struct Slots {
    memory: DmaBuffer,
    in_flight: InFlight,
    depth: usize,
    indirect: bool,
    chain: usize,
    stride: usize,
}

impl Slots {
    /// Allocates memory for all requests that can be in flight.
    pub fn new(platform: &dyn Platform, shape: &Shape) -> Result<Self, Exhausted> {
        let chain = usize::from(shape.chain);
        let table = if shape.indirect { chain * Descriptor::SIZE } else { 0 };
        let stride = table + HEADER_AND_STATUS;
        let depth = usize::from(shape.depth);
        Ok(Self {
            memory: DmaBuffer::allocate(platform, depth * stride + ID_ROOM)?,
            in_flight: InFlight::new(depth),
            depth,
            indirect: shape.indirect,
            chain,
            stride,
        })
    }

    /// What is in flight.
    pub fn in_flight(&mut self) -> &mut InFlight {
        &mut self.in_flight
    }

    /// How many requests can be in flight.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Where a serial number can be read into.
    pub fn id_room(&self) -> Segment {
        let address = self.memory.address(self.depth * self.stride);
        Segment { address, bytes: ID_BYTES as u32 }
    }

    /// The serial number that was read.
    pub fn id(&self) -> [u8; ID_BYTES] {
        self.memory.read(self.depth * self.stride)
    }

    /// Builds a request's chain in a slot that is taken for it, and offers it to
    /// the queue. There are at most as many `pieces` as the shape's chains have
    /// room for.
    pub fn build(
        &mut self,
        queue: &mut SplitQueue,
        slot: usize,
        operation: Operation,
        sector: u64,
        pieces: impl Iterator<Item = Segment>,
    ) {
        let header = RequestHeader { operation: operation as u32, reserved: 0, sector };
        let (header_at, status_at) = (self.header_offset(slot), self.status_offset(slot));
        self.memory.write(header_at, header);
        self.memory.write(status_at, status::UNANSWERED);

        let data_flags = if operation.is_device_to_memory() { Descriptor::WRITE } else { 0 };
        let mut links = 0;
        let header_bytes = size_of::<RequestHeader>() as u32;
        let header = (self.memory.address(header_at).0, header_bytes, 0);
        let data = pieces.map(|piece| (piece.address.0, piece.bytes, data_flags));
        for (address, length, flags) in core::iter::once(header).chain(data) {
            let next = self.link(slot, links + 1);
            let flags = flags | Descriptor::NEXT;
            self.write_link(queue, slot, links, Descriptor { address, length, flags, next });
            links += 1;
        }
        let address = self.memory.address(status_at).0;
        let last = Descriptor { address, length: 1, flags: Descriptor::WRITE, next: 0 };
        self.write_link(queue, slot, links, last);

        let head = self.head(slot);
        if self.indirect {
            let table = Descriptor {
                address: self.memory.address(slot * self.stride).0,
                length: ((links + 1) * Descriptor::SIZE) as u32,
                flags: Descriptor::INDIRECT,
                next: 0,
            };
            queue.write_descriptor(head, table);
        }
        queue.offer(head);
    }

    /// Ends the request whose chain began at `head`, as the device says;
    /// answers what it was and the device's status.
    pub fn finish(&mut self, head: u32) -> Result<(Record, u8), Cause> {
        let slot = (0..self.depth).find(|slot| u32::from(self.head(*slot)) == head);
        let finished = slot.and_then(|slot| Some((slot, self.in_flight.finish(slot)?)));
        let (slot, record) =
            finished.ok_or(Cause::Protocol("a request came back that is not in flight"))?;
        Ok((record, self.memory.read(self.status_offset(slot))))
    }

    /// The descriptor of the queue that the slot's chain begins with.
    fn head(&self, slot: usize) -> u16 {
        (if self.indirect { slot } else { slot * self.chain }) as u16
    }

    /// How a descriptor names link `index` of the slot's chain.
    fn link(&self, slot: usize, index: usize) -> u16 {
        if self.indirect { index as u16 } else { self.head(slot) + index as u16 }
    }

    fn write_link(
        &mut self,
        queue: &mut SplitQueue,
        slot: usize,
        index: usize,
        descriptor: Descriptor,
    ) {
        if self.indirect {
            self.memory.write(slot * self.stride + index * Descriptor::SIZE, descriptor);
        } else {
            queue.write_descriptor(self.link(slot, index), descriptor);
        }
    }

    fn header_offset(&self, slot: usize) -> usize {
        (slot + 1) * self.stride - HEADER_AND_STATUS
    }

    fn status_offset(&self, slot: usize) -> usize {
        self.header_offset(slot) + size_of::<RequestHeader>()
    }
}
