//! An image as an ELF core, which `crash`, `makedumpfile` and `gdb` read.
//!
//! ```text
//! headers | notes: processor, VMCOREINFO | every range of memory, in order
//! ```
//!
//! Every frame of the plan's memory map has its place in the file, whatever
//! became of it; what the image does not hold is a hole, which reads as zeros.
//! The window's old contents are looked for where the kernel moved them.

mod kexec_list;
mod layout;
mod registers;

pub use layout::CoreLayout;
pub use registers::Registers;

use crate::error::{Error, Result};
use crate::image_file::{ImageError, ImageFile, Walk};
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PAGE_SIZE, Pfn, PhysAddr};
use dormouse_page_set::vmcoreinfo::Vmcoreinfo;
use dormouse_page_set::{KernelSpace, PhysRead, Readable, Tables};
use memmap2::Mmap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use zerocopy::IntoBytes;

/// What a core has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of it that are no holes.
    pub bytes_on_disk: u64,
    /// Ranges of memory in it.
    pub ranges: usize,
    /// Pages of the window, and those whose old contents were found.
    pub window_pages: u64,
    /// See `window_pages`.
    pub window_found: u64,
    /// Whether the processor's registers were found.
    pub registers: bool,
    /// Whether the old kernel told about itself.
    pub vmcoreinfo: bool,
}

/// Makes a new file at `path` that holds the image as an ELF core; `progress`
/// is told how many bytes of the image are done. All of the image is verified
/// on the way; nothing is left where it is damaged.
///
/// # Errors
/// [`Error::Image`], [`Error::Io`]; of kind `AlreadyExists` where there is such
/// a file.
pub fn extract(image: &ImageFile, path: &Path, progress: impl FnMut(u64)) -> Result<Extracted> {
    if !image.has_content() {
        return Err(image.failed(ImageError::Empty));
    }
    // It is all of memory: nobody else's business.
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(|source| Error::Io { doing: "make", path: path.to_owned(), source })?;
    let extracted = Core { file, path }.fill(image, progress);
    if extracted.is_err() {
        let _ = std::fs::remove_file(path);
    }
    extracted
}

/// The file under way.
struct Core<'a> {
    file: File,
    path: &'a Path,
}

impl Core<'_> {
    fn fill(&self, image: &ImageFile, mut progress: impl FnMut(u64)) -> Result<Extracted> {
        let plan = image.plan()?;
        let plan = plan.checked().map_err(|fault| image.failed(ImageError::Plan(fault)))?;
        let layout = CoreLayout::of(&plan);
        self.file.set_len(layout.file_bytes()).map_err(|e| self.error(e))?;
        let mut walk = Walk::new(image)?;
        while let Some(piece) = walk.piece()? {
            let frames = piece.range.pages;
            for (frame, page) in (piece.range.start.0..).zip(piece.pages) {
                self.put(&layout, Pfn(frame), page.as_bytes())?;
            }
            walk.advance(frames);
            progress(walk.data_bytes());
        }
        let entry = PhysAddr(image.jump_back()?.entry);
        let seen = self.look_back(&plan, &layout, entry)?;
        let head = layout.head(&plan, seen.registers.as_ref());
        self.file.write_all_at(&head, 0).map_err(|e| self.error(e))?;
        let blocks = self.file.metadata().map_err(|e| self.error(e))?.blocks();
        Ok(Extracted {
            bytes: layout.file_bytes(),
            // st_blocks counts 512 bytes whatever the file system's blocks are.
            bytes_on_disk: blocks * 512,
            ranges: plan.memory().len(),
            window_pages: plan.window().pages,
            window_found: seen.window_found,
            registers: seen.registers.is_some(),
            vmcoreinfo: !plan.vmcoreinfo().is_empty(),
        })
    }

    /// With all of memory in the file, finds in it what the kernel did for the
    /// jump: where it moved the window's pages, which are put in their places,
    /// and what it saved of the processor.
    fn look_back(
        &self,
        plan: &CheckedPlan<'_>,
        layout: &CoreLayout,
        entry: PhysAddr,
    ) -> Result<Seen> {
        // SAFETY: the file was made by this process, for its user alone, and
        // is neither shortened nor written to while the map is in use.
        let map = unsafe { Mmap::map(&self.file) }.map_err(|e| self.error(e))?;
        let mapped = Mapped { map: &map, layout };
        let memory = Readable::new(&mapped, plan.memory(), plan.window());
        let control = kexec_list::control_pages(&memory, entry);
        let moved = kexec_list::moved_pages(&memory, plan.window(), &control);
        let registers = Tables::told_by(&Vmcoreinfo::new(plan.vmcoreinfo()))
            .ok()
            .and_then(|tables| Registers::find(&mut KernelSpace::new(memory, tables), &control));
        let pages: Vec<_> = moved
            .iter()
            .filter_map(|moved| Some((moved.window, *memory.page(moved.kept_at)?)))
            .collect();
        drop(map);
        for (frame, page) in &pages {
            self.put(layout, *frame, page)?;
        }
        Ok(Seen { window_found: pages.len() as u64, registers })
    }

    fn put(&self, layout: &CoreLayout, frame: Pfn, page: &[u8]) -> Result<()> {
        let Some(offset) = layout.offset(frame) else { return Ok(()) };
        if page.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.file.write_all_at(page, offset).map_err(|e| self.error(e))
    }

    fn error(&self, source: std::io::Error) -> Error {
        Error::Io { doing: "write", path: self.path.to_owned(), source }
    }
}

/// What a look back found.
struct Seen {
    window_found: u64,
    registers: Option<Registers>,
}

/// The core's memory.
struct Mapped<'a> {
    map: &'a Mmap,
    layout: &'a CoreLayout,
}

impl PhysRead for Mapped<'_> {
    fn page(&self, frame: Pfn) -> &[u8; PAGE_SIZE as usize] {
        let page = self
            .layout
            .offset(frame)
            .and_then(|offset| self.map.get(usize::try_from(offset).ok()?..)?.first_chunk());
        page.unwrap_or(&[0; PAGE_SIZE as usize])
    }
}

#[cfg(test)]
mod tests;
