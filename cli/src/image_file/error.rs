//! Why an image cannot be read.

use dormouse_handoff::image::{HeaderError, Table, TableError};
use dormouse_handoff::plan::PlanError;
use std::fmt;

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// There is none, or its header is damaged.
    Header(HeaderError),
    /// There is a header and nothing behind it.
    Empty,
    /// The device or file ends before the image does, at this byte of it.
    Truncated {
        /// The first byte that was wanted, from the start of device or file.
        offset: u64,
    },
    /// The checksum of this part does not match.
    Section(&'static str),
    /// The plan in it is not one that can be followed.
    Plan(PlanError),
    /// A page of this table is damaged.
    Table(Table, TableError),
    /// This table has more or fewer entries than the header says.
    Entries(Table),
    /// A run is of an unknown kind, not behind its predecessor, or not of the
    /// memory that was to be saved; its index.
    Run(usize),
    /// The counts in the header are not those of the runs.
    Counts,
    /// A chunk lies outside the data.
    OutOfData {
        /// Its first byte, from the start of the data.
        offset: u64,
    },
    /// The chunk with this index is of an unknown codec or shape.
    ChunkShape(usize),
    /// The bytes of a chunk do not match its checksum.
    Chunk {
        /// The chunk's index.
        index: usize,
        /// Its first byte, from the start of the data.
        offset: u64,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => write!(f, "{error}"),
            Self::Empty => write!(f, "there is only a header, and no memory"),
            Self::Truncated { offset } => {
                write!(f, "the image is cut short: byte {offset} is missing")
            }
            Self::Section(name) => write!(f, "the image's {name}: the checksum does not match"),
            Self::Plan(error) => write!(f, "{error}"),
            Self::Table(table, error) => write!(f, "the image's {}: {error}", name(*table)),
            Self::Entries(table) => {
                write!(f, "the image's {}: the number of entries is wrong", name(*table))
            }
            Self::Run(index) => {
                write!(f, "run {index} of the image is out of order, of no memory, or unknown")
            }
            Self::Counts => write!(f, "the image's runs are not those that its header counts"),
            Self::OutOfData { offset } => {
                write!(f, "a chunk at byte {offset} lies outside the image's data")
            }
            Self::ChunkShape(index) => {
                write!(f, "chunk {index} of the image is of an unknown shape")
            }
            Self::Chunk { index, offset } => write!(
                f,
                "chunk {index} of the image, at byte {offset} of the data: the checksum does not match"
            ),
        }
    }
}

fn name(table: Table) -> &'static str {
    match table {
        Table::Runs => "run table",
        Table::Chunks => "chunk table",
    }
}
