//! Checking every byte of an image that has a checksum.

use super::{ImageFile, Walk};
use crate::error::Result;

/// Checks everything; `progress` is told how many bytes of data are done. How
/// many chunks there are.
///
/// # Errors
/// [`Error::Image`](crate::error::Error::Image) with the first damage that was
/// found, [`Error::Io`](crate::error::Error::Io).
pub fn verify(image: &ImageFile, mut progress: impl FnMut(u64)) -> Result<u64> {
    let mut walk = Walk::new(image)?;
    while let Some(piece) = walk.piece()? {
        let pages = piece.range.pages;
        walk.advance(pages);
        progress(walk.data_bytes());
    }
    Ok(walk.chunks())
}
