//! The letters, as `build.rs` has rendered them.

/// A letter.
pub struct Glyph {
    /// Which, in ASCII.
    pub letter: u8,
    /// Where its ink begins in the letter's cell.
    pub x: u8,
    /// As `x`.
    pub y: u8,
    /// The ink's width, in pixels.
    pub width: u8,
    /// The ink's height, in pixels.
    pub height: u8,
    /// Where its greys are in [`Font::ink`], two in a byte, a line beginning with
    /// a byte of its own.
    pub at: u16,
}

/// A font in which all letters have one width.
pub struct Font {
    /// Width of a letter's cell, in pixels.
    pub width: u32,
    /// Height of it.
    pub height: u32,
    glyphs: &'static [Glyph],
    ink: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/fonts.rs"));

impl Font {
    /// The letter's glyph; `None` where the font lacks it.
    pub fn glyph(&self, letter: u8) -> Option<&'static Glyph> {
        let at = self.glyphs.binary_search_by_key(&letter, |glyph| glyph.letter).ok()?;
        self.glyphs.get(at)
    }

    /// How much ink is at a place of the glyph's rectangle: 0 to 15.
    pub fn ink(&self, glyph: &Glyph, x: u32, y: u32) -> u8 {
        let line = u32::from(glyph.width).div_ceil(2);
        let at = u32::from(glyph.at) + y * line + x / 2;
        let pair = self.ink.get(at as usize).copied().unwrap_or(0);
        if x.is_multiple_of(2) { pair >> 4 } else { pair & 0xf }
    }
}
