//! A disk whose files are read: small pieces by way of a buffer, large ones
//! straight to where they belong.

use super::Error;
use dormouse_boot::Disk;
use dormouse_boot::fat::{Damage, Run};
use dormouse_drivers::queue::{BlockQueue, Direction, Segment};
use dormouse_handoff::extents::{Extent, ExtentMap};
use dormouse_handoff::units::{Lba, PAGE_SIZE, PhysAddr};
use dormouse_transfer::error;
use dormouse_transfer::memory::Buffer;
use dormouse_transfer::stream::{Owner, Stream};

/// Bytes of a request for a file, where the device takes as many.
const PIECE: u64 = 1 << 20;

/// How many of those are in flight.
const DEPTH: u8 = 16;

/// A disk that was opened.
pub struct OpenDisk<'a> {
    device: &'a mut dyn BlockQueue,
    buffer: &'a mut Buffer,
    /// Which piece of the disk the buffer holds, in buffers' lengths.
    held: Option<u64>,
}

impl<'a> OpenDisk<'a> {
    /// Bytes that its buffer should have.
    pub const BUFFER_BYTES: usize = 64 << 10;

    pub fn new(device: &'a mut dyn BlockQueue, buffer: &'a mut Buffer) -> Self {
        Self { device, buffer, held: None }
    }

    /// Everything on the disk, in whole pages.
    fn whole(&self) -> [Extent; 1] {
        let geometry = self.device.geometry();
        let page_blocks = PAGE_SIZE / u64::from(geometry.block_size);
        [Extent { start: Lba(0), blocks: geometry.blocks / page_blocks * page_blocks }]
    }

    /// Reads `runs` to `to`, one after the other, many requests at a time.
    ///
    /// # Safety
    ///
    /// The memory from `to` on is RAM that nobody uses, for as many bytes as the
    /// runs have and a block more.
    pub unsafe fn load(&mut self, runs: &[Run], to: PhysAddr) -> Result<(), Error> {
        let geometry = self.device.geometry();
        let block = u64::from(geometry.block_size);
        if runs.iter().any(|run| !run.offset.is_multiple_of(block)) {
            return Err(Damage::BootSector("sectors smaller than the disk's blocks").into());
        }
        let extents = self.whole();
        let map = ExtentMap::new(&extents, geometry.block_size, geometry.blocks);
        let mut stream = Stream::new(self.device, map.map_err(error::Error::Extents)?)?;
        let mut at = to.0;
        let mut owner = 0;
        for run in runs {
            let mut done = 0;
            while done < run.bytes {
                // The file's last block is read whole.
                let bytes = (run.bytes - done).min(PIECE).next_multiple_of(block);
                let segment = Segment { address: PhysAddr(at + done), bytes: bytes as u32 };
                stream.wait(Owner(owner))?;
                stream.start(Direction::Read, run.offset + done, &[segment], Owner(owner))?;
                owner = (owner + 1) % DEPTH;
                done += bytes;
            }
            at += run.bytes;
        }
        Ok(stream.wait_all()?)
    }
}

impl Disk for OpenDisk<'_> {
    type Error = error::Error;

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), error::Error> {
        let length = self.buffer.bytes().len() as u64;
        let mut done = 0;
        while done < into.len() {
            let at = offset + done as u64;
            let piece = at / length;
            if self.held != Some(piece) {
                self.fill(piece)?;
            }
            let from = (at % length) as usize;
            let held = self.buffer.bytes().get(from..).unwrap_or_default();
            let rest = into.get_mut(done..).unwrap_or_default();
            let take = held.len().min(rest.len());
            rest[..take].copy_from_slice(&held[..take]);
            done += take;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let geometry = self.device.geometry();
        self.whole()[0].blocks * u64::from(geometry.block_size)
    }
}

impl OpenDisk<'_> {
    /// Reads a piece of the disk into the buffer, or what there is of it.
    fn fill(&mut self, piece: u64) -> Result<(), error::Error> {
        self.held = None;
        let whole = self.bytes();
        let geometry = self.device.geometry();
        let length = self.buffer.bytes().len() as u64;
        let offset = piece.saturating_mul(length);
        let bytes = whole.saturating_sub(offset).min(length);
        if bytes == 0 {
            return Err(error::Error::OutOfTarget { offset });
        }
        let extents = self.whole();
        let map = ExtentMap::new(&extents, geometry.block_size, geometry.blocks)?;
        let mut stream = Stream::new(self.device, map)?;
        stream.read(offset, self.buffer, bytes as usize)?;
        self.held = Some(piece);
        Ok(())
    }
}
