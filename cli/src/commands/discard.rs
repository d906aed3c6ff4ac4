//! `dormouse discard`: gives a sleeping system up.

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::image_file::{ImageError, ImageFile};
use crate::kept_page::{self, Settled};
use crate::output::Output;
use crate::system::System;
use crate::target::direct::{Direct, Page};
use crate::target::{Device, place, usage};
use clap::Args;
use dormouse_handoff::image::{Header, HeaderError, Kind, State};
use rustix::fs::{FileType, stat};
use serde::Serialize;
use std::path::PathBuf;

/// Give an image up: the system that sleeps there is lost
#[derive(Args, Debug)]
pub struct Discard {
    /// The disk, partition or file with the image
    #[arg(value_name = "IMAGE-OR-DEVICE", required_unless_present = "stale")]
    pub image: Option<PathBuf>,

    /// Give up whatever sleeps on any disk or partition: for the start of a
    /// system that did not wake, before a file system is mounted for writing.
    /// Snapshots, which may be woken more than once, stay
    #[arg(long, conflicts_with = "image")]
    pub stale: bool,
}

#[derive(Serialize)]
struct Discarded<'a> {
    image: &'a PathBuf,
    was: &'static str,
    put_back: bool,
}

impl Discard {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Image`] where there is none, [`Error::NotFree`] where the
    /// device is in use, [`Error::Io`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        match &self.image {
            Some(image) => One { image }.discard(output)?,
            None => discard_stale(&System::this(), output)?,
        }
        Ok(Exit::Done)
    }
}

/// Gives up every image on the system's block devices that could be woken, or
/// was cut off. All are tried; the last error is returned.
fn discard_stale(system: &System, output: Output) -> Result<()> {
    let mut result = Ok(());
    for image in place::nodes(system) {
        // Drives without a medium cannot be read, and hold no image.
        let page = Direct::reading(&system.path(&image)).and_then(|disk| disk.read(0));
        if page.is_ok_and(|page| is_stale(&page))
            && let Err(error) = (One { image: &image }.discard(output))
        {
            output.warn(error.to_string());
            result = Err(error);
        }
    }
    result
}

/// Whether an image begins with this page that must not outlive the start of
/// another system.
fn is_stale(page: &Page) -> bool {
    Header::parse(&page.0).is_ok_and(|header| {
        header.kind == Kind::Once as u32 && matches!(header.state(), State::Valid | State::Writing)
    })
}

/// One image.
struct One<'a> {
    image: &'a PathBuf,
}

impl One<'_> {
    fn discard(&self, output: Output) -> Result<()> {
        let disk = self.claim()?;
        let header = Header::parse(&disk.read(0)?.0).map_err(|error| self.failed(error))?;
        // A page that cannot be read back whole is worth nothing at its place. The image
        // must not be woken all the same.
        let kept = ImageFile::open(self.image).and_then(|image| image.kept_page());
        let was = header.state();
        let kept = kept.unwrap_or_else(|error| {
            output.warn(format!("the page that the image kept cannot be put back: {error}"));
            Page::zero()
        });
        let settled = kept_page::put_back(&disk, &header, &kept)?;
        self.tell(output, was, settled);
        Ok(())
    }

    /// Opens the device so that nobody else can use it meanwhile.
    fn claim(&self) -> Result<Direct> {
        let stat = stat(self.image).map_err(|errno| Error::Io {
            doing: "look at",
            path: self.image.clone(),
            source: errno.into(),
        })?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Direct::file(self.image);
        }
        let system = System::this();
        if let Ok(device) = Device::at(&system, self.image)
            && !usage::uses(&system, &device).is_empty()
        {
            return Err(Error::NotFree {
                path: self.image.clone(),
                reason: "it is in use, so no image lies there".to_owned(),
                advice: "name the device that has the image".to_owned(),
            });
        }
        Direct::claiming(self.image)
    }

    fn tell(&self, output: Output, was: State, settled: Settled) {
        let path = self.image.display();
        output.say(match was {
            State::Valid => format!("{path}: the sleeping system is given up"),
            State::Writing => format!("{path}: the unfinished image is given up"),
            State::Inert => format!("{path}: the snapshot is thrown away"),
            State::Consumed | State::Discarded => format!("{path}: the image was used up already"),
        });
        if settled == Settled::PutBack {
            output.say("  what was there before it is put back (a swap area can be used again)");
        }
        output.object(&Discarded {
            image: self.image,
            was: was.name(),
            put_back: settled == Settled::PutBack,
        });
    }

    fn failed(&self, error: HeaderError) -> Error {
        Error::Image { path: self.image.clone(), fault: ImageError::Header(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_file::fake::{file, image};
    use dormouse_handoff::image::Layout;
    use std::fs;
    use std::path::Path;
    use zerocopy::IntoBytes;

    fn discard(path: &Path) -> Result<Exit> {
        Discard { image: Some(path.to_owned()), stale: false }.run(Output::new(true))
    }

    #[test]
    fn the_kept_page_is_put_back() {
        let file = file(&image(State::Valid));
        assert_eq!(discard(file.path()).unwrap(), Exit::Done);
        let bytes = fs::read(file.path()).unwrap();
        assert!(bytes[..4096].iter().all(|byte| *byte == 0x5a));
        assert_eq!(discard(file.path()).unwrap_err().exit(), Exit::BadImage, "no image any more");
    }

    #[test]
    fn only_what_could_be_woken_once_is_stale() {
        let stale = |state, kind: Kind| {
            let mut bytes = image(state);
            let mut header = Header::parse(&bytes[..]).unwrap();
            header.kind = kind as u32;
            header.seal();
            bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
            let mut page = Page::zero();
            page.0.copy_from_slice(&bytes[..4096]);
            is_stale(&page)
        };
        assert!(stale(State::Valid, Kind::Once) && stale(State::Writing, Kind::Once));
        assert!(!stale(State::Consumed, Kind::Once) && !stale(State::Discarded, Kind::Once));
        assert!(!stale(State::Valid, Kind::Reusable));
        assert!(!is_stale(&Page::zero()));
    }

    #[test]
    fn an_image_whose_kept_page_is_damaged_is_made_unusable_all_the_same() {
        let mut bytes = image(State::Valid);
        bytes[Layout::KEPT_PAGE as usize] ^= 1;
        let file = file(&bytes);
        assert_eq!(discard(file.path()).unwrap(), Exit::Done);
        let header = Header::parse(&fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(header.state(), State::Discarded);
    }

    #[test]
    fn so_is_one_of_which_the_kept_page_cannot_be_read() {
        let file = file(&image(State::Valid)[..4096]);
        assert_eq!(discard(file.path()).unwrap(), Exit::Done);
        let header = Header::parse(&fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(header.state(), State::Discarded);
    }
}
