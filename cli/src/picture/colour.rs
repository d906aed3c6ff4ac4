//! Colours, and a canvas to put them on.

use dormouse_handoff::image::RunKind;

/// Red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// The colour of a fate: what lies in the image is bright.
    pub const fn of(kind: RunKind) -> Self {
        match kind {
            RunKind::Stored => Self(0xff, 0xb4, 0x54),
            RunKind::Zero => Self(0x3d, 0x6f, 0x9e),
            RunKind::Free => Self(0x2a, 0x3b, 0x55),
            RunKind::Excluded => Self(0xe0, 0x4f, 0x5f),
            RunKind::Window => Self(0x4f, 0xd6, 0xa8),
        }
    }

    /// All of `parts` mixed by their weights; `None` where they weigh nothing.
    pub fn mixed(parts: impl Iterator<Item = (Self, u32)>) -> Option<Self> {
        let (mut sums, mut all) = ([0u64; 3], 0u64);
        for (Self(red, green, blue), weight) in parts {
            for (sum, part) in sums.iter_mut().zip([red, green, blue]) {
                *sum += u64::from(part) * u64::from(weight);
            }
            all += u64::from(weight);
        }
        let [red, green, blue] = sums.map(|sum| sum.checked_div(all).map(|part| part as u8));
        Some(Self(red?, green?, blue?))
    }
}

/// A picture in memory. What is painted outside it is not there.
#[derive(Clone, Debug)]
pub struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Canvas {
    /// A canvas of one colour.
    pub fn new(width: u32, height: u32, colour: Colour) -> Self {
        let pixel = [colour.0, colour.1, colour.2];
        Self { width, height, pixels: pixel.repeat(width as usize * height as usize) }
    }

    /// Pixels from left to right.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Three bytes a pixel, row by row.
    pub fn bytes(&self) -> &[u8] {
        &self.pixels
    }

    /// The colour at a place; black outside the canvas.
    pub fn get(&self, x: u32, y: u32) -> Colour {
        match self.at(x, y).and_then(|at| self.pixels.get(at..at + 3)) {
            Some(&[red, green, blue]) => Colour(red, green, blue),
            _ => Colour(0, 0, 0),
        }
    }

    /// Paints one pixel.
    pub fn set(&mut self, x: u32, y: u32, colour: Colour) {
        if let Some(at) = self.at(x, y) {
            self.pixels[at..at + 3].copy_from_slice(&[colour.0, colour.1, colour.2]);
        }
    }

    fn at(&self, x: u32, y: u32) -> Option<usize> {
        (x < self.width && y < self.height)
            .then(|| (y as usize * self.width as usize + x as usize) * 3)
    }
}
