//! Reading an image from a device or a file, with everything checked.
//!
//! Whoever wants more of an image than its header (a verification, a core
//! file) goes through [`ImageFile`]: each piece comes out only after its
//! checksum held.

mod diff;
mod error;
mod partitions;
mod source;
mod table;
mod verify;
mod walk;

pub use diff::{Change, diff};
pub use error::ImageError;
pub use source::Source;
pub use table::Table;
pub use verify::verify;
pub use walk::{Piece, Walk};

use crate::error::{Error, Result};
use crate::target::direct::Page;
use dormouse_handoff::image::{
    Attempts, Chunk, Header, HeaderError, JumpBack, Layout, Region, Run, Section,
};
use dormouse_handoff::plan::{CheckedPlan, PlanError};
use dormouse_handoff::units::PAGE_SIZE;
use std::path::Path;
use zerocopy::{FromBytes, IntoBytes};

/// An image: where it begins in its file, and its header.
#[derive(Debug)]
pub struct ImageFile {
    source: Source,
    header: Header,
}

impl ImageFile {
    /// Opens the image at the start of a device or file, or, where that is a
    /// whole disk with partitions, at the start of the first that has one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`].
    pub fn open(path: &Path) -> Result<Self> {
        let disk = Source::open(path)?;
        let failed = |fault| Error::Image { path: path.to_owned(), fault };
        let first = match header_at(&disk)? {
            Ok(header) => return Ok(Self { source: disk, header }),
            Err(error) => error,
        };
        for start in partitions::starts(&disk)? {
            let partition = disk.from(start);
            if let Ok(header) = header_at(&partition)? {
                return Ok(Self { source: partition, header });
            }
        }
        Err(failed(ImageError::Header(first)))
    }

    /// The image's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The device or file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// Where in the device or file the image begins, in bytes.
    pub fn start(&self) -> u64 {
        self.source.start()
    }

    /// Whether the writer got as far as describing what it stored. A prepared
    /// or unfinished image has a header and at most a kept page.
    pub fn has_content(&self) -> bool {
        self.header.plan.length != 0
    }

    /// The wake-ups that were begun, and those that got through.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`].
    pub fn attempts(&self) -> Result<Attempts> {
        let page = self.pages(Region { offset: Layout::ATTEMPTS, length: PAGE_SIZE })?;
        if page.iter().all(Page::is_zero) {
            return Ok(Attempts::new(self.header.id, 0));
        }
        Ok(Attempts::of(&self.header.id, page.as_bytes()))
    }

    /// The plan by which the image was written.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`].
    pub fn plan(&self) -> Result<PlanBytes> {
        let pages = self.section("plan", Layout::PLAN, self.header.plan)?;
        let plan = PlanBytes(pages);
        plan.checked().map_err(|e| self.failed(ImageError::Plan(e)))?;
        Ok(plan)
    }

    /// The processor's state.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`].
    pub fn jump_back(&self) -> Result<JumpBack> {
        let pages = self.section("jump-back state", Layout::JUMP_BACK, self.header.jump_back)?;
        let short = |_| self.failed(ImageError::Section("jump-back state"));
        Ok(JumpBack::read_from_prefix(pages.as_bytes()).map_err(short)?.0)
    }

    /// The page that belongs at the target's start; zeros where there was none.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`].
    pub fn kept_page(&self) -> Result<Page> {
        if self.header.kept_page == Section::default() {
            return Ok(Page::zero());
        }
        let pages = self.section("kept page", Layout::KEPT_PAGE, self.header.kept_page)?;
        Ok(pages.into_iter().next().unwrap_or(Page::zero()))
    }

    /// The writer's log.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`].
    pub fn log(&self) -> Result<String> {
        let pages = self.section("log", Layout::LOG, self.header.log)?;
        let used = (self.header.log.length as usize).min(pages.as_bytes().len());
        Ok(String::from_utf8_lossy(&pages.as_bytes()[..used]).into_owned())
    }

    /// The runs, in the order of memory.
    pub fn runs(&self) -> Table<'_, Run> {
        Table::new(self, self.header.layout().runs, self.header.runs)
    }

    /// The chunks, in the order of their pages in memory.
    pub fn chunks(&self) -> Table<'_, Chunk> {
        Table::new(self, self.header.layout().chunks, self.header.chunks)
    }

    /// The stored bytes of a chunk, as they lie on the disk, unchecked.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`] where they are not all there.
    pub fn chunk_bytes(&self, chunk: &Chunk) -> Result<Vec<Page>> {
        let data = self.header.data();
        let inside = chunk.offset.checked_add(chunk.length.into()).filter(|e| *e <= data.length);
        inside.ok_or_else(|| self.failed(ImageError::OutOfData { offset: chunk.offset }))?;
        self.pages(Region { offset: data.offset + chunk.offset, length: chunk.length.into() })
    }

    /// The pages of a section whose checksum holds.
    fn section(&self, name: &'static str, offset: u64, section: Section) -> Result<Vec<Page>> {
        let pages = self.pages(Region { offset, length: section.length })?;
        match section.matches(self.header.seed(), pages.as_bytes()) {
            Some(_) => Ok(pages),
            None => Err(self.failed(ImageError::Section(name))),
        }
    }

    /// All pages that a region touches.
    fn pages(&self, region: Region) -> Result<Vec<Page>> {
        let count = region.length.div_ceil(PAGE_SIZE);
        self.source.pages(region.offset, count)
    }

    /// The error that tells of a fault in this image.
    pub fn failed(&self, fault: ImageError) -> Error {
        Error::Image { path: self.source.path().to_owned(), fault }
    }
}

/// A plan out of an image, whose every field has been checked.
pub struct PlanBytes(Vec<Page>);

impl PlanBytes {
    /// The plan.
    ///
    /// # Errors
    /// None once [`ImageFile::plan`] has given it out.
    pub fn checked(&self) -> std::result::Result<CheckedPlan<'_>, PlanError> {
        CheckedPlan::parse(self.0.as_bytes())
    }
}

/// The header at the start of `source`.
fn header_at(source: &Source) -> Result<std::result::Result<Header, HeaderError>> {
    if source.bytes() < PAGE_SIZE {
        return Ok(Err(HeaderError::None));
    }
    Ok(Header::parse(source.pages(0, 1)?.as_bytes()))
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
