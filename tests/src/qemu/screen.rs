//! What a machine's screen shows.

use super::Monitor;
use crate::error::Error;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Colours of the display's bar, as dormouse-screen draws it: what is done, and
/// what is not.
const DONE: [u8; 3] = [0xd9, 0x9a, 0x4e];
const TO_DO: [u8; 3] = [0x2b, 0x30, 0x3b];

/// That of the letters that tell what the user can do, of nothing else.
const HINT: [u8; 3] = [0x8b, 0x93, 0xa3];

/// How far a colour may be from what was drawn: as much as is lost where five
/// bits are left of eight.
const LOSS: u8 = 8;

/// How much of the bar is done on the picture that is kept, at least.
const LEAST: f64 = 0.05;

/// How long a bar may take to grow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The picture on a screen.
pub struct Picture {
    /// Pixels in a line.
    pub width: usize,
    /// Red, green and blue of each pixel, line by line.
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// What the screen of the machine with this monitor shows now; the picture
    /// passes through a file in `folder`.
    pub fn take(monitor: &mut Monitor, folder: &Path) -> Result<Self, Error> {
        let file = folder.join("screen.ppm");
        monitor.command("screendump", json!({ "filename": file }))?;
        let bytes = fs::read(&file).map_err(Error::host(format!("reading {}", file.display())))?;
        Self::of_ppm(&bytes).ok_or_else(|| Error::verdict("QEMU's picture is none"))
    }

    /// Of a binary PPM file, as QEMU writes it.
    fn of_ppm(bytes: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut word = || {
            let rest = bytes.get(at..)?;
            let end = rest.iter().position(u8::is_ascii_whitespace)?;
            at += end + 1;
            std::str::from_utf8(&rest[..end]).ok()
        };
        let (kind, width, height, most) = (word()?, word()?, word()?, word()?);
        let (width, height) = (width.parse().ok()?, height.parse::<usize>().ok()?);
        let (pixels, _) = bytes.get(at..)?.as_chunks::<3>();
        let whole = kind == "P6" && most == "255" && pixels.len() == width * height;
        whole.then(|| Self { width, pixels: pixels.to_vec() })
    }

    /// How much of the bar is done, from 0 to 1; `None` where there is no bar.
    pub fn bar(&self) -> Option<f64> {
        let lines = self.pixels.chunks_exact(self.width).map(|line| {
            let of = |colour| line.iter().filter(|pixel| is(pixel, colour)).count();
            (of(DONE), of(TO_DO))
        });
        let (done, to_do) = lines.max_by_key(|(done, to_do)| done + to_do)?;
        (done + to_do > self.width / 2).then(|| done as f64 / (done + to_do) as f64)
    }

    /// Whether it says what the user can do.
    pub fn has_hint(&self) -> bool {
        // So many pixels have the letters of a few words.
        self.pixels.iter().filter(|pixel| is(pixel, HINT)).count() > 100
    }

    /// Writes it as a PNG file.
    pub fn save(&self, file: &Path) -> Result<(), Error> {
        let tried = || format!("writing {}", file.display());
        let out = fs::File::create(file).map_err(Error::host(tried()))?;
        let height = self.pixels.len() / self.width.max(1);
        let mut encoder = png::Encoder::new(out, self.width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().map_err(Error::host(tried()))?;
        writer.write_image_data(self.pixels.as_flattened()).map_err(Error::host(tried()))
    }
}

/// Whether a pixel has about this colour.
fn is(pixel: &[u8; 3], colour: [u8; 3]) -> bool {
    pixel.iter().zip(colour).all(|(is, drawn)| is.abs_diff(drawn) <= LOSS)
}

/// Watches the screen until the bar has grown while it was looked at; the last
/// picture, which is left in `folder` as `name`.png, too.
pub fn watch_the_bar_grow(
    monitor: &mut Monitor,
    folder: &Path,
    name: &str,
) -> Result<Picture, Error> {
    let from = Instant::now();
    let mut first = None;
    while from.elapsed() < PATIENCE {
        let picture = Picture::take(monitor, folder)?;
        match (picture.bar(), first) {
            (Some(now), Some(before)) if now > before && now > LEAST => {
                picture.save(&folder.join(format!("{name}.png")))?;
                return Ok(picture);
            }
            (Some(now), None) => first = Some(now),
            _ => {}
        }
    }
    let awaited = format!("a bar that grows on the screen ({first:?} so far)");
    Err(Error::Deadline { awaited, waited: PATIENCE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_measured() {
        let mut pixels = vec![[0x17, 0x1a, 0x21]; 100 * 4];
        assert_eq!(Picture { width: 100, pixels: pixels.clone() }.bar(), None);
        pixels[210..230].fill([0xde, 0x9a, 0x4a]);
        pixels[230..290].fill(TO_DO);
        let picture = Picture { width: 100, pixels };
        assert_eq!(picture.bar(), Some(0.25));
        assert!(!picture.has_hint());
    }

    #[test]
    fn qemus_pictures_are_read() {
        let picture = Picture::of_ppm(b"P6\n2 1\n255\nabcdef").unwrap();
        assert_eq!((picture.width, picture.pixels), (2, vec![*b"abc", *b"def"]));
        assert!(Picture::of_ppm(b"P6\n2 1\n255\nabcde").is_none());
        assert!(Picture::of_ppm(b"P5\n2 1\n255\nabcdef").is_none());
    }
}
