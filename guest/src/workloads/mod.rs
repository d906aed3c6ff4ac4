//! Workloads: each a process of its own that holds something in memory, or
//! keeps something going, and can tell whether it survived.

mod append;
mod files;
mod memory;
mod moving;
mod pipe;
mod shared;
mod supervisor;
mod tcp;

pub use supervisor::Supervisor;

use crate::error::Error;
use dormouse_guest::protocol::{Verdict, Workload};
use std::io::{self, BufRead, Write};

/// A workload that is set up.
trait Living {
    /// Whether it is well; in words, what was looked at.
    fn check(&mut self) -> Result<String, Error>;

    /// How far it got; see [`Verdict::progress`].
    fn progress(&self) -> u64 {
        0
    }
}

fn set_up(workload: &Workload) -> Result<Box<dyn Living>, Error> {
    Ok(match workload {
        Workload::Anonymous { bytes, seed } => Box::new(memory::small_pages(*bytes, *seed)?),
        Workload::Sparse { bytes, every, seed } => Box::new(memory::sparse(*bytes, *every, *seed)?),
        Workload::Huge { bytes, seed } => Box::new(memory::HugePages::new(*bytes, *seed)?),
        Workload::Shared { bytes, seed } => Box::new(shared::Shared::new(*bytes, *seed)?),
        Workload::Tmpfs { bytes, seed } => Box::new(files::tmpfs(*bytes, *seed)?),
        Workload::PageCache { directory, bytes, seed } => {
            Box::new(files::page_cache(directory, *bytes, *seed)?)
        }
        Workload::Counter => Box::new(moving::counter()),
        Workload::Pipe => Box::new(pipe::Pipe::new()?),
        Workload::Tcp => Box::new(tcp::Connection::new()?),
        Workload::Append { directory } => Box::new(append::Appender::new(directory)?),
    })
}

/// The workload's name in reports.
fn name(workload: &Workload) -> &'static str {
    match workload {
        Workload::Anonymous { .. } => "anonymous memory",
        Workload::Sparse { .. } => "zero pages",
        Workload::Huge { .. } => "huge pages",
        Workload::Shared { .. } => "shared memory",
        Workload::Tmpfs { .. } => "tmpfs",
        Workload::PageCache { .. } => "page cache",
        Workload::Counter => "counter",
        Workload::Pipe => "pipe",
        Workload::Tcp => "TCP connection",
        Workload::Append { .. } => "open file",
    }
}

/// The life of a workload's process: sets it up, then answers every line on
/// standard input with a verdict on standard output, until there is no more.
pub fn live(description: &str) -> Result<(), Error> {
    let workload: Workload = serde_json::from_str(description)
        .map_err(|e| Error::Lost(format!("not a workload: {e}")))?;
    let began_ns = boot_clock_ns();
    let mut living = set_up(&workload)?;
    let mut out = io::stdout().lock();
    let mut report = |result: Result<String, Error>, progress: u64| -> Result<(), Error> {
        let (fault, detail) = match result {
            Ok(detail) => (None, detail),
            Err(e) => (Some(e.to_string()), String::new()),
        };
        let verdict = Verdict {
            workload: name(&workload).into(),
            pid: std::process::id(),
            began_ns,
            progress,
            fault,
            detail,
        };
        let line = serde_json::to_string(&verdict)
            .map_err(|e| Error::Lost(format!("a verdict that is not JSON: {e}")))?;
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::refused("answering"))
    };
    report(Ok("ready".into()), living.progress())?;
    for line in io::stdin().lock().lines() {
        line.map_err(Error::refused("reading a question"))?;
        let result = living.check();
        report(result, living.progress())?;
    }
    Ok(())
}

/// CLOCK_BOOTTIME, in nanoseconds.
fn boot_clock_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
