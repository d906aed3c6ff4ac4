//! What the picture has besides the map: title, addresses, legend, scale.

use super::cells::Cells;
use super::colour::{Canvas, Colour};
use crate::output;
use dormouse_handoff::image::{Header, RunKind};
use dormouse_handoff::plan::{self, CheckedPlan};
use dormouse_handoff::units::PAGE_SIZE;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// Colours of text: what it is about, and what explains it.
const LOUD: Colour = Colour(0xee, 0xf1, 0xf6);
const QUIET: Colour = Colour(0x8e, 0x9a, 0xae);

/// Pixels around everything, and between title, map and legend.
const MARGIN: u32 = 24;

/// Pixels from the top of a line of text to the next one's.
const TITLE_LINE: u32 = 32;
const LINE: u32 = 24;

/// Pixels for the addresses beside the map.
const ADDRESSES: u32 = 88;

/// Pixels of a coloured square in the legend, and between entries.
const SQUARE: u32 = 14;
const BETWEEN: u32 = 26;

/// A line of text. Its place is its upper left corner.
pub struct Label {
    pub x: u32,
    pub y: u32,
    pub height: RasterHeight,
    pub colour: Colour,
    pub text: String,
}

/// A square of one colour.
pub struct Square {
    pub x: u32,
    pub y: u32,
    pub size: u32,
    pub colour: Colour,
}

/// The whole picture.
pub struct Scene {
    map: Canvas,
    labels: Vec<Label>,
    squares: Vec<Square>,
}

impl Scene {
    /// What is under everything.
    pub const BACKGROUND: Colour = Colour(0x12, 0x16, 0x1f);

    /// Where the map's upper left corner is.
    pub const MAP: (u32, u32) = (MARGIN + ADDRESSES, MARGIN + TITLE_LINE + LINE + 12);

    /// The picture of an image whose pages are in `cells`.
    pub fn of(cells: &Cells, header: &Header, plan: &CheckedPlan<'_>) -> Self {
        let map = cells.paint(Self::BACKGROUND);
        let mut scene = Self { map, labels: Vec::new(), squares: Vec::new() };
        scene.add_title(header, plan);
        scene.add_addresses(cells);
        scene.add_legend(cells, header);
        scene
    }

    /// Pixels across and down.
    pub fn size(&self) -> (u32, u32) {
        let ends = self.labels.iter().map(|label| label.x + label.width());
        let map_end = Self::MAP.0 + self.map.width();
        (ends.fold(map_end, u32::max) + MARGIN, self.legend_top() + 2 * LINE + MARGIN - 4)
    }

    /// The map.
    pub fn map(&self) -> &Canvas {
        &self.map
    }

    /// All text.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The legend's colours.
    pub fn squares(&self) -> &[Square] {
        &self.squares
    }

    /// All of it, in pixels.
    pub fn paint(&self) -> Canvas {
        let (width, height) = self.size();
        let mut canvas = Canvas::new(width, height, Self::BACKGROUND);
        let (left, top) = Self::MAP;
        for y in 0..self.map.height() {
            for x in 0..self.map.width() {
                canvas.set(left + x, top + y, self.map.get(x, y));
            }
        }
        for Square { x, y, size, colour } in &self.squares {
            for at in 0..size * size {
                canvas.set(x + at % size, y + at / size, *colour);
            }
        }
        for label in &self.labels {
            label.paint(&mut canvas);
        }
        canvas
    }

    fn add_title(&mut self, header: &Header, plan: &CheckedPlan<'_>) {
        let memory = output::bytes(plan.memory_pages() * PAGE_SIZE);
        let stored = output::bytes(header.data_length);
        let kernel = plan::text(&plan.kernel_release);
        let title = format!("Linux {kernel}: {stored} of {memory} of memory in the image");
        self.say(MARGIN, MARGIN, RasterHeight::Size24, LOUD, title);
        let date = output::date(header.created);
        self.say(
            MARGIN,
            MARGIN + TITLE_LINE,
            RasterHeight::Size16,
            QUIET,
            format!("asleep since {date}"),
        );
    }

    fn add_addresses(&mut self, cells: &Cells) {
        for (frame, top) in cells.rows() {
            let text = address(frame.address().0);
            let width = text.len() as u32 * character(RasterHeight::Size16);
            let x = Self::MAP.0.saturating_sub(width + 10);
            self.say(x, Self::MAP.1 + top, RasterHeight::Size16, QUIET, text);
        }
    }

    fn add_legend(&mut self, cells: &Cells, header: &Header) {
        let mut counts = header.counts;
        let (mut x, top) = (Self::MAP.0, self.legend_top());
        for (kind, words) in [
            (RunKind::Stored, "stored"),
            (RunKind::Free, "free"),
            (RunKind::Zero, "zeros"),
            (RunKind::Window, "window"),
            (RunKind::Excluded, "not to be touched"),
        ] {
            self.squares.push(Square { x, y: top + 2, size: SQUARE, colour: Colour::of(kind) });
            let bytes = output::bytes(counts.of_mut(kind).saturating_mul(PAGE_SIZE));
            let text = format!("{words} {bytes}");
            x += SQUARE + 8;
            x += self.say(x, top, RasterHeight::Size16, LOUD, text) + BETWEEN;
        }
        let [cell, block, row] = cells.scale().map(|pages| address(pages * PAGE_SIZE));
        let text = format!(
            "A pixel is {cell}, a block {block}, a row {row}; rows without memory are left out"
        );
        self.say(Self::MAP.0, top + LINE, RasterHeight::Size16, QUIET, text);
    }

    fn legend_top(&self) -> u32 {
        Self::MAP.1 + self.map.height() + 16
    }

    /// Adds a line of text; its width.
    fn say(&mut self, x: u32, y: u32, height: RasterHeight, colour: Colour, text: String) -> u32 {
        let label = Label { x, y, height, colour, text };
        let width = label.width();
        self.labels.push(label);
        width
    }
}

impl Label {
    /// Pixels from its left to its right end.
    pub fn width(&self) -> u32 {
        self.text.chars().count() as u32 * character(self.height)
    }

    fn paint(&self, canvas: &mut Canvas) {
        for (left, letter) in
            (self.x..).step_by(character(self.height) as usize).zip(self.text.chars())
        {
            let shape = get_raster(letter, FontWeight::Regular, self.height);
            let Some(shape) = shape.or_else(|| get_raster('?', FontWeight::Regular, self.height))
            else {
                continue;
            };
            for (y, line) in (self.y..).zip(shape.raster()) {
                for (x, ink) in (left..).zip(line.iter()) {
                    let ink = u32::from(*ink);
                    let parts = [(self.colour, ink), (canvas.get(x, y), 255 - ink)];
                    canvas.set(x, y, Colour::mixed(parts.into_iter()).unwrap_or(self.colour));
                }
            }
        }
    }
}

/// Pixels of a character.
const fn character(height: RasterHeight) -> u32 {
    get_raster_width(FontWeight::Regular, height) as u32
}

/// An address or length that is a multiple of 1 KiB: `64 MiB`.
fn address(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB")];
    let fitting =
        units.into_iter().find(|(shift, _)| bytes >> shift << shift == bytes && bytes != 0);
    match fitting {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None if bytes == 0 => "0".to_owned(),
        None => format!("{} KiB", bytes >> 10),
    }
}
