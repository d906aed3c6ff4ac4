//! A disk to be read, and what reading it comes to.

use crate::fat::Damage;

/// Something with bytes at offsets.
pub trait Disk {
    /// What reading may fail with.
    type Error;

    /// Fills `into` with the bytes from `offset` on, counted from the disk's
    /// start.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error>;

    /// Bytes of the whole disk.
    fn bytes(&self) -> u64;
}

/// Why a file is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The disk failed.
    Disk(E),
    /// The file system is damaged, or of another kind.
    Damaged(Damage),
}

impl<E> From<Damage> for Error<E> {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl<E: core::fmt::Display> core::fmt::Display for Error<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "{error}"),
            Self::Damaged(damage) => write!(f, "{damage}"),
        }
    }
}
