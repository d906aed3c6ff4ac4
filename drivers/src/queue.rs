//! The one trait of all drivers.

use alloc::string::String;
use dormouse_handoff::units::{Lba, PhysAddr};

/// A piece of physical memory in a scatter list.
///
/// Aligned to 4 bytes; a list's inner pieces begin and end on page boundaries
/// of 4096 bytes (NVMe's PRP lists can say nothing else).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins.
    pub address: PhysAddr,
    /// How many bytes: a multiple of the block size.
    pub bytes: u32,
}

/// Which way the blocks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Device to memory.
    Read,
    /// Memory to device.
    Write,
}

/// Blocks to move.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which way.
    pub direction: Direction,
    /// The first block.
    pub lba: Lba,
    /// Where the blocks' bytes lie in memory, in order.
    pub segments: &'a [Segment],
    /// Comes back with the completion; unique among the requests in flight.
    pub tag: u32,
}

impl Request<'_> {
    /// Bytes to move.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| u64::from(s.bytes)).sum()
    }
}

/// A request that has come to its end.
#[derive(Debug)]
pub struct Completion {
    /// The request's tag.
    pub tag: u32,
    /// How it ended.
    pub result: Result<(), DeviceError>,
}

/// What a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in a logical block: 512 or 4096.
    pub block_size: u32,
    /// Blocks of the whole device.
    pub blocks: u64,
    /// Most bytes in one request; a multiple of 4096.
    pub max_bytes: u32,
    /// Most segments in one request.
    pub max_segments: u32,
    /// Most requests in flight.
    pub depth: u32,
    /// Whether the device has a volatile write cache, that is, whether a flush
    /// does anything.
    pub write_cache: bool,
    /// Whether the device can be made to flush where it has such a cache.
    pub can_flush: bool,
}

/// Who a device says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Model name, trimmed.
    pub model: String,
    /// Serial number, trimmed; empty where there is none.
    pub serial: String,
}

/// Why a request was not taken.
#[derive(Debug)]
pub enum SubmitError {
    /// As many requests as the device takes are in flight: poll first.
    Full,
    /// The request breaks a rule of the trait or of the geometry; nothing was
    /// sent. What rule.
    Invalid(&'static str),
    /// The block is not among those granted for writing.
    NotGranted {
        /// The request's first block.
        lba: Lba,
        /// Its length in blocks.
        blocks: u64,
    },
    /// The device is in no state to take requests.
    Device(DeviceError),
}

/// What went wrong with a device: on which, doing what, where, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceError {
    /// The device, for example `nvme 0000:00:04.0`.
    pub device: String,
    /// What was tried, for example `write`, `flush`, `enable`.
    pub operation: &'static str,
    /// The first block of the request, where there is one.
    pub lba: Option<Lba>,
    /// What came back.
    pub cause: Cause,
}

/// What a device answered, or did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A status that is not success, in the words of its specification.
    Status(String),
    /// No answer before the deadline, in milliseconds.
    Timeout(u64),
    /// The controller reports a fatal state, or is gone from the bus.
    Dead(&'static str),
    /// The device's answer contradicts its specification.
    Protocol(&'static str),
    /// The device lacks something that is needed.
    Unsupported(&'static str),
    /// There is no room left for the driver's own structures.
    Exhausted,
}

/// A block device that is polled.
///
/// The physical memory that a request names must stay as it is until the
/// request's completion has been polled, or until [`BlockQueue::shutdown`] or a
/// drop, after either of which the device touches no memory any more.
pub trait BlockQueue {
    /// What the device takes.
    fn geometry(&self) -> Geometry;

    /// Who the device says it is.
    fn identity(&self) -> &Identity;

    /// Takes a request, without telling the device yet.
    fn submit(&mut self, request: &Request<'_>) -> Result<(), SubmitError>;

    /// Tells the device of all requests taken so far: one doorbell for all.
    fn ring(&mut self);

    /// The next completion, if there is one by now.
    ///
    /// An error means that the device as a whole has failed (a deadline passed,
    /// the controller died): no request in flight will complete.
    fn poll(&mut self) -> Result<Option<Completion>, DeviceError>;

    /// Makes everything durable whose completion has been polled. Nothing may
    /// be in flight.
    fn flush(&mut self) -> Result<(), DeviceError>;

    /// Leaves the device as one about to lose power: caches flushed, shutdown
    /// notified, no DMA, bus mastering off. What else a driver of the old
    /// kernel expects after the jump back holds as well.
    fn shutdown(&mut self) -> Result<(), DeviceError>;
}

impl core::fmt::Display for Cause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Status(words) => write!(f, "{words}"),
            Self::Timeout(ms) => write!(f, "no answer within {ms} ms"),
            Self::Dead(how) => write!(f, "{how}"),
            Self::Protocol(what) => write!(f, "the device breaks its specification: {what}"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
            Self::Exhausted => write!(f, "no room left in the window for the driver"),
        }
    }
}

impl core::fmt::Display for DeviceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.device, self.operation)?;
        if let Some(lba) = self.lba {
            write!(f, " at block {lba}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl core::fmt::Display for SubmitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Full => write!(f, "the device's queue is full"),
            Self::Invalid(rule) => write!(f, "invalid request: {rule}"),
            Self::NotGranted { lba, blocks } => write!(
                f,
                "refused to write {blocks} blocks at block {lba}: they are not in the plan"
            ),
            Self::Device(error) => write!(f, "{error}"),
        }
    }
}
