//! The first serial port, line by line.

use crate::error::Error;
use crate::inbox::{Found, Inbox};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The console of one machine. What was waited for is behind it: each wait
/// goes on after the line that the one before found.
pub struct Console {
    lines: Inbox<String>,
    next: usize,
    line: UnixStream,
}

impl Console {
    /// The console at the other end of `line`.
    pub fn new(line: UnixStream) -> Result<Self, Error> {
        let reading = line.try_clone().map_err(Error::host("cloning the console's socket"))?;
        let mut partial = Vec::new();
        let lines = Inbox::reading(reading, move |bytes| {
            let mut lines = Vec::new();
            for byte in bytes {
                match byte {
                    b'\n' => {
                        lines.push(String::from_utf8_lossy(&partial).into_owned());
                        partial.clear();
                    }
                    b'\r' => {}
                    byte => partial.push(*byte),
                }
            }
            lines
        });
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

    /// Types on the console.
    pub fn type_keys(&mut self, keys: &str) -> Result<(), Error> {
        self.line.write_all(keys.as_bytes()).map_err(Error::host("typing on the console"))
    }
}
