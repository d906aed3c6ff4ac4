//! `dormouse diff`: what changed between two images.

use crate::commands::progress;
use crate::error::Result;
use crate::exit::Exit;
use crate::image_file::{Change, ImageError, ImageFile, diff};
use crate::output::{self, Output};
use clap::Args;
use dormouse_handoff::units::{PAGE_SIZE, PageRange};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Show which pages changed between two images
///
/// Both are verified on the way. A page that an image leaves out as free, or
/// because it is the window's or must not be touched, has no contents there:
/// where only one of both has a page's contents it counts as gained or lost.
/// Pages of zeros have contents.
#[derive(Args, Debug)]
pub struct Diff {
    /// The disk, partition or file with the first image
    #[arg(value_name = "A")]
    pub first: PathBuf,

    /// The disk, partition or file with the second image
    #[arg(value_name = "B")]
    pub second: PathBuf,

    /// List the ranges of memory that are not the same
    #[arg(long)]
    pub ranges: bool,
}

/// What was found, for `--json`.
#[derive(Serialize)]
struct Found<'a> {
    first: &'a Path,
    second: &'a Path,
    /// Pages whose bytes are the same, are not, are only in the second image,
    /// only in the first, and in neither.
    pages: Totals,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranges: Option<Vec<Line>>,
}

/// Pages by change.
#[derive(Default, Serialize)]
struct Totals {
    same: u64,
    changed: u64,
    gained: u64,
    lost: u64,
    neither: u64,
}

#[derive(Serialize)]
struct Line {
    first_frame: u64,
    pages: u64,
    change: &'static str,
}

impl Diff {
    /// Runs the command. That there are differences is no failure.
    ///
    /// # Errors
    /// [`Error::Image`](crate::error::Error::Image) where there is none or it is
    /// damaged, [`Error::Io`](crate::error::Error::Io).
    pub fn run(&self, output: Output) -> Result<Exit> {
        let (first, second) = (ImageFile::open(&self.first)?, ImageFile::open(&self.second)?);
        if let Some(empty) = [&first, &second].into_iter().find(|image| !image.has_content()) {
            return Err(empty.failed(ImageError::Empty));
        }
        let both = first.header().data_length.saturating_add(second.header().data_length);
        let bar = progress::bar(output, "comparing", both);
        let mut pages = Totals::default();
        let mut ranges = self.ranges.then(Vec::new);
        let compared = diff(
            &first,
            &second,
            |done| bar.set_position(done),
            |range, change| {
                *pages.of_mut(change) += range.pages;
                if let Some(ranges) = &mut ranges
                    && !matches!(change, Change::Same | Change::Neither)
                {
                    ranges.push(Line::of(range, change));
                }
            },
        );
        bar.finish_and_clear();
        compared?;
        for change in Change::ALL {
            let count = *pages.of_mut(change);
            let bytes = output::bytes(count.saturating_mul(PAGE_SIZE));
            output.say(format!("{:<8} {count:>9} pages  {bytes}", change.name()));
        }
        for line in ranges.iter().flatten() {
            output.say(line.line());
        }
        output.object(&Found { first: &self.first, second: &self.second, pages, ranges });
        Ok(Exit::Done)
    }
}

impl Totals {
    fn of_mut(&mut self, change: Change) -> &mut u64 {
        match change {
            Change::Same => &mut self.same,
            Change::Changed => &mut self.changed,
            Change::Gained => &mut self.gained,
            Change::Lost => &mut self.lost,
            Change::Neither => &mut self.neither,
        }
    }
}

impl Line {
    fn of(range: PageRange, change: Change) -> Self {
        Self { first_frame: range.start.0, pages: range.pages, change: change.name() }
    }

    fn line(&self) -> String {
        let address = self.first_frame.saturating_mul(PAGE_SIZE);
        let bytes = output::bytes(self.pages.saturating_mul(PAGE_SIZE));
        format!("  {address:#14x} {:>9} pages {:<9} {bytes}", self.pages, self.change)
    }
}
