//! `dormouse extract`: makes a core file of an image.

use crate::commands::progress;
use crate::core_file::{self, Extracted};
use crate::error::Result;
use crate::exit::Exit;
use crate::image_file::ImageFile;
use crate::output::{self, Output};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Make an ELF core of an image, for crash, gdb and makedumpfile
///
/// All of the image is verified on the way, and nothing is left of the core
/// where it is damaged. The core is as long as memory, but sparse: pages that
/// the image does not hold (free ones, zeros) take no room and read as zeros.
/// It is all of memory in clear, readable for its owner alone.
#[derive(Args, Debug)]
pub struct Extract {
    /// The disk, partition or file with the image
    #[arg(value_name = "IMAGE-OR-DEVICE")]
    pub image: PathBuf,

    /// The core to make; there must be no such file
    #[arg(value_name = "VMCORE")]
    pub core: PathBuf,
}

/// What was made, for `--json`.
#[derive(Serialize)]
struct Made<'a> {
    core: &'a Path,
    bytes: u64,
    bytes_on_disk: u64,
    memory_ranges: usize,
    window_pages: u64,
    /// Pages of the window whose old contents are in the core.
    window_pages_found: u64,
    /// Whether there is a note with the processor's registers.
    registers: bool,
    /// Whether there is the old kernel's note about itself.
    vmcoreinfo: bool,
}

impl Extract {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Image`](crate::error::Error::Image) where there is none or it is
    /// damaged, [`Error::Io`](crate::error::Error::Io).
    pub fn run(&self, output: Output) -> Result<Exit> {
        let image = ImageFile::open(&self.image)?;
        let bar = progress::bar(output, "extracting", image.header().data_length);
        let extracted = core_file::extract(&image, &self.core, |done| bar.set_position(done));
        bar.finish_and_clear();
        self.tell(output, &extracted?);
        Ok(Exit::Done)
    }

    fn tell(&self, output: Output, extracted: &Extracted) {
        let Extracted { bytes, bytes_on_disk, ranges, window_pages, window_found, .. } = *extracted;
        output.say(format!(
            "{}: {} in {ranges} ranges of memory, {} on disk",
            self.core.display(),
            output::bytes(bytes),
            output::bytes(bytes_on_disk)
        ));
        if window_found < window_pages {
            output.warn(format!(
                "the contents of {} pages of the window were not found; they read as zeros",
                window_pages - window_found
            ));
        }
        if !extracted.registers {
            output.warn("the processor's registers were not found");
        }
        if !extracted.vmcoreinfo {
            output.warn("the old kernel told no VMCOREINFO: debuggers will ask for more");
        }
        output.object(&Made {
            core: &self.core,
            bytes,
            bytes_on_disk,
            memory_ranges: ranges,
            window_pages,
            window_pages_found: window_found,
            registers: extracted.registers,
            vmcoreinfo: extracted.vmcoreinfo,
        });
    }
}
