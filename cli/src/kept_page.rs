//! Leaving a target as it was found: the page that the image's header covers is
//! put back as the very last step.

use crate::error::Result;
use crate::target::direct::Page;
use dormouse_handoff::image::{Header, State};
use std::ops::Range;
use zerocopy::IntoBytes;

/// A target's first page. A trait, so that power cuts can be tried out on it.
pub trait FirstPage {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io).
    fn read(&self) -> Result<Page>;

    /// Writes a part of it, whole blocks, and waits until they are durable.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io).
    fn write(&self, page: &Page, part: Range<usize>) -> Result<()>;

    /// Makes Linux forget what it has cached of it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io).
    fn forget_cache(&self) -> Result<()>;
}

/// What was done to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its first page is again what it was before the image.
    PutBack,
    /// An unusable header stays: there was nothing in its place before.
    HeaderStays,
}

/// Makes sure that the image is never resumed, then puts `kept` back.
///
/// A page of zeros means that nothing was there before; the header then stays
/// and tells what the rest of the target is.
///
/// The header's own block comes last: a page is more than one block on most
/// disks, and whoever is cut off before the last one finds a header that says
/// where the page is kept.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io). After an error the image is either
/// unusable already, or untouched.
pub fn put_back(disk: &impl FirstPage, header: &Header, kept: &Page) -> Result<Settled> {
    let block = header.block_size as usize;
    if matches!(header.state(), State::Valid | State::Writing | State::Inert) {
        let mut page = disk.read()?;
        let discarded = header.with_state(State::Discarded);
        page.0[..size_of::<Header>()].copy_from_slice(discarded.as_bytes());
        disk.write(&page, 0..block)?;
    }
    let settled = if kept.is_zero() {
        Settled::HeaderStays
    } else {
        if block < kept.0.len() {
            disk.write(kept, block..kept.0.len())?;
        }
        disk.write(kept, 0..block)?;
        Settled::PutBack
    };
    disk.forget_cache()?;
    Ok(settled)
}
