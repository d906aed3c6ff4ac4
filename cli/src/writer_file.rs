//! Where `writer.elf` is.

use crate::error::{Error, Result};
use crate::stamp::WriterElf;
use std::path::{Path, PathBuf};

/// Where packages put it.
pub const DEFAULT_PATH: &str = "/usr/lib/dormouse/writer.elf";

/// Reads and checks the writer.
///
/// # Errors
/// [`Error::Io`] where it cannot be read, [`Error::Writer`] where it is none.
pub fn load(path: &Path) -> Result<WriterElf> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    WriterElf::parse(bytes).map_err(|fault| Error::Writer { path: PathBuf::from(path), fault })
}
