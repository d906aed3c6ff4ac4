//! From image offsets to requests in flight.

use crate::error::Error;
use crate::memory::Buffer;
use dormouse_drivers::queue::{BlockQueue, Direction, Geometry, Request, Segment, SubmitError};
use dormouse_handoff::extents::ExtentMap;
use dormouse_handoff::units::PhysAddr;

/// Most segments in one call of [`Stream::start`]: a chunk of lone pages.
pub const MAX_SEGMENTS: usize = dormouse_handoff::image::CHUNK_PAGES as usize;

/// How many transfers can be told apart while in flight.
pub const OWNERS: usize = 32;

/// Names a transfer while it is in flight; below [`OWNERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u8);

/// Owner of the short reads and writes that are waited for at once.
const SYNCHRONOUS: Owner = Owner(OWNERS as u8 - 1);

/// The target as one stream of bytes, with many requests in flight.
///
/// A transfer may fall into several requests, where an extent ends or the
/// device takes no more at once; all of them belong to one [`Owner`].
pub struct Stream<'a> {
    device: &'a mut dyn BlockQueue,
    extents: ExtentMap<'a>,
    geometry: Geometry,
    pending: [u16; OWNERS],
    sequence: u32,
}

impl<'a> Stream<'a> {
    /// The target that consists of `extents` of `device`.
    pub fn new(device: &'a mut dyn BlockQueue, extents: ExtentMap<'a>) -> Result<Self, Error> {
        let geometry = device.geometry();
        if u64::from(geometry.block_size) != extents.block_size() {
            return Err(Error::BlockSize {
                device: geometry.block_size,
                expected: extents.block_size() as u32,
            });
        }
        Ok(Self { device, extents, geometry, pending: [0; OWNERS], sequence: 0 })
    }

    /// What the device takes.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Bytes of all extents.
    pub fn capacity(&self) -> u64 {
        self.extents.capacity()
    }

    /// Begins to move the bytes at image offset `offset` from or to `segments`,
    /// in order. The device learns of it at once.
    ///
    /// `offset` is a multiple of the block size, each segment's length too.
    pub fn start(
        &mut self,
        direction: Direction,
        mut offset: u64,
        segments: &[Segment],
        owner: Owner,
    ) -> Result<(), Error> {
        let block_size = self.extents.block_size();
        let mut batch = [Segment { address: PhysAddr(0), bytes: 0 }; MAX_SEGMENTS];
        let mut rest = segments.iter().copied();
        let mut current = rest.next();
        while current.is_some() {
            let (lba, blocks) = self.extents.locate(offset).ok_or(Error::OutOfTarget { offset })?;
            let room = blocks.saturating_mul(block_size).min(u64::from(self.geometry.max_bytes));
            let most = MAX_SEGMENTS.min(self.geometry.max_segments as usize);
            let mut count = 0;
            let mut bytes = 0;
            while let Some(segment) = current
                && count < most
                && bytes < room
            {
                let take = u64::from(segment.bytes).min(room - bytes);
                batch[count] = Segment { address: segment.address, bytes: take as u32 };
                count += 1;
                bytes += take;
                current = if take == u64::from(segment.bytes) {
                    rest.next()
                } else {
                    Some(Segment {
                        address: PhysAddr(segment.address.0 + take),
                        bytes: segment.bytes - take as u32,
                    })
                };
            }
            if bytes == 0 {
                return Err(Error::Inconsistent("a transfer of no bytes"));
            }
            self.sequence = self.sequence.wrapping_add(1);
            let tag = self.sequence << 8 | u32::from(owner.0);
            let request = Request { direction, lba, segments: &batch[..count], tag };
            if let Err(error) = self.submit(&request) {
                // What was taken before is waited for later: the device must
                // know of it.
                self.device.ring();
                return Err(error);
            }
            self.pending[usize::from(owner.0)] += 1;
            offset += bytes;
        }
        self.device.ring();
        Ok(())
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), Error> {
        loop {
            match self.device.submit(request) {
                Ok(()) => return Ok(()),
                Err(SubmitError::Full) => {
                    self.device.ring();
                    self.poll()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes whatever completions there are by now. Never waits.
    ///
    /// A request that failed is over as well: after its error, the stream can
    /// be waited for and used again.
    pub fn poll(&mut self) -> Result<(), Error> {
        while let Some(completion) = self.device.poll()? {
            let owner = (completion.tag & 0xff) as usize;
            match self.pending.get_mut(owner) {
                Some(pending) if *pending > 0 => *pending -= 1,
                _ => return Err(Error::Inconsistent("a completion that nobody waits for")),
            }
            completion.result?;
        }
        Ok(())
    }

    /// Whether all of the owner's requests have completed.
    pub fn is_idle(&self, owner: Owner) -> bool {
        self.pending[usize::from(owner.0)] == 0
    }

    /// Waits until all of the owner's requests have completed. The device's
    /// driver sees to it that this comes to an end.
    pub fn wait(&mut self, owner: Owner) -> Result<(), Error> {
        while !self.is_idle(owner) {
            self.poll()?;
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// Waits until nothing is in flight.
    pub fn wait_all(&mut self) -> Result<(), Error> {
        for owner in 0..OWNERS as u8 {
            self.wait(Owner(owner))?;
        }
        Ok(())
    }

    /// Makes everything durable that was written so far.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.wait_all()?;
        Ok(self.device.flush()?)
    }

    /// Writes the first `bytes` bytes of `buffer` (rounded up to whole blocks)
    /// and waits.
    pub fn write(&mut self, offset: u64, buffer: &Buffer, bytes: usize) -> Result<(), Error> {
        self.synchronous(Direction::Write, offset, buffer, bytes)
    }

    /// Reads into the first `bytes` bytes of `buffer` (rounded up to whole
    /// blocks) and waits.
    pub fn read(&mut self, offset: u64, buffer: &mut Buffer, bytes: usize) -> Result<(), Error> {
        self.synchronous(Direction::Read, offset, buffer, bytes)
    }

    fn synchronous(
        &mut self,
        direction: Direction,
        offset: u64,
        buffer: &Buffer,
        bytes: usize,
    ) -> Result<(), Error> {
        let whole = bytes.next_multiple_of(self.extents.block_size() as usize);
        if whole > buffer.bytes().len() {
            return Err(Error::NoBuffers);
        }
        let segment = Segment { address: buffer.address(), bytes: whole as u32 };
        self.start(direction, offset, &[segment], SYNCHRONOUS)?;
        self.wait(SYNCHRONOUS)
    }
}
