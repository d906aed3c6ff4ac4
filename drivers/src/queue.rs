//! The one trait of all drivers.

use alloc::string::String;
use dormouse_handoff::units::{Lba, PAGE_SIZE, PhysAddr};

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

    /// What an error of this request calls it.
    pub fn operation(&self) -> &'static str {
        match self.direction {
            Direction::Read => "read",
            Direction::Write => "write",
        }
    }

    /// Checks the request against the rules of [`Segment`] and against what a
    /// device takes; answers how many blocks it moves.
    ///
    /// Every driver asks here before it takes a request.
    pub fn check(&self, geometry: &Geometry) -> Result<u32, SubmitError> {
        use SubmitError::Invalid;
        if self.segments.is_empty() || self.segments.len() > geometry.max_segments as usize {
            return Err(Invalid("no segments, or more than the device takes"));
        }
        let last = self.segments.len() - 1;
        for (i, segment) in self.segments.iter().enumerate() {
            let end = segment.address.0.checked_add(u64::from(segment.bytes));
            let end = end.ok_or(Invalid("a segment past the end of memory"))?;
            if segment.bytes == 0 || !segment.bytes.is_multiple_of(geometry.block_size) {
                return Err(Invalid("a segment that is not whole blocks"));
            }
            if !segment.address.0.is_multiple_of(4) {
                return Err(Invalid("a segment not aligned to 4 bytes"));
            }
            if i > 0 && !segment.address.0.is_multiple_of(PAGE_SIZE)
                || i < last && !end.is_multiple_of(PAGE_SIZE)
            {
                return Err(Invalid("an inner edge of segments not on a page boundary"));
            }
        }
        let bytes = self.bytes();
        if bytes > u64::from(geometry.max_bytes) {
            return Err(Invalid("more bytes than the device takes at once"));
        }
        let blocks = bytes / u64::from(geometry.block_size);
        match self.lba.0.checked_add(blocks) {
            Some(end) if end <= geometry.blocks => Ok(blocks as u32),
            _ => Err(Invalid("blocks past the end of the device")),
        }
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

impl Geometry {
    /// Refuses a device that is empty, or that has more bytes than can be
    /// counted in 64 bits. Every driver asks here before it gives itself out.
    pub(crate) fn check(&self) -> Result<(), Cause> {
        match self.blocks.checked_mul(self.block_size.into()) {
            Some(0) => Err(Cause::Unsupported("the device is empty")),
            Some(_) => Ok(()),
            None => Err(Cause::Protocol("more bytes than can be counted in 64 bits")),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry {
        block_size: 512,
        blocks: 1000,
        max_bytes: 16384,
        max_segments: 4,
        depth: 32,
        write_cache: true,
        can_flush: true,
    };

    fn check(lba: u64, pieces: &[(u64, u32)]) -> Result<u32, &'static str> {
        let segments: Vec<_> = pieces
            .iter()
            .map(|&(address, bytes)| Segment { address: PhysAddr(address), bytes })
            .collect();
        let request =
            Request { direction: Direction::Read, lba: Lba(lba), segments: &segments, tag: 0 };
        request.check(&GEOMETRY).map_err(|error| match error {
            SubmitError::Invalid(rule) => rule,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn lists_that_a_device_can_take_are_counted_in_blocks() {
        assert_eq!(check(0, &[(0x1000, 4096)]), Ok(8));
        assert_eq!(check(992, &[(0x1e00, 512), (0x8000, 3584)]), Ok(8));
        assert_eq!(check(0, &[(0x1004, 512)]), Ok(1));
    }

    #[test]
    fn lists_that_break_a_rule_are_refused() {
        let too_many = Err("no segments, or more than the device takes");
        assert_eq!(check(0, &[]), too_many);
        assert_eq!(check(0, &[(0x1000, 4096); 5]), too_many);
        assert_eq!(check(0, &[(0x1000, 0)]), Err("a segment that is not whole blocks"));
        assert_eq!(check(0, &[(0x1000, 513)]), Err("a segment that is not whole blocks"));
        assert_eq!(check(0, &[(0x1002, 512)]), Err("a segment not aligned to 4 bytes"));
        let edge = Err("an inner edge of segments not on a page boundary");
        assert_eq!(check(0, &[(0x1000, 512), (0x3000, 512)]), edge);
        assert_eq!(check(0, &[(0x1000, 4096), (0x3200, 512)]), edge);
        assert_eq!(check(0, &[(u64::MAX - 511, 512)]), Err("a segment past the end of memory"));
        assert_eq!(
            check(0, &[(0x1000, 12288), (0x8000, 8192)]),
            Err("more bytes than the device takes at once")
        );
        let end = Err("blocks past the end of the device");
        assert_eq!(check(993, &[(0x1000, 4096)]), end);
        assert_eq!(check(u64::MAX, &[(0x1000, 4096)]), end);
    }
}
