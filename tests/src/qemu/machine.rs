//! One QEMU process.

use super::setup::{Lines, Setup};
use super::{Console, Monitor, Sample, Sampler};
use crate::error::Error;
use crate::socket::Sockets;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// QEMU's name of the first disk.
pub(super) const FIRST_DISK: &str = "disk0";

/// The log of the first serial port in a machine's folder.
pub const SERIAL_LOG: &str = "serial.log";

pub(super) const QEMU: &str = "qemu-system-x86_64";

/// How long QEMU may take to start, and to end once the guest has.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running virtual machine. It is killed when it is dropped; then all that it
/// wrote on the console is in the serial log.
pub struct Machine {
    process: Process,
    /// The first serial port.
    pub console: Console,
    /// QEMU's monitor.
    pub monitor: Monitor,
    /// When QEMU was started.
    pub started: Instant,
    sampler: Option<Sampler>,
}

/// How a machine ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Why, in QEMU's words: `guest-shutdown`, `guest-reset`, …
    pub reason: String,
    /// QEMU's exit status.
    pub status: ExitStatus,
    /// When the guest stopped.
    pub at: Instant,
    /// What its first disk had moved when, where that was looked at.
    pub samples: Vec<Sample>,
}

impl Ended {
    /// The reason where the guest switched the power off.
    pub const POWER_OFF: &str = "guest-shutdown";
    /// The reason where the guest reset the machine.
    pub const RESET: &str = "guest-reset";

    /// Whether the guest itself switched the power off, and QEMU ended well.
    pub fn by_power_off(&self) -> bool {
        self.reason == Self::POWER_OFF && self.status.success()
    }
}

impl Machine {
    /// Starts QEMU; also the agent's end of the second serial port.
    ///
    /// Appends to the serial log `folder`/[`SERIAL_LOG`], and to
    /// `folder`/qemu.log, which has QEMU's command line and its own words.
    pub fn start(setup: &Setup, folder: &Path) -> Result<(Self, UnixStream), Error> {
        let sockets = Sockets::new()?;
        let listeners = ["console", "agent", "monitor"].map(|name| sockets.listen(name));
        let [console, agent, monitor] = listeners;
        let (console, agent, monitor) = (console?, agent?, monitor?);
        let sampler = setup.sampled.then(|| sockets.listen("sampler")).transpose()?;
        let lines = Lines { sockets: Some(sockets.folder()), folder };
        let mut command = Command::new(QEMU);
        command.args(setup.arguments(&lines));
        let started = Instant::now();
        let process = Process::spawn(command, &folder.join("qemu.log"))?;
        let console = Console::new(process.accept(&console)?, &folder.join(SERIAL_LOG))?;
        let agent = process.accept(&agent)?;
        let monitor = process.accept(&monitor)?;
        let monitor = Monitor::new(monitor).map_err(|error| process.last_words(error))?;
        let sampler = match sampler {
            Some(listener) => Some(Sampler::start(process.accept(&listener)?)?),
            None => None,
        };
        Ok((Self { process, console, monitor, started, sampler }, agent))
    }

    /// What the first disk has moved when, where that is looked at.
    pub fn samples(&self) -> Vec<Sample> {
        self.sampler.as_ref().map(Sampler::samples).unwrap_or_default()
    }

    /// Changes how many bytes a second QEMU lets through to the first disk.
    pub fn limit_disk(&mut self, limit: Option<u64>) -> Result<(), Error> {
        let none = json!({
            "device": FIRST_DISK, "bps": 0, "bps_rd": 0, "bps_wr": 0,
            "iops": 0, "iops_rd": 0, "iops_wr": 0,
        });
        let mut arguments = none;
        arguments["bps"] = json!(limit.unwrap_or(0));
        self.monitor.command("block_set_io_throttle", arguments).map(drop)
    }

    /// Lets a machine run that was started paused.
    pub fn go(&mut self) -> Result<(), Error> {
        self.monitor.command("cont", json!({})).map(drop)
    }

    /// Waits for the machine to end; how it did.
    pub fn wait_for_end(mut self, patience: Duration) -> Result<Ended, Error> {
        let (reason, at) = self.monitor.wait_for_shutdown(patience)?;
        let status = self.process.wait(PATIENCE)?;
        self.console.wait_until_closed()?;
        Ok(Ended { reason, status, at, samples: self.samples() })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.process.kill();
        if let Err(error) = self.console.wait_until_closed() {
            eprintln!("{error}");
        }
    }
}

/// QEMU as a process of the host.
struct Process {
    child: Child,
    handle: OwnedFd,
    command_line: String,
    log: PathBuf,
    /// Where its words begin in the log, which it shares with the machines
    /// before and after it.
    log_from: usize,
}

impl Process {
    fn spawn(mut command: Command, log: &Path) -> Result<Self, Error> {
        let tried = || format!("starting {QEMU}, with the log {}", log.display());
        let words = File::options().append(true).create(true).open(log);
        let mut words = words.map_err(Error::host(tried()))?;
        let command_line = command_line(&command);
        writeln!(words, "{command_line}").map_err(Error::host(tried()))?;
        let log_from = words.metadata().map_err(Error::host(tried()))?.len() as usize;
        let child = command
            .stdin(Stdio::null())
            .stdout(words.try_clone().map_err(Error::host(tried()))?)
            .stderr(words)
            .spawn()
            .map_err(Error::host(tried()))?;
        let handle = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map_err(Error::host("pidfd_open"))?;
        Ok(Self { child, handle, command_line, log: log.into(), log_from })
    }

    /// Waits for QEMU to connect, or to end instead.
    fn accept(&self, listener: &UnixListener) -> Result<UnixStream, Error> {
        let mut events =
            [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut events, PATIENCE)?;
        if events[0].revents().contains(PollFlags::IN) {
            let (stream, _) = listener.accept().map_err(Error::host("accepting QEMU"))?;
            return Ok(stream);
        }
        let awaited = "QEMU's connecting".into();
        Err(self.last_words(Error::Ended { awaited, how: "exited".into() }))
    }

    /// What QEMU said of its end, where `error` is that it ended.
    fn last_words(&self, error: Error) -> Error {
        let log = fs::read(&self.log).unwrap_or_default();
        let words = String::from_utf8_lossy(log.get(self.log_from..).unwrap_or_default());
        match error {
            Error::Ended { .. } if !words.trim().is_empty() => {
                Error::Program { command: self.command_line.clone(), outcome: words.trim().into() }
            }
            error => error,
        }
    }

    fn kill(&mut self) {
        // Both fail only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the process to end by itself.
    fn wait(&mut self, patience: Duration) -> Result<ExitStatus, Error> {
        let mut events = [PollFd::new(&self.handle, PollFlags::IN)];
        if poll(&mut events, patience)? == 0 {
            let awaited = "QEMU's end after the guest's".into();
            return Err(Error::Deadline { awaited, waited: patience });
        }
        self.child.wait().map_err(Error::host("waiting for QEMU"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for one of the events; how many there are.
fn poll(events: &mut [PollFd<'_>], patience: Duration) -> Result<usize, Error> {
    let patience = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 60, tv_nsec: 0 });
    loop {
        match rustix::event::poll(events, Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(Error::host("poll")),
        }
    }
}

/// The command as a shell takes it.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")));
    quoted.collect::<Vec<_>>().join(" ")
}
