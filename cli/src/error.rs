//! What can go wrong, where, and what the user can do about it.

use crate::appliance::Fault;
use crate::exit::Exit;
use crate::image_file::ImageError;
use crate::linux::iomem::IomemError;
use crate::preflight::Finding;
use crate::processors::ONE_QUEUE;
use crate::stamp::StampError;
use crate::target::DeviceError;
use dormouse_handoff::plan::PlanError;
use dormouse_power::PowerError;
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A result whose error is this crate's.
pub type Result<T> = std::result::Result<T, Error>;

/// The one error type of this crate.
#[derive(Debug)]
pub enum Error {
    /// Doing something with a file or device failed.
    Io {
        /// What was tried, as a verb: `read`, `open`.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A call into the kernel failed.
    Call {
        /// The call's name.
        name: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The kernel hides from us what is in this file.
    Hidden(&'static str),
    /// The memory map is of no use.
    Iomem(IomemError),
    /// Memory was added or taken away while a sleep was prepared.
    MemoryChanged,
    /// `/proc/kcore` does not tell where the kernel maps physical memory.
    NoDirectMap,
    /// There are more ranges of memory than a plan holds; how many.
    TooManyRanges(usize),
    /// The ACPI tables do not tell how to power off.
    Power(PowerError),
    /// No range of memory is fit to be the window.
    NoWindow {
        /// How many bytes are needed.
        bytes: u64,
    },
    /// The plan that we made is one that the writer would refuse.
    Plan(PlanError),
    /// The file is no writer.
    Writer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: StampError,
    },
    /// The path is no target.
    Target {
        /// The path.
        path: PathBuf,
        /// Why.
        fault: DeviceError,
    },
    /// What lies on the target must not be overwritten, or somebody uses it.
    NotFree {
        /// The target.
        path: PathBuf,
        /// What is in the way.
        reason: String,
        /// What the user can do.
        advice: String,
    },
    /// There is no snapshot to go back to.
    NoOlder,
    /// No place was named for a snapshot.
    NoPlace,
    /// More targets were named than this takes.
    TooManyTargets(usize),
    /// The checks found reasons not to try.
    Refused(Vec<Finding>),
    /// Another `dormouse` is at work.
    Busy,
    /// A hook of `/etc/dormouse/sleep.d` said no, or did not end.
    Hook {
        /// The program.
        path: PathBuf,
        /// How it ended.
        how: String,
    },
    /// `kexec` is not installed.
    NoKexec,
    /// `kexec -l` failed; what it printed.
    KexecLoad(String),
    /// A processor that has to be offline before the jump cannot be.
    Processor {
        /// Its number.
        number: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel did not jump.
    Jump(Errno),
    /// The machine's clock cannot wake it.
    NoAlarm {
        /// Why.
        reason: String,
    },
    /// The mailbox moved whenever a plan named its place; how often.
    MailboxMoves(u32),
    /// An appliance cannot be built.
    Appliance(Fault),
    /// An image cannot be read.
    Image {
        /// The file or device.
        path: PathBuf,
        /// Why.
        fault: ImageError,
    },
}

impl Error {
    /// A failed call.
    pub fn call(name: &'static str, errno: Errno) -> Self {
        Self::Call { name, errno }
    }

    /// A failed read.
    pub fn read(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { doing: "read", path: path.into(), source }
    }

    /// What the user can do about it, where there is something to say.
    pub fn advice(&self) -> Option<String> {
        let text = match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::OutOfMemory => {
                "free some memory, for example by ending a program"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "choose another name, or remove what is there"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => {
                "somebody uses it: choose another device, or end that use"
            }
            Self::Hidden(_) | Self::Iomem(IomemError::Hidden) => "run it as root",
            Self::MemoryChanged => "try again once nobody plugs or unplugs memory",
            Self::NoDirectMap => "a kernel with CONFIG_PROC_KCORE=y is needed",
            Self::NoWindow { .. } => "free some memory, for example by ending a program",
            Self::Plan(_) => "this is a fault of dormouse; please report it with `dormouse check`",
            Self::Writer { .. } => "take the writer.elf that belongs to this version of dormouse",
            Self::Target { fault, .. } => fault.advice(),
            Self::NotFree { advice, .. } => advice,
            Self::NoOlder => {
                "name both targets with --target; `dormouse status --target` tells what lies there"
            }
            Self::Busy => "wait until it has ended",
            Self::Hook { .. } => "see what it wants, or go without hooks with --no-hooks",
            Self::NoKexec => "install kexec-tools",
            Self::Processor { .. } => ONE_QUEUE,
            Self::Jump(Errno::BUSY) => "some process would not freeze: `dmesg` names it",
            Self::Jump(_) => "`dmesg` may say more",
            Self::MailboxMoves(_) => "allow io_uring (sysctl kernel.io_uring_disabled=0)",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// The exit status that goes with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(_)
            | Self::NotFree { .. }
            | Self::NoOlder
            | Self::NoPlace
            | Self::TooManyTargets(_)
            | Self::Target { .. }
            | Self::NoAlarm { .. } => Exit::Refused,
            Self::Image { .. } => Exit::BadImage,
            _ => Exit::Failed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => {
                write!(f, "cannot {doing} {}: {source}", path.display())
            }
            Self::Call { name, errno } => write!(f, "{name} failed: {errno}"),
            Self::Hidden(path) => write!(f, "the kernel hides what is in {path}"),
            Self::Iomem(error) => write!(f, "{error}"),
            Self::MemoryChanged => {
                write!(f, "memory was added or taken away while the sleep was prepared")
            }
            Self::NoDirectMap => {
                write!(f, "/proc/kcore does not tell where the kernel maps physical memory")
            }
            Self::TooManyRanges(n) => write!(f, "memory has {n} ranges, more than a plan holds"),
            Self::Power(error) => write!(f, "{error}"),
            Self::NoWindow { bytes } => {
                write!(f, "no {} MiB of memory are free of kernel structures", bytes >> 20)
            }
            Self::Plan(error) => write!(f, "the writer would refuse the plan: {error}"),
            Self::Writer { path, fault } => write!(f, "{}: {fault}", path.display()),
            Self::Target { path, fault } => write!(f, "{}: {fault}", path.display()),
            Self::NotFree { path, reason, .. } => write!(f, "{}: {reason}", path.display()),
            Self::NoOlder => {
                write!(f, "there is no older snapshot of the same series that could be woken")
            }
            Self::NoPlace => write!(f, "no target was named"),
            Self::TooManyTargets(most) => write!(f, "this takes {most} of --target at most"),
            Self::Refused(findings) => {
                let refused: Vec<&str> = findings.iter().map(|f| f.text.as_str()).collect();
                write!(f, "not possible: {}", refused.join("; "))
            }
            Self::Busy => write!(f, "another dormouse is at work"),
            Self::Hook { path, how } => write!(f, "the hook {} {how}", path.display()),
            Self::NoKexec => write!(f, "the program `kexec` is not installed"),
            Self::KexecLoad(stderr) => write!(f, "kexec cannot load the writer: {stderr}"),
            Self::Processor { number, source } => {
                write!(f, "processor {number} cannot be taken offline: {source}")
            }
            Self::Jump(errno) => write!(f, "the kernel did not jump into the writer: {errno}"),
            Self::NoAlarm { reason } => write!(f, "the machine cannot be woken by time: {reason}"),
            Self::MailboxMoves(n) => {
                write!(f, "the mailbox's pages moved {n} times while the plan was made")
            }
            Self::Appliance(fault) => write!(f, "{fault}"),
            Self::Image { path, fault } => write!(f, "{}: {fault}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Processor { source, .. } => Some(source),
            Self::Call { errno, .. } | Self::Jump(errno) => Some(errno),
            Self::Power(error) => Some(error),
            _ => None,
        }
    }
}
