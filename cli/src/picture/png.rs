//! A canvas as a PNG file.

use super::colour::Canvas;
use ::png::{BitDepth, ColorType, Compression, Encoder};
use std::io;

/// The file's bytes.
pub fn encode(canvas: &Canvas) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, canvas.width(), canvas.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::High);
    encoder.write_header()?.write_image_data(canvas.bytes())?;
    Ok(bytes)
}
