//! Reading a part of the target page by page, a few pieces ahead.

use crate::error::Error;
use crate::memory::{Buffer, PageBytes};
use crate::stream::{Owner, Stream};
use dormouse_drivers::queue::{Direction, Segment};
use dormouse_handoff::units::PAGE_SIZE;

/// Pieces on their way from the device at once. Their owners are the numbers
/// below this.
pub const PIECES: usize = 4;

/// Bytes of a piece.
pub const PIECE_BYTES: usize = 64 << 10;

/// The buffers that the pages pass through, [`PIECE_BYTES`] each.
pub type Staging = [Buffer; PIECES];

const PAGE: usize = PAGE_SIZE as usize;
const PIECE_PAGES: usize = PIECE_BYTES / PAGE;

/// The pages of a part of the target, in order.
pub struct ReadAhead {
    staging: Staging,
    /// Image offset of the next byte to be asked for, and of the end.
    ahead: u64,
    end: u64,
    /// Pages taken so far.
    taken: usize,
}

impl ReadAhead {
    /// Will read `length` bytes from image offset `offset` on, both multiples
    /// of a page.
    pub fn new(staging: Staging, offset: u64, length: u64) -> Result<Self, Error> {
        if staging.iter().any(|piece| piece.bytes().len() < PIECE_BYTES) {
            return Err(Error::NoBuffers);
        }
        Ok(Self { staging, ahead: offset, end: offset + length, taken: 0 })
    }

    /// The next page. Past the end there are only stale ones: the caller counts.
    pub fn next_page(&mut self, stream: &mut Stream<'_>) -> Result<&PageBytes, Error> {
        let (piece, page) = (self.taken / PIECE_PAGES % PIECES, self.taken % PIECE_PAGES);
        if page == 0 {
            match self.taken {
                0 => (0..PIECES).try_for_each(|piece| self.ask(stream, piece))?,
                // All of the piece before has been looked at: it can be filled.
                _ => self.ask(stream, (piece + PIECES - 1) % PIECES)?,
            }
            stream.wait(Owner(piece as u8))?;
        }
        self.taken += 1;
        let (pages, _) = self.staging[piece].bytes().as_chunks::<PAGE>();
        pages.get(page).ok_or(Error::NoBuffers)
    }

    /// Asks for the next bytes into a piece.
    fn ask(&mut self, stream: &mut Stream<'_>, piece: usize) -> Result<(), Error> {
        let bytes = (self.end - self.ahead).min(PIECE_BYTES as u64);
        if bytes == 0 {
            return Ok(());
        }
        let segment = Segment { address: self.staging[piece].address(), bytes: bytes as u32 };
        stream.start(Direction::Read, self.ahead, &[segment], Owner(piece as u8))?;
        self.ahead += bytes;
        Ok(())
    }
}
