//! Going through a whole image and checking every byte that has a checksum.

use super::{ImageError, ImageFile};
use crate::error::{Error, Result};
use dormouse_handoff::image::{Chunk, Codec, Counts, Run, RunKind};
use dormouse_handoff::units::PAGE_SIZE;
use zerocopy::IntoBytes;

/// What was checked.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The runs.
    pub runs: Vec<Run>,
    /// Chunks whose bytes are right.
    pub chunks: u64,
    /// Bytes of data that are right.
    pub data_bytes: u64,
}

/// Checks everything; `progress` is told how many bytes of data are done.
///
/// # Errors
/// [`Error::Image`] with the first damage that was found, [`Error::Io`].
pub fn verify(image: &ImageFile, mut progress: impl FnMut(u64)) -> Result<Verified> {
    image.plan()?;
    image.jump_back()?;
    image.kept_page()?;
    image.log()?;
    let runs = image.runs()?;
    let failed = |fault| image.failed(fault);
    let counts = count(&runs).map_err(failed)?;
    let header = image.header();
    if counts != header.counts || counts.stored * PAGE_SIZE != header.data_length {
        return Err(failed(ImageError::Counts));
    }
    let chunks = image.chunks()?;
    let mut done = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        check_chunk(image, index, chunk, done)?;
        done += u64::from(chunk.length);
        progress(done);
    }
    if done != header.data_length {
        return Err(failed(ImageError::Counts));
    }
    Ok(Verified { runs, chunks: chunks.len() as u64, data_bytes: done })
}

/// Adds the runs up, which must be ordered and of known kinds.
fn count(runs: &[Run]) -> std::result::Result<Counts, ImageError> {
    let mut counts = Counts::default();
    let mut past = 0;
    for (i, run) in runs.iter().enumerate() {
        let kind = RunKind::from_number(run.kind).ok_or(ImageError::Run(i))?;
        if run.pages == 0 || run.start.0 < past {
            return Err(ImageError::Run(i));
        }
        past = run.range().end().0;
        let counted = match kind {
            RunKind::Stored => &mut counts.stored,
            RunKind::Zero => &mut counts.zero,
            RunKind::Free => &mut counts.free,
            RunKind::Excluded => &mut counts.excluded,
            RunKind::Window => &mut counts.window,
        };
        *counted = counted.saturating_add(run.pages.into());
    }
    Ok(counts)
}

fn check_chunk(image: &ImageFile, index: usize, chunk: &Chunk, expected: u64) -> Result<()> {
    let raw = chunk.codec == Codec::Raw as u32
        && u64::from(chunk.length) == u64::from(chunk.pages) * PAGE_SIZE;
    if !raw || chunk.offset != expected {
        return Err(image.failed(ImageError::ChunkShape(index)));
    }
    let pages = image.chunk_bytes(chunk)?;
    if image.header().seed().checksum(pages.as_bytes()) == chunk.checksum {
        return Ok(());
    }
    let fault = ImageError::Chunk { index, offset: chunk.offset };
    Err(Error::Image { path: image.source.path().to_owned(), fault })
}
