//! Swap on the target: switched off while an image may lie there.

use crate::error::{Error, Result};
use crate::guard::quoted;
use crate::linux::swaps::Swap;
use std::ffi::CString;
use std::io;
use std::path::PathBuf;

/// A priority was asked for (Linux include/linux/swap.h).
const SWAP_FLAG_PREFER: i32 = 0x8000;
const SWAP_FLAG_PRIO_MASK: i32 = 0x7fff;

/// A swap area that was switched off and is to be switched on again.
#[derive(Debug)]
#[must_use = "the swap area stays off until it is switched on again"]
pub struct SwitchedOff(Swap);

impl SwitchedOff {
    /// Stops swapping to `swap`; what lies there comes back into memory first.
    ///
    /// # Errors
    /// [`Error::Io`]; `ENOMEM` where memory does not hold what lies there.
    pub fn new(swap: Swap) -> Result<Self> {
        let path = c_path(&swap.path)?;
        // SAFETY: the argument is a C string that lives through the call.
        let result = unsafe { libc::swapoff(path.as_ptr()) };
        done("stop swapping to", &swap.path, result).map(|()| Self(swap))
    }

    /// The area's path.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The command that swaps to `swap` again; with another priority where the program
    /// knows none (busybox). The device may be ours alone for a moment longer than we
    /// live.
    pub fn undo(swap: &Swap) -> String {
        let path = quoted(&swap.path);
        let swapon = match swap.priority {
            ..0 => format!("swapon {path}"),
            priority => format!("swapon -p {priority} {path} || swapon {path}"),
        };
        format!("for try in 1 2 3 4 5; do {{ {swapon}; }} && break; sleep 1; done")
    }

    /// Swaps to the area again, with the priority that it had.
    ///
    /// # Errors
    /// [`Error::Io`]; `EINVAL` where no swap header is there any more.
    pub fn switch_on(self) -> Result<()> {
        let path = c_path(&self.0.path)?;
        let flags = match self.0.priority {
            // The kernel gave it: it will give one again.
            ..0 => 0,
            priority => SWAP_FLAG_PREFER | priority & SWAP_FLAG_PRIO_MASK,
        };
        // SAFETY: the argument is a C string that lives through the call.
        let result = unsafe { libc::swapon(path.as_ptr(), flags) };
        done("swap again to", &self.0.path, result)
    }
}

fn c_path(path: &str) -> Result<CString> {
    CString::new(path).map_err(|e| Error::Io {
        doing: "name",
        path: PathBuf::from(path),
        source: io::Error::new(io::ErrorKind::InvalidInput, e),
    })
}

fn done(doing: &'static str, path: &str, result: i32) -> Result<()> {
    if result == 0 {
        return Ok(());
    }
    Err(Error::Io { doing, path: PathBuf::from(path), source: io::Error::last_os_error() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_priority_is_asked_for_where_it_was_given() {
        let undo =
            |priority| SwitchedOff::undo(&Swap { path: "/dev/my swap".into(), used: 0, priority });
        assert!(undo(7).contains("{ swapon -p 7 '/dev/my swap' || swapon '/dev/my swap'; }"));
        assert!(undo(-2).contains("{ swapon '/dev/my swap'; }"));
    }
}
