//! What the host asks of the guest, and what the guest answers.
//!
//! A request may be sent more than once: a serial line loses bytes while the
//! guest sleeps. The guest carries each request out once, by its id, and
//! repeats the answer.

use serde::{Deserialize, Serialize};

/// A request of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Identifies the request; never used twice in the life of a guest.
    pub id: u64,
    /// What to do.
    pub call: Call,
}

/// What the guest sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The request's id; [`Reply::HELLO`] for the greeting.
    pub id: u64,
    /// The answer, or why there is none.
    pub answer: Result<Answer, String>,
}

impl Reply {
    /// The id of the greeting that the guest sends unasked once it serves.
    pub const HELLO: u64 = 0;
}

/// What the host can ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Call {
    /// Find the block device with this serial number.
    FindDisk {
        /// As given to QEMU.
        serial: String,
    },
    /// Mount an ext4 file system.
    Mount {
        /// The block device.
        device: String,
        /// Where; made if it is missing.
        directory: String,
    },
    /// Unmount.
    Unmount {
        /// Where.
        directory: String,
    },
    /// Swap to a block device, with this priority.
    SwapOn {
        /// The block device.
        device: String,
        /// From 0 to 32767.
        priority: u16,
    },
    /// Start a workload; answered with its first verdict once it is ready.
    Start(Workload),
    /// Ask every workload whether it is well; they go on.
    Check,
    /// End every workload.
    Stop,
    /// Run a program to its end.
    Run {
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// Read a file.
    Read {
        /// Its path.
        path: String,
    },
    /// Write a file that exists (one of sysfs or procfs).
    Write {
        /// Its path.
        path: String,
        /// What to write, in one call.
        contents: String,
    },
    /// Have the kernel treat memory as broken, for good.
    BreakMemory {
        /// How many pages.
        pages: u64,
    },
    /// Move bytes between a device and memory, past the page cache, with many
    /// requests under way.
    DirectIo {
        /// The device; where it is written, what lies there is lost.
        device: String,
        /// Its first byte that is moved.
        start: u64,
        /// How many; rounded up to whole MiB.
        bytes: u64,
        /// Whether to write instead of to read.
        write: bool,
    },
    /// Clock, processors, memory.
    Facts,
    /// The kernel's log from a record on.
    KernelLog {
        /// The first sequence number wanted.
        from: u64,
    },
    /// Sync and power off; not answered.
    PowerOff,
}

/// Something that runs in the guest and can tell later whether it survived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// Anonymous memory in small pages, filled with a pattern.
    Anonymous {
        /// How much.
        bytes: u64,
        /// The pattern's seed.
        seed: u64,
    },
    /// Anonymous memory in which most pages are zero.
    Sparse {
        /// How much, zero pages included.
        bytes: u64,
        /// Every which page has a pattern.
        every: u64,
        /// The pattern's seed.
        seed: u64,
    },
    /// Transparent huge pages and, where the kernel has some to give,
    /// hugetlbfs pages.
    Huge {
        /// How much of the former; an eighth as much of the latter.
        bytes: u64,
        /// The pattern's seed.
        seed: u64,
    },
    /// A memfd and a System V segment, each mapped twice.
    Shared {
        /// How much in both together.
        bytes: u64,
        /// The pattern's seed.
        seed: u64,
    },
    /// A file on tmpfs.
    Tmpfs {
        /// How large.
        bytes: u64,
        /// The pattern's seed.
        seed: u64,
    },
    /// A file on a disk, resident in the page cache.
    PageCache {
        /// A directory on the disk.
        directory: String,
        /// How large.
        bytes: u64,
        /// The pattern's seed.
        seed: u64,
    },
    /// Counts, a hundred times a second.
    Counter,
    /// A pipe that always has data in flight.
    Pipe,
    /// A TCP connection over loopback that is always in use.
    Tcp,
    /// A file that is appended to and synced ten times a second.
    Append {
        /// A directory on the disk.
        directory: String,
    },
}

/// What a workload says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which workload.
    pub workload: String,
    /// Its process.
    pub pid: u32,
    /// When the process began, in nanoseconds of the guest's boot clock: it
    /// never changes unless the process was replaced by another.
    pub began_ns: u64,
    /// How far it got; grows while it lives. Zero for workloads that stand
    /// still.
    pub progress: u64,
    /// `None`: all is well.
    pub fault: Option<String>,
    /// For a person to read.
    pub detail: String,
}

/// What the guest answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// A device's path, or a file's contents.
    Text(String),
    /// What the workloads say.
    Verdicts(Vec<Verdict>),
    /// How a program ended.
    Ran(Ran),
    /// Done, in so many microseconds.
    Took(u64),
    /// Clock, processors, memory.
    Facts(Facts),
    /// The kernel's log.
    KernelLog(Vec<LogRecord>),
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// What the guest knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// CLOCK_REALTIME, in nanoseconds since 1970.
    pub realtime_ns: u64,
    /// Processors online, as the kernel lists them (`0-1`).
    pub cpus_online: String,
    /// Processors present.
    pub cpus_present: String,
    /// MemTotal of /proc/meminfo, in bytes.
    pub memory_total: u64,
    /// MemAvailable of /proc/meminfo, in bytes.
    pub memory_available: u64,
    /// `uname -r`.
    pub kernel_release: String,
}

/// A record of the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Its sequence number.
    pub sequence: u64,
    /// Its level: 0 (emergency) to 7 (debug); 4 is a warning.
    pub level: u8,
    /// Microseconds since boot.
    pub microseconds: u64,
    /// The text.
    pub text: String,
}
