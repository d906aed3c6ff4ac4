//! A scene as an SVG file: real text around the map, which is a picture in it.

use super::colour::Colour;
use super::png;
use super::scene::Scene;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;
use std::io;

/// The file's text.
pub fn text(scene: &Scene) -> io::Result<String> {
    let (width, height) = scene.size();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
        hex(Scene::BACKGROUND)
    );
    for square in scene.squares() {
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{size}\" height=\"{size}\" rx=\"2\" fill=\"{}\"/>",
            square.x,
            square.y,
            hex(square.colour),
            size = square.size,
        );
    }
    let (x, y) = Scene::MAP;
    let _ = writeln!(
        svg,
        "<image x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" \
         style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{}\"/>",
        scene.map().width(),
        scene.map().height(),
        STANDARD.encode(png::encode(scene.map())?),
    );
    for label in scene.labels() {
        let size = label.height.val();
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" font-family=\"monospace\" font-size=\"{}\" \
             fill=\"{}\" textLength=\"{}\" xml:space=\"preserve\">{}</text>",
            label.x,
            label.y as usize + size * 3 / 4,
            size * 4 / 5,
            hex(label.colour),
            label.width(),
            escaped(&label.text),
        );
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn hex(Colour(red, green, blue): Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Text that stands for itself in XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
