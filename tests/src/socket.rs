//! A folder of sockets with a short name (a socket's path has 107 bytes at
//! most, unix(7)), removed when it is no longer needed.

use crate::error::Error;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of sockets.
pub struct Sockets(PathBuf);

impl Sockets {
    /// A new folder for this process alone.
    pub fn new() -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dormouse-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)
            .map_err(Error::host(format!("making {}", folder.display())))?;
        Ok(Self(folder))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Listens on a new socket in the folder.
    pub fn listen(&self, name: &str) -> Result<UnixListener, Error> {
        let path = self.0.join(name);
        // One may be left over from a process with the same number.
        let _ = std::fs::remove_file(&path);
        UnixListener::bind(&path).map_err(Error::host(format!("listening at {}", path.display())))
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // What is left over in the temporary folder hurts nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
