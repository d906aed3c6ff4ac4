//! What can go wrong on the path.

use alloc::string::String;
use dormouse_drivers::queue::{DeviceError, SubmitError};
use dormouse_handoff::extents::ExtentError;
use dormouse_handoff::image::{HeaderError, State, TableError};
use dormouse_handoff::plan::PlanError;
use dormouse_handoff::units::{PageRange, Pfn};

/// What went wrong between memory and image, and where.
#[derive(Debug)]
pub enum Error {
    /// The device failed.
    Device(DeviceError),
    /// The device's queue did not take a request.
    Submit(SubmitError),
    /// The user asked to go back.
    Aborted,
    /// The user asked to come back once everything is written.
    ComeBack,
    /// There is no memory left in the window for buffers.
    NoBuffers,
    /// The image would end past the target.
    TooSmall {
        /// Bytes that the image may need.
        needed: u64,
        /// Bytes that the target's extents have.
        capacity: u64,
    },
    /// An image offset lies past the target's extents.
    OutOfTarget {
        /// The offset in bytes.
        offset: u64,
    },
    /// The target's first page is not what Linux saw there.
    FirstPageChanged,
    /// The target has another block size than the plan or the header says.
    BlockSize {
        /// The device's.
        device: u32,
        /// The expected one.
        expected: u32,
    },
    /// The header is not usable.
    Header(HeaderError),
    /// The image is in a state that is not resumed.
    NotValid(State),
    /// A part of the image does not match its checksum; its name.
    Section(&'static str),
    /// The image's plan is not usable.
    Plan(PlanError),
    /// The image's extents are not usable.
    Extents(ExtentError),
    /// The image says that it begins at another block than the one where it
    /// was found, or on another device: a copy, or a moved partition.
    Elsewhere,
    /// A table page is damaged.
    Table(TableError),
    /// The tables contradict the plan or themselves; which rule.
    Inconsistent(&'static str),
    /// A page of memory is not what the image has in its place.
    Differs {
        /// The first such page.
        frame: Pfn,
    },
    /// The pages of a chunk are not what was written.
    Chunk {
        /// The chunk's place in its table.
        index: u64,
        /// The first frames that it holds.
        frames: PageRange,
    },
    /// The reader's own window is where the image's pages belong.
    Window,
    /// This machine is not, or no longer, the one that was put to sleep.
    Machine(String),
    /// The wake-ups that the plan allows were all begun.
    Attempts {
        /// How many were begun.
        begun: u32,
    },
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Device(error) => Self::Device(error),
            other => Self::Submit(other),
        }
    }
}

impl From<HeaderError> for Error {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl From<ExtentError> for Error {
    fn from(error: ExtentError) -> Self {
        Self::Extents(error)
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Device(error) => write!(f, "{error}"),
            Self::Submit(error) => write!(f, "{error}"),
            Self::Aborted => write!(f, "stopped by the user's key"),
            Self::ComeBack => write!(
                f,
                "everything was written; came back instead of sleeping, as the monitor was told"
            ),
            Self::NoBuffers => write!(f, "no room left in the window for buffers"),
            Self::TooSmall { needed, capacity } => write!(
                f,
                "the target holds {} MiB, the image may need {} MiB: use a larger one",
                capacity >> 20,
                needed.div_ceil(1 << 20)
            ),
            Self::OutOfTarget { offset } => {
                write!(f, "image offset {offset} lies past the end of the target")
            }
            Self::FirstPageChanged => write!(
                f,
                "the target's first page is not what Linux saw there: not the device that was \
                 meant, or something wrote to it meanwhile; nothing was written"
            ),
            Self::BlockSize { device, expected } => {
                write!(f, "the device has blocks of {device} bytes, {expected} were expected")
            }
            Self::Header(error) => write!(f, "{error}"),
            Self::NotValid(state) => write!(f, "the image is {}, not valid", state.name()),
            Self::Section(name) => {
                write!(f, "the image's {name} does not match its checksum: it is damaged")
            }
            Self::Plan(error) => write!(f, "{error}"),
            Self::Extents(error) => write!(f, "{error}"),
            Self::Elsewhere => write!(
                f,
                "the image was written to another place or device than the one where it was \
                 found: a copy is not woken, lest its original be woken as well"
            ),
            Self::Table(error) => write!(f, "{error}"),
            Self::Inconsistent(rule) => write!(f, "the image contradicts itself: {rule}"),
            Self::Differs { frame } => write!(
                f,
                "the page of memory at {} is not what the image has in its place: an image of \
                 this machine could not be trusted",
                frame.address()
            ),
            Self::Chunk { index, frames } => write!(
                f,
                "chunk {index} (memory at {frames}) does not match its checksum: the image is \
                 damaged"
            ),
            Self::Window => {
                write!(f, "the image's pages belong where the reader itself is running")
            }
            Self::Machine(difference) => {
                write!(f, "this machine is not as the image needs it: {difference}")
            }
            Self::Attempts { begun } => write!(
                f,
                "{begun} wake-ups of this image were begun and none got to its end: it is left \
                 alone (boot normally and look at it with `dormouse inspect`, or throw it away \
                 with `dormouse discard`)"
            ),
        }
    }
}

impl core::error::Error for Error {}
