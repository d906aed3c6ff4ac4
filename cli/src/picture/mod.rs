//! Physical memory as a picture: what became of each page.
//!
//! ```text
//! runs -> Cells (one a pixel) -> Scene (title, axis, legend) -> PNG or SVG
//! ```

mod cells;
mod colour;
mod png;
mod scene;
mod svg;

use crate::error::{Error, Result};
use crate::image_file::{ImageError, ImageFile};
use cells::Cells;
use scene::Scene;
use std::path::{Path, PathBuf};

/// A file for the picture, by whose name its format is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFile {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Png,
    Svg,
}

impl PictureFile {
    /// Takes a path that ends in `.png` or `.svg`.
    ///
    /// # Errors
    /// What is wrong with any other, in words.
    pub fn named(path: &str) -> std::result::Result<Self, String> {
        let path = PathBuf::from(path);
        let format = match path.extension().and_then(|e| e.to_str()) {
            Some("png") => Format::Png,
            Some("svg") => Format::Svg,
            _ => return Err("a name that ends in .png or .svg is needed".to_owned()),
        };
        Ok(Self { path, format })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Draws an image's memory; a picture that is there is replaced.
    ///
    /// # Errors
    /// [`Error::Image`], [`Error::Io`].
    pub fn draw(&self, image: &ImageFile) -> Result<()> {
        if !image.has_content() {
            return Err(image.failed(ImageError::Empty));
        }
        let plan = image.plan()?;
        let plan = plan.checked().map_err(|fault| image.failed(ImageError::Plan(fault)))?;
        let mut cells = Cells::of(plan.memory());
        for run in image.runs() {
            cells.take(&run?);
        }
        let scene = Scene::of(&cells, image.header(), &plan);
        let bytes = match self.format {
            Format::Png => png::encode(&scene.paint()),
            Format::Svg => svg::text(&scene).map(String::into_bytes),
        };
        let written = bytes.and_then(|bytes| std::fs::write(&self.path, bytes));
        written.map_err(|source| Error::Io { doing: "write", path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests;
