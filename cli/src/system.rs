//! The files in which the kernel shows itself, below one root folder.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes that are read of one file: far more than any real one has.
const MAX_BYTES: u64 = 64 << 20;

/// The files of `/proc`, `/sys` and `/etc`: of this machine, or of a tree that
/// a test has made.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

impl System {
    /// This machine.
    pub fn this() -> Self {
        Self::below("/")
    }

    /// The system whose files lie below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where `path` (absolute, as the system sees it) really lies.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether there is such a file or folder.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// [`Error::Io`], also where the file is larger than 64 MiB.
    pub fn bytes(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = self.path(path);
        read_bounded(&path).map_err(|source| Error::Io { doing: "read", path, source })
    }

    /// A file's text; bytes that are not UTF-8 become replacement characters.
    ///
    /// # Errors
    /// As [`System::bytes`].
    pub fn text(&self, path: impl AsRef<Path>) -> Result<String> {
        let text = String::from_utf8(self.bytes(path)?);
        Ok(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// A one-line file without its white space; `None` where it cannot be read.
    pub fn line(&self, path: impl AsRef<Path>) -> Option<String> {
        Some(self.text(path).ok()?.trim().to_owned())
    }

    /// A number in decimal; `None` where there is none.
    pub fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.line(path)?.parse().ok()
    }

    /// Where a symbolic link leads, as the system sees it: `/sys/…`.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let root = self.root.canonicalize().ok()?;
        let real = self.path(path).canonicalize().ok()?;
        Some(Path::new("/").join(real.strip_prefix(root).ok()?))
    }

    /// The last part of where a symbolic link leads, for example a driver's name.
    pub fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = std::fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// The names in a folder, in order; none where there is no such folder.
    pub fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 64 MiB"));
    }
    Ok(bytes)
}
