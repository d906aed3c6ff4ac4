//! Memory divided into cells, one for each pixel, in blocks and rows.

use super::colour::{Canvas, Colour};
use dormouse_handoff::image::{Run, RunKind};
use dormouse_handoff::memory_map::MemoryRange;
use dormouse_handoff::units::{PageRange, Pfn};

/// Cells in a block, across and down. A block of one page a cell is 2 MiB: a
/// large page.
const BLOCK_WIDTH: u64 = 32;
const BLOCK_HEIGHT: u64 = 16;
const BLOCK_CELLS: u64 = BLOCK_WIDTH * BLOCK_HEIGHT;

/// Blocks in a row.
const ROW_BLOCKS: u64 = 32;

/// Pixels between blocks.
const GAP: u64 = 1;

/// Pixels between a block's corner and the next one's.
const ACROSS: u64 = BLOCK_WIDTH + GAP;
const DOWN: u64 = BLOCK_HEIGHT + GAP;

/// More rows than this make no picture that one would look at: then a cell
/// stands for more pages.
const MOST_ROWS: usize = 40;

/// Every fate, and how many there are.
const KINDS: [RunKind; 5] =
    [RunKind::Stored, RunKind::Zero, RunKind::Free, RunKind::Excluded, RunKind::Window];

/// Pages of a cell by their fate, in the order of `KINDS`.
type Cell = [u32; KINDS.len()];

/// All memory in cells.
pub struct Cells {
    /// Pages in a cell: a power of two.
    pages: u64,
    /// The rows that have memory, by number, in order.
    rows: Vec<u64>,
    /// The cells of all of `rows`.
    cells: Vec<Cell>,
}

impl Cells {
    /// Empty cells for this memory.
    pub fn of(memory: &[MemoryRange]) -> Self {
        let mut pages = 1;
        let mut rows = rows(memory, pages);
        while rows.len() > MOST_ROWS && pages < PageRange::MAX_PFN {
            pages *= 2;
            rows = self::rows(memory, pages);
        }
        let cells = vec![[0; KINDS.len()]; rows.len() * (ROW_BLOCKS * BLOCK_CELLS) as usize];
        Self { pages, rows, cells }
    }

    /// Counts a run's pages in.
    pub fn take(&mut self, run: &Run) {
        let kind = KINDS.iter().position(|kind| *kind as u32 == run.kind);
        let Some(kind) = kind else { return };
        let range = run.range();
        let mut at = range.start;
        while at < range.end() {
            let number = at.0 / self.pages;
            let end = Pfn((number + 1) * self.pages).min(range.end());
            if let Some(cell) = self.cell(number) {
                cell[kind] += (end.0 - at.0) as u32;
            }
            at = end;
        }
    }

    fn cell(&mut self, number: u64) -> Option<&mut Cell> {
        let per_row = ROW_BLOCKS * BLOCK_CELLS;
        let row = self.rows.binary_search(&(number / per_row)).ok()?;
        self.cells.get_mut(row * per_row as usize + (number % per_row) as usize)
    }

    /// Pages that a cell, a block and a row stand for.
    pub fn scale(&self) -> [u64; 3] {
        [1, BLOCK_CELLS, BLOCK_CELLS * ROW_BLOCKS].map(|cells| cells * self.pages)
    }

    /// The first frame of each row, and how many pixels its top is below that
    /// of the first.
    pub fn rows(&self) -> impl Iterator<Item = (Pfn, u32)> {
        let [.., row_pages] = self.scale();
        let tops = (0..).step_by(DOWN as usize);
        self.rows.iter().map(move |row| Pfn(row * row_pages)).zip(tops)
    }

    /// The map: every cell in the colour of its pages, mixed where they are
    /// different.
    pub fn paint(&self, background: Colour) -> Canvas {
        let width = ROW_BLOCKS * ACROSS - GAP;
        let height = (self.rows.len() as u64 * DOWN).saturating_sub(GAP);
        let mut canvas = Canvas::new(width as u32, height as u32, background);
        for (at, cell) in (0u64..).zip(&self.cells) {
            let parts = KINDS.iter().zip(cell).map(|(kind, pages)| (Colour::of(*kind), *pages));
            let Some(colour) = Colour::mixed(parts) else { continue };
            let (block, inside) = (at / BLOCK_CELLS, at % BLOCK_CELLS);
            let x = block % ROW_BLOCKS * ACROSS + inside % BLOCK_WIDTH;
            let y = block / ROW_BLOCKS * DOWN + inside / BLOCK_WIDTH;
            canvas.set(x as u32, y as u32, colour);
        }
        canvas
    }
}

/// The numbers of the rows that have memory where a cell is so many pages.
fn rows(memory: &[MemoryRange], cell_pages: u64) -> Vec<u64> {
    let row_pages = cell_pages * BLOCK_CELLS * ROW_BLOCKS;
    let mut rows: Vec<u64> = Vec::new();
    for entry in memory {
        let first = entry.range.start.0 / row_pages;
        let past = entry.range.end().0.div_ceil(row_pages);
        // As many as are needed to see that they are too many.
        for row in (first..past).take(MOST_ROWS + 1) {
            if rows.last() != Some(&row) {
                rows.push(row);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(start: u64, pages: u64) -> MemoryRange {
        MemoryRange { range: PageRange::new(start, pages), kind: 1, reserved: 0 }
    }

    fn run(start: u64, pages: u32, kind: RunKind) -> Run {
        Run { start: Pfn(start), pages, kind: kind as u32 }
    }

    #[test]
    fn a_gibibyte_has_a_pixel_for_each_page_and_a_tebibyte_has_not() {
        let gib = Cells::of(&[ram(0, 1 << 18)]);
        assert_eq!((gib.scale(), gib.rows.len()), ([1, 512, 16384], 16));
        let tib = Cells::of(&[ram(0, 1 << 28)]);
        assert_eq!((tib.scale()[0], tib.rows.len()), (512, 32));
        let widest = Cells::of(&[ram(0, PageRange::MAX_PFN)]);
        assert!(widest.rows.len() <= MOST_ROWS);
    }

    #[test]
    fn rows_without_memory_are_left_out() {
        let cells = Cells::of(&[ram(1, 100), ram(1 << 20, 100)]);
        let rows: Vec<_> = cells.rows().collect();
        assert_eq!(rows, [(Pfn(0), 0), (Pfn(1 << 20), 17)]);
    }

    #[test]
    fn each_page_is_painted_in_its_place() {
        let (nothing, stored) = (Colour(0, 0, 0), Colour::of(RunKind::Stored));
        let mut cells = Cells::of(&[ram(0, 1 << 15)]);
        cells.take(&run(33, 1, RunKind::Stored));
        cells.take(&run(512, 1, RunKind::Stored));
        cells.take(&run(16384, 1, RunKind::Stored));
        let map = cells.paint(nothing);
        let painted: Vec<_> = (0..map.height())
            .flat_map(|y| (0..map.width()).map(move |x| (x, y)))
            .filter(|(x, y)| map.get(*x, *y) == stored)
            .collect();
        assert_eq!(painted, [(33, 0), (1, 1), (0, 17)]);
    }
}
