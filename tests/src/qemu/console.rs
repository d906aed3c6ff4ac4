//! The first serial port, line by line, and as a file.
//!
//! The file is written here and not by QEMU: its `logfile=` writes a byte again
//! whenever the socket beside it was full.

use crate::error::Error;
use crate::inbox::{Found, Inbox};
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long bytes that were sent may take to be read.
const PATIENCE: Duration = Duration::from_secs(30);

/// The console of one machine. What was waited for is behind it: each wait
/// goes on after the line that the one before found.
pub struct Console {
    lines: Inbox<String>,
    next: usize,
    line: UnixStream,
}

impl Console {
    /// The console at the other end of `line`. What comes in is appended to the
    /// file `log`.
    pub fn new(line: UnixStream, log: &Path) -> Result<Self, Error> {
        let reading = line.try_clone().map_err(Error::host("cloning the console's socket"))?;
        let mut partial = Vec::new();
        let file = File::options().append(true).create(true).open(log);
        let mut file = file.map_err(Error::host(format!("opening {}", log.display())))?;
        let log = log.to_owned();
        let lines = Inbox::reading(reading, move |bytes| {
            if let Err(error) = file.write_all(bytes) {
                // What is awaited is found all the same.
                eprintln!("writing {}: {error}", log.display());
            }
            let mut lines = Vec::new();
            for byte in bytes {
                match byte {
                    // Lines that are written over count as well.
                    b'\n' | b'\r' => {
                        if !partial.is_empty() {
                            lines.push(String::from_utf8_lossy(&partial).into_owned());
                            partial.clear();
                        }
                    }
                    byte => partial.push(*byte),
                }
            }
            lines
        })?;
        Ok(Self { lines, next: 0, line })
    }

    /// Waits for a line that contains `text`; the line, and when it came.
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> Result<(String, Instant), Error> {
        let awaited = format!("the console's line {text:?}");
        let pick = |line: &String| line.contains(text).then(|| line.clone());
        let Found { value, index, at } = self.lines.find(&awaited, self.next, patience, pick)?;
        self.next = index + 1;
        Ok((value, at))
    }

    /// The first line of all so far that contains `text`.
    pub fn seen(&self, text: &str) -> Option<String> {
        let mut seen = None;
        self.lines.for_each(|line| {
            if seen.is_none() && line.contains(text) {
                seen = Some(line.clone());
            }
        });
        seen
    }

    /// Waits until all that was sent so far is in the log.
    pub fn catch_up(&self) -> Result<(), Error> {
        self.lines.catch_up("what the console sent", PATIENCE)
    }

    /// Waits until QEMU has closed the line and all that it sent is in the log.
    pub fn wait_until_closed(&self) -> Result<(), Error> {
        self.lines.wait_until_closed("the console's end", PATIENCE)
    }

    /// Types on the console.
    pub fn type_keys(&mut self, keys: &str) -> Result<(), Error> {
        self.line.write_all(keys.as_bytes()).map_err(Error::host("typing on the console"))
    }
}
