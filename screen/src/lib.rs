//! What the user sees and types: the progress display, a calm full screen with a
//! title, a bar, what it means in figures, and what can be done about it; and the
//! [`prompt`] of the monitor on the serial line.
//!
//! The display draws into a linear framebuffer that firmware set up, of 15 to 32 bits a
//! pixel and any pitch, and only what has changed since it last drew. Nothing is
//! allocated, nothing is read back, and whatever does not fit the screen is cut
//! off.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod canvas;
mod font;
pub mod prompt;
pub mod title;

use canvas::{Area, Canvas, Colour};
use dormouse_handoff::screen::Framebuffer;
use font::Font;

/// The smallest screen that has room for it, in pixels.
const LEAST: (u32, u32) = (400, TALL);

/// The widest that the text becomes, in letters.
const COLUMNS: usize = 76;

/// Lines of text.
const LINES: usize = 8;

/// Lines on from which words are folded, for what has happened in the end.
const MESSAGE: usize = 3;

const GROUND: Colour = [0x17, 0x1a, 0x21];
const QUIET: Colour = [0x8b, 0x93, 0xa3];
const PLAIN: Colour = [0xd5, 0xda, 0xe3];
const BRIGHT: Colour = [0xf3, 0xf4, 0xf6];
const TRACK: Colour = [0x2b, 0x30, 0x3b];
const BAR: Colour = [0xd9, 0x9a, 0x4e];
const WRONG: Colour = [0xe8, 0x84, 0x74];

/// A line of the display that is written by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// What is dealt with.
    Subject = 0,
    /// How far it is, in figures.
    Figures = 1,
    /// What the user can do.
    Hint = 2,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Well,
    /// With an error.
    Failed,
}

/// The display.
pub struct Display<'a> {
    canvas: Canvas<'a>,
    title: &'static str,
    /// How many pixels of the screen are one of the display.
    scale: u32,
    columns: usize,
    left: u32,
    top: u32,
    /// What stands there now: letters, and their colour.
    lines: [([u8; COLUMNS], Colour); LINES],
    /// Pixels of the bar that are filled.
    filled: u32,
    painted: bool,
}

impl<'a> Display<'a> {
    /// A display with this title, one of [`title::ALL`], that is not painted yet;
    /// `None` where the screen is too small. The framebuffer has passed
    /// [`Framebuffer::check`], and `memory` is its.
    pub fn new(
        framebuffer: &Framebuffer,
        memory: &'a mut [u8],
        title: &'static str,
    ) -> Option<Self> {
        let (width, height) = (framebuffer.width, framebuffer.height);
        if width < LEAST.0 || height < LEAST.1 {
            return None;
        }
        // As large on screens with many small pixels as on others.
        let scale = (height / 1000 + 1).min(width / LEAST.0).min(height / LEAST.1);
        let letter = font::TEXT.width * scale;
        let columns = ((width / letter).saturating_sub(4) as usize).min(COLUMNS);
        let left = (width - columns as u32 * letter) / 2;
        let top = (height - TALL * scale) / 2;
        Some(Self {
            canvas: Canvas::new(*framebuffer, memory),
            title,
            scale,
            columns,
            left,
            top,
            lines: [([b' '; COLUMNS], PLAIN); LINES],
            filled: 0,
            painted: false,
        })
    }

    /// Whether it has been painted.
    pub fn is_painted(&self) -> bool {
        self.painted
    }

    /// Clears the screen and draws everything.
    pub fn paint(&mut self) {
        let (width, height) = (self.canvas.width(), self.canvas.height());
        self.canvas.fill(Area { x: 0, y: 0, width, height }, GROUND);
        let place = (self.left, self.top);
        self.write(&font::TITLE, place, self.title.bytes(), BRIGHT);
        let track = self.bar(0, self.bar_width());
        self.canvas.fill(track, TRACK);
        self.painted = true;
        let filled = core::mem::take(&mut self.filled);
        self.fill_bar_to(filled);
        for line in 0..LINES {
            let (letters, colour) = self.lines[line];
            self.draw(line, &letters, &[b' '; COLUMNS], colour);
        }
    }

    /// Says something in a line, in place of what stood there.
    pub fn say(&mut self, line: Line, words: &str) {
        let colour = match line {
            Line::Subject | Line::Figures => PLAIN,
            Line::Hint => QUIET,
        };
        self.put(line as usize, words.bytes(), colour);
    }

    /// Says how it ended, in as many lines as it takes and there are.
    pub fn end(&mut self, ending: Ending, words: &str) {
        let colour = match ending {
            Ending::Well => PLAIN,
            Ending::Failed => WRONG,
        };
        let mut rest = words.trim();
        for line in MESSAGE..LINES {
            let (now, later) = fold(rest, self.columns);
            self.put(line, now.bytes(), colour);
            rest = later;
        }
    }

    /// Shows how much is done.
    pub fn progress(&mut self, done: u64, total: u64) {
        let all = u128::from(self.bar_width());
        let filled = u128::from(done.min(total)) * all / u128::from(total.max(1));
        self.fill_bar_to(filled as u32);
    }

    fn fill_bar_to(&mut self, filled: u32) {
        if self.painted {
            let before = self.filled.min(filled);
            let (grown, shrunk) = (self.bar(before, filled), self.bar(filled, self.filled));
            self.canvas.fill(grown, BAR);
            self.canvas.fill(shrunk, TRACK);
        }
        self.filled = filled;
    }

    fn bar_width(&self) -> u32 {
        self.columns as u32 * font::TEXT.width * self.scale
    }

    /// A piece of the bar, in pixels from its left end.
    fn bar(&self, from: u32, to: u32) -> Area {
        Area {
            x: self.left + from,
            y: self.top + BAR_AT * self.scale,
            width: to.saturating_sub(from),
            height: BAR_TALL * self.scale,
        }
    }

    fn put(&mut self, line: usize, words: impl Iterator<Item = u8>, colour: Colour) {
        let mut letters = [b' '; COLUMNS];
        let columns = self.columns;
        for (place, letter) in letters[..columns].iter_mut().zip(words) {
            *place = if (b' '..=b'~').contains(&letter) { letter } else { b'?' };
        }
        let (before, old) = core::mem::replace(&mut self.lines[line], (letters, colour));
        if self.painted {
            // Another colour draws every letter anew; blanks have none.
            let before =
                if old == colour { before } else { before.map(|l| if l == b' ' { l } else { 0 }) };
            self.draw(line, &letters, &before, colour);
        }
    }

    /// Draws those letters of a line that were others before.
    fn draw(
        &mut self,
        line: usize,
        letters: &[u8; COLUMNS],
        before: &[u8; COLUMNS],
        colour: Colour,
    ) {
        let y = self.top + (line_at(line)) * self.scale;
        for (column, (letter, before)) in letters.iter().zip(before).enumerate() {
            if letter != before {
                let x = self.left + column as u32 * font::TEXT.width * self.scale;
                self.canvas.letter(&font::TEXT, (x, y), self.scale, *letter, [GROUND, colour]);
            }
        }
    }

    fn write(
        &mut self,
        font: &Font,
        (x, y): (u32, u32),
        letters: impl Iterator<Item = u8>,
        colour: Colour,
    ) {
        let mut x = x;
        for letter in letters {
            self.canvas.letter(font, (x, y), self.scale, letter, [GROUND, colour]);
            x += font.width * self.scale;
        }
    }
}

/// Where the bar is below the title's upper edge, and how tall, before scaling.
const BAR_AT: u32 = 92;
const BAR_TALL: u32 = 10;

/// Where a line of text is below the title's upper edge, before scaling.
const fn line_at(line: usize) -> u32 {
    match line {
        0 => 50,
        1 => 116,
        2 => 146,
        line => 188 + (line - MESSAGE) as u32 * 24,
    }
}

/// From the title's upper edge to the last line's lower one.
const TALL: u32 = line_at(LINES - 1) + 24;

/// What goes into a line of so many letters, cut between words where there is a
/// place; and the rest.
fn fold(words: &str, columns: usize) -> (&str, &str) {
    let end = words.char_indices().nth(columns).map_or(words.len(), |(at, _)| at);
    if end == words.len() {
        return (words, "");
    }
    let cut = match words[..end].rfind(' ') {
        Some(at) if at > 0 => at,
        _ => end,
    };
    (&words[..cut], words[cut..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn words_are_folded_between_them() {
        assert_eq!(fold("no disk carries an image", 10), ("no disk", "carries an image"));
        assert_eq!(fold("0000:00:1f.2-and-on", 10), ("0000:00:1f", ".2-and-on"));
        assert_eq!(fold("short", 10), ("short", ""));
        assert_eq!(fold("äöüäöü x", 6), ("äöüäöü", "x"));
    }
}
