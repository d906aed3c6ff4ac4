//! Fresh random numbers for a kernel that wakes: its generator's state lay on
//! a disk, and whoever read it would know what comes next.

use crate::error::{Error, Result};
use dormouse_handoff::mailbox::Head;
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};
use std::fs::OpenOptions;

const ENTROPY_BYTES: usize = 64;

/// The argument of RNDADDENTROPY (Linux include/uapi/linux/random.h,
/// `struct rand_pool_info`).
#[repr(C)]
struct Pool {
    /// Bits that the bytes are worth.
    entropy_count: i32,
    /// Bytes in `bytes`.
    size: i32,
    bytes: [u8; ENTROPY_BYTES],
}

/// Mixes the reader's random bytes into the kernel's pool and makes the kernel
/// draw a new key from it at once.
///
/// # Errors
/// [`Error::Io`] and [`Error::Call`].
pub fn reseed(head: &Head) -> Result<()> {
    // The size in the number is that of the two counts alone.
    const ADD_ENTROPY: Opcode = opcode::write::<[i32; 2]>(b'R', 0x03);
    const RESEED: Opcode = opcode::none(b'R', 0x07);

    let path = "/dev/urandom";
    let random = OpenOptions::new().write(true).open(path).map_err(|source| Error::Io {
        doing: "open",
        path: path.into(),
        source,
    })?;
    let pool = Pool {
        entropy_count: head.entropy_bits.min(ENTROPY_BYTES as u32 * 8) as i32,
        size: ENTROPY_BYTES as i32,
        bytes: head.entropy,
    };
    // SAFETY: the argument is laid out as the request wants it, and its size
    // field tells how many bytes follow.
    unsafe { ioctl(&random, Setter::<ADD_ENTROPY, Pool>::new(pool)) }
        .map_err(|e| Error::call("RNDADDENTROPY", e))?;
    // SAFETY: the request takes no argument.
    match unsafe { ioctl(&random, NoArg::<RESEED>::new()) } {
        // Not yet seeded at all: the first seed is still to come.
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(errno) => Err(Error::call("RNDRESEEDCRNG", errno)),
    }
}
