//! `/run/dormouse`: what the program keeps until the next boot, for root alone.

use crate::error::{Error, Result};
use crate::system::System;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, rename, set_permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder.
pub const PATH: &str = "/run/dormouse";

/// The record of the last attempt.
pub const LAST: &str = "last.json";

/// The record of what a suspend to RAM would overwrite.
pub const RELOADED: &str = "reloaded.json";

/// A record that was written since the machine was started; `None` where none was.
///
/// # Errors
/// [`Error::Io`].
pub fn recorded<T: DeserializeOwned>(system: &System, name: &str) -> Result<Option<T>> {
    let path = Path::new(PATH).join(name);
    let bytes = match system.bytes(&path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    let record = serde_json::from_slice(&bytes);
    record.map(Some).map_err(|error| Error::read(path, error.into()))
}

/// The folder, locked: only one `dormouse` at a time sends the machine to sleep.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Holds the lock; programs that are started do not inherit it.
    _lock: File,
}

impl RunDir {
    /// Makes the folder if need be, and takes the lock.
    ///
    /// # Errors
    /// [`Error::Busy`] where another process has it, otherwise [`Error::Io`].
    pub fn lock() -> Result<Self> {
        Self::lock_at(Path::new(PATH))
    }

    pub(crate) fn lock_at(path: &Path) -> Result<Self> {
        let failed = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make"))?;
        set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("protect"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed("open the lock in"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy),
            Err(errno) => Err(Error::call("flock", errno)),
        }
    }

    /// Writes a file that only root can read; its path.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!("{name}.new"));
        replace(&temporary, &path, bytes).map_err(|source| Error::Io {
            doing: "write",
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// Writes a record, for [`recorded`] to read.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn record(&self, name: &str, record: &impl Serialize) -> Result<PathBuf> {
        let text = serde_json::to_vec_pretty(record).map_err(|error| Error::Io {
            doing: "record",
            path: self.path.join(name),
            source: error.into(),
        })?;
        self.write(name, &text)
    }
}

fn replace(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(temporary)?;
    file.write_all(bytes)?;
    rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse");
        let first = RunDir::lock_at(&path).unwrap();
        assert!(matches!(RunDir::lock_at(&path), Err(Error::Busy)));
        drop(first);
        RunDir::lock_at(&path).unwrap();
    }

    #[test]
    fn files_are_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::lock_at(&folder.path().join("dormouse")).unwrap();
        let path = run_dir.write("writer.elf", b"\x7fELF").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}
