//! `dormouse inspect`: shows an image and checks it from end to end.

mod description;

use crate::commands::progress;
use crate::error::Result;
use crate::exit::Exit;
use crate::image_file::{ImageFile, verify};
use crate::output::Output;
use crate::picture::PictureFile;
use clap::Args;
use description::Description;
use std::path::PathBuf;

/// Show an image, and check that it is whole
#[derive(Args, Debug)]
pub struct Inspect {
    /// The disk, partition or file with the image
    #[arg(value_name = "IMAGE-OR-DEVICE")]
    pub image: PathBuf,

    /// List the runs of memory
    #[arg(long)]
    pub runs: bool,

    /// Show the writer's log
    #[arg(long)]
    pub log: bool,

    /// Draw physical memory, as a .png or .svg: stored, free, zero, window
    #[arg(long, value_name = "PICTURE", value_parser = PictureFile::named)]
    pub map: Option<PictureFile>,

    /// Do not read all of it to check it
    #[arg(long)]
    pub no_verify: bool,
}

impl Inspect {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Image`](crate::error::Error::Image) where there is none,
    /// [`Error::Io`](crate::error::Error::Io). Damage within an image is
    /// described and makes the exit status, but is no error.
    pub fn run(&self, output: Output) -> Result<Exit> {
        let image = ImageFile::open(&self.image)?;
        let mut description = Description::of(&image, self.runs, self.log)?;
        if !self.no_verify && image.has_content() {
            let bar = progress::bar(output, "checking", image.header().data_length);
            let result = verify(&image, |done| bar.set_position(done));
            bar.finish_and_clear();
            description.take_verdict(result.map(drop))?;
        }
        if let Some(map) = &self.map {
            map.draw(&image)?;
        }
        for line in description.lines() {
            output.say(line);
        }
        output.object(&description);
        Ok(if description.is_damaged() { Exit::BadImage } else { Exit::Done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_file::fake::{file, image};
    use dormouse_handoff::image::{Header, Kind, State};
    use std::path::Path;

    fn inspect(path: &Path) -> Result<Exit> {
        let image = path.to_owned();
        Inspect { image, runs: true, log: true, map: None, no_verify: false }.run(Output::new(true))
    }

    #[test]
    fn a_whole_image_is_good_and_a_damaged_one_is_not() {
        let mut bytes = image(State::Valid);
        assert_eq!(inspect(file(&bytes).path()).unwrap(), Exit::Done);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(inspect(file(&bytes).path()).unwrap(), Exit::BadImage);
    }

    #[test]
    fn a_header_alone_is_no_damage() {
        use zerocopy::IntoBytes;
        let mut bytes = vec![0; 1 << 20];
        let header = Header::begin([3; 16], Kind::Once, 512, 1, 0).with_state(State::Discarded);
        bytes[..512].copy_from_slice(header.as_bytes());
        assert_eq!(inspect(file(&bytes).path()).unwrap(), Exit::Done);
    }

    #[test]
    fn no_image_is_an_error_of_its_own() {
        let error = inspect(file(&[0; 8192]).path()).unwrap_err();
        assert_eq!(error.exit(), Exit::BadImage);
    }
}
