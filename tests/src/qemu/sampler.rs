//! How much a machine has moved to and from its disks, looked at again and
//! again while it runs.

use super::machine::FIRST_DISK;
use crate::error::Error;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked at: a look costs QEMU's main loop some 100 µs.
const INTERVAL: Duration = Duration::from_millis(10);

/// What the first disk has moved since the machine was started.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When this was so.
    pub at: Instant,
    /// Bytes written.
    pub written: u64,
    /// Bytes read.
    pub read: u64,
}

/// Looks at a machine until it ends.
pub struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Sampler {
    /// Samples by way of a monitor of its own.
    pub fn start(line: UnixStream) -> Result<Self, Error> {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let filled = samples.clone();
        let writing = line.try_clone().map_err(Error::host("cloning the sampler's socket"))?;
        std::thread::spawn(move || {
            // Ends with the machine, whose socket then fails.
            let mut lines = BufReader::new(line).lines().map_while(Result::ok);
            let mut writing = writing;
            let mut ask = |command: &str| -> Option<Value> {
                writeln!(writing, "{}", json!({ "execute": command })).ok()?;
                let messages = lines.by_ref().filter_map(|line| serde_json::from_str(&line).ok());
                messages.filter_map(|mut m: Value| Some(m.get_mut("return")?.take())).next()
            };
            if ask("qmp_capabilities").is_none() {
                return;
            }
            while let Some(answer) = ask("query-blockstats") {
                let at = Instant::now();
                let mut disks = answer.as_array().into_iter().flatten();
                let first = disks.rfind(|disk| disk["device"] == FIRST_DISK);
                let bytes = |name: &str| first?["stats"][name].as_u64();
                if let (Some(written), Some(read)) = (bytes("wr_bytes"), bytes("rd_bytes")) {
                    let sample = Sample { at, written, read };
                    filled.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                }
                std::thread::sleep(INTERVAL);
            }
        });
        Ok(Self { samples })
    }

    /// What was seen so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
