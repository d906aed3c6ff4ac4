//! Why a kernel's page structures cannot be used.

use core::fmt;

/// Why elision is off. Names are those of the VMCOREINFO note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// There is no note at all.
    NoNote,
    /// The note lacks this entry.
    Missing(&'static str),
    /// The note's entry has a value that no known kernel gives it.
    Value(&'static str),
    /// What this entry points to is not in the memory map, is in the window, or
    /// is not mapped.
    Unreadable(&'static str),
    /// The kernel encrypts its memory (AMD SME): what the writer reads of it is
    /// ciphertext.
    Encrypted,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNote => write!(f, "the kernel's VMCOREINFO is not to be had"),
            Self::Missing(key) => write!(f, "the kernel's VMCOREINFO does not tell {key}"),
            Self::Value(key) => {
                write!(f, "the kernel's VMCOREINFO has a value for {key} that is not understood")
            }
            Self::Encrypted => write!(f, "the kernel's memory is encrypted"),
            Self::Unreadable(key) => {
                write!(f, "{key} of the kernel's VMCOREINFO points to memory that cannot be read")
            }
        }
    }
}
