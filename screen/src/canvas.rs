//! Pixels in a linear framebuffer. It is only ever written to: reading the
//! memory of a graphics card is slow.

use crate::font::Font;
use dormouse_handoff::screen::{Channel, Framebuffer};

/// A colour: red, green, blue.
pub type Colour = [u8; 3];

/// A rectangle, in pixels of the framebuffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its left edge.
    pub x: u32,
    /// Its upper edge.
    pub y: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

/// Most pixels that are put at once.
const RUN: usize = 64;

/// A framebuffer to draw into. What lies outside it is cut off.
pub struct Canvas<'a> {
    framebuffer: Framebuffer,
    memory: &'a mut [u8],
}

impl<'a> Canvas<'a> {
    /// `memory` is the framebuffer's, from its first pixel on.
    pub fn new(framebuffer: Framebuffer, memory: &'a mut [u8]) -> Self {
        Self { framebuffer, memory }
    }

    /// Pixels in a line.
    pub fn width(&self) -> u32 {
        self.framebuffer.width
    }

    /// Lines.
    pub fn height(&self) -> u32 {
        self.framebuffer.height
    }

    /// A pixel of this colour, as it lies in memory.
    fn pixel(&self, colour: Colour) -> [u8; 4] {
        let Framebuffer { red, green, blue, .. } = &self.framebuffer;
        let part = |channel: &Channel, value: u8| {
            let value = u32::from(value) >> 8_u32.saturating_sub(channel.bits.into());
            value.checked_shl(channel.position.into()).unwrap_or(0)
        };
        let [r, g, b] = colour;
        (part(red, r) | part(green, g) | part(blue, b)).to_le_bytes()
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, area: Area, colour: Colour) {
        let bytes = self.framebuffer.pixel_bytes() as usize;
        let pixel = self.pixel(colour);
        let mut run = [0; RUN * 4];
        for place in run.chunks_exact_mut(bytes) {
            place.copy_from_slice(&pixel[..bytes]);
        }
        let run = &run[..RUN * bytes];
        let right = area.x.saturating_add(area.width).min(self.width());
        let bottom = area.y.saturating_add(area.height).min(self.height());
        for y in area.y..bottom {
            let line = self.span(area.x, y, right);
            for piece in line.chunks_mut(run.len()) {
                piece.copy_from_slice(&run[..piece.len()]);
            }
        }
    }

    /// The bytes of the pixels from `x` up to `right` in line `y`.
    fn span(&mut self, x: u32, y: u32, right: u32) -> &mut [u8] {
        let bytes = u64::from(self.framebuffer.pixel_bytes());
        let line = u64::from(y) * u64::from(self.framebuffer.pitch);
        let place = |x: u32| usize::try_from(line + u64::from(x) * bytes).unwrap_or(usize::MAX);
        self.memory.get_mut(place(x)..place(right)).unwrap_or_default()
    }

    /// Draws a letter into its cell, each of the font's pixels as a square of
    /// `scale` pixels; a letter that the font lacks leaves an empty cell.
    pub fn letter(
        &mut self,
        font: &Font,
        (x, y): (u32, u32),
        scale: u32,
        letter: u8,
        [ground, ink]: [Colour; 2],
    ) {
        let cell = Area { x, y, width: font.width * scale, height: font.height * scale };
        self.fill(cell, ground);
        let Some(glyph) = font.glyph(letter) else { return };
        for line in 0..u32::from(glyph.height) {
            for column in 0..u32::from(glyph.width) {
                let amount = font.ink(glyph, column, line);
                if amount > 0 {
                    let dot = Area {
                        x: x + (u32::from(glyph.x) + column) * scale,
                        y: y + (u32::from(glyph.y) + line) * scale,
                        width: scale,
                        height: scale,
                    };
                    self.dot(dot, blend(ground, ink, amount));
                }
            }
        }
    }

    /// As [`Canvas::fill`], for a few pixels.
    fn dot(&mut self, area: Area, colour: Colour) {
        let bytes = self.framebuffer.pixel_bytes() as usize;
        let pixel = self.pixel(colour);
        let right = (area.x + area.width).min(self.width());
        for y in area.y..(area.y + area.height).min(self.height()) {
            for place in self.span(area.x, y, right).chunks_exact_mut(bytes) {
                place.copy_from_slice(&pixel[..bytes]);
            }
        }
    }
}

/// A colour between two: `amount` fifteenths of `ink`.
fn blend(ground: Colour, ink: Colour, amount: u8) -> Colour {
    let mix = |ground: u8, ink: u8| {
        let amount = u32::from(amount.min(15));
        ((u32::from(ground) * (15 - amount) + u32::from(ink) * amount) / 15) as u8
    };
    core::array::from_fn(|i| mix(ground[i], ink[i]))
}
