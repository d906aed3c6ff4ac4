//! Leaving a target as it was found: the page that the image's header covers is
//! put back as the very last step.

use crate::error::Result;
use crate::target::direct::{Direct, Page};
use dormouse_handoff::image::{Header, State};
use zerocopy::IntoBytes;

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
/// # Errors
/// [`Error::Io`](crate::error::Error::Io). After an error the image is either
/// unusable already, or untouched.
pub fn put_back(disk: &Direct, header: &Header, kept: &Page) -> Result<Settled> {
    if matches!(header.state(), State::Valid | State::Writing | State::Inert) {
        let mut page = disk.read(0)?;
        let discarded = header.with_state(State::Discarded);
        page.0[..size_of::<Header>()].copy_from_slice(discarded.as_bytes());
        disk.write(0, &page, header.block_size as usize)?;
    }
    let settled = if kept.is_zero() {
        Settled::HeaderStays
    } else {
        disk.write(0, kept, kept.0.len())?;
        Settled::PutBack
    };
    disk.forget_cache()?;
    Ok(settled)
}
