//! Why something in the guest did not work out.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why something in the guest did not work out.
#[derive(Debug)]
pub enum Error {
    /// The kernel refused something.
    Refused {
        /// What was tried, as in "mounting /proc".
        tried: String,
        /// What came back.
        cause: io::Error,
    },
    /// Bytes are not what was put there.
    Damaged {
        /// Where they lie, as in "the tmpfs file".
        place: &'static str,
        /// The first wrong byte, counted from the place's start.
        at: u64,
    },
    /// Something that ought to go on does not.
    Stalled {
        /// What.
        what: &'static str,
        /// For how long it was watched.
        watched: Duration,
    },
    /// The host asked for something that there is not.
    NoSuch {
        /// What it asked for.
        wanted: String,
    },
    /// A workload's process or thread did not answer, or not sensibly.
    Lost(String),
}

impl Error {
    /// Wraps what the kernel answered to `tried`.
    pub fn refused<E: Into<io::Error>>(tried: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |cause| Self::Refused { tried: tried.into(), cause: cause.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { tried, cause } => write!(f, "{tried}: {cause}"),
            Self::Damaged { place, at } => write!(f, "{place}: byte {at} is not what it was"),
            Self::Stalled { what, watched } => {
                write!(f, "{what}: nothing happened for {} ms", watched.as_millis())
            }
            Self::NoSuch { wanted } => write!(f, "there is no {wanted}"),
            Self::Lost(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for Error {}
