//! Renders the glyphs that are needed, as small as they come: for each the
//! rectangle that has any ink, in 16 greys.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

#[path = "src/title.rs"]
mod title;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/title.rs");
    let printable: Vec<char> = (' '..='~').collect();
    let mut large: Vec<char> = title::ALL.iter().flat_map(|title| title.chars()).collect();
    large.sort_unstable();
    large.dedup();
    let fonts = font("TEXT", FontWeight::Regular, RasterHeight::Size20, &printable)
        + &font("TITLE", FontWeight::Bold, RasterHeight::Size32, &large);
    let folder = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&folder).join("fonts.rs"), fonts).expect("the build folder is there");
}

/// The source of a font that has these letters.
fn font(name: &str, weight: FontWeight, size: RasterHeight, letters: &[char]) -> String {
    let (mut glyphs, mut ink) = (String::new(), Vec::new());
    for &letter in letters {
        let raster = get_raster(letter, weight, size).expect("the font has all of ASCII");
        let rows = raster.raster();
        let inked = |x: usize, y: usize| rows[y][x] >> 4 > 0;
        let columns: Vec<usize> =
            (0..raster.width()).filter(|&x| (0..rows.len()).any(|y| inked(x, y))).collect();
        let lines: Vec<usize> =
            (0..rows.len()).filter(|&y| (0..raster.width()).any(|x| inked(x, y))).collect();
        let bounds = |all: &[usize]| match (all.first(), all.last()) {
            (Some(first), Some(last)) => (*first, last - first + 1),
            _ => (0, 0),
        };
        let ((x, width), (y, height)) = (bounds(&columns), bounds(&lines));
        writeln!(
            glyphs,
            "Glyph {{ letter: {:?}, x: {x}, y: {y}, width: {width}, height: {height}, at: {} }},",
            letter as u8,
            ink.len()
        )
        .expect("a string takes all");
        for row in &rows[y..y + height] {
            for pair in row[x..x + width].chunks(2) {
                ink.push(pair[0] >> 4 << 4 | pair.get(1).map_or(0, |right| right >> 4));
            }
        }
    }
    format!(
        "pub static {name}: Font = Font {{ width: {}, height: {}, glyphs: &[{glyphs}], \
         ink: &{ink:?} }};\n",
        get_raster_width(weight, size),
        size.val(),
    )
}
