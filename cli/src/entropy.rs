//! Fresh random numbers for a kernel that wakes: its generator's state lay on
//! a disk, and whoever read it would know what comes next. One that wakes from a
//! reusable image has been in this very state before.

use crate::error::{Error, Result};
use dormouse_handoff::mailbox::{EntropySources, Head};
use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use zeroize::{Zeroize, ZeroizeOnDrop};

const ENTROPY_BYTES: usize = 64;

/// A seed worth less than this many bits is called poor.
const POOR_BELOW_BITS: u32 = 128;

/// The random bytes that the reader has left; gone from memory with this.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed {
    bytes: [u8; ENTROPY_BYTES],
    #[zeroize(skip)]
    worth: Worth,
}

/// How good a seed was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worth {
    /// Bits of entropy in it, by the reader's own careful count.
    pub bits: u32,
    /// Where it came from.
    pub sources: Vec<String>,
}

impl Worth {
    /// What to say of it where it is not good.
    pub fn complaint(&self) -> Option<String> {
        let Self { bits, .. } = self;
        (*bits < POOR_BELOW_BITS).then(|| {
            format!(
                "the random numbers were seeded poorly ({bits} bits): this processor has no \
                 generator (RDRAND); make keys only after the kernel has gathered more"
            )
        })
    }
}

/// The argument of RNDADDENTROPY (Linux include/uapi/linux/random.h,
/// `struct rand_pool_info`).
#[repr(C)]
#[derive(Zeroize, ZeroizeOnDrop)]
struct Pool {
    /// Bits that the bytes are worth.
    entropy_count: i32,
    /// Bytes in `bytes`.
    size: i32,
    bytes: [u8; ENTROPY_BYTES],
}

impl Seed {
    /// Takes the seed out of the mailbox's first page, where none is left.
    pub fn take(head: &mut Head) -> Self {
        let sources = EntropySources::from_bits_truncate(head.entropy_sources);
        let sources = sources.iter_names().map(|(name, _)| name.to_lowercase()).collect();
        let bits = head.entropy_bits.min(ENTROPY_BYTES as u32 * 8);
        let seed = Self { bytes: head.entropy, worth: Worth { bits, sources } };
        head.entropy.zeroize();
        seed
    }

    /// Mixes the reader's random bytes into the kernel's pool and makes the
    /// kernel draw a new key from it at once.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Call`].
    pub fn feed(self) -> Result<Worth> {
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
            entropy_count: self.worth.bits as i32,
            size: ENTROPY_BYTES as i32,
            bytes: self.bytes,
        };
        // SAFETY: the argument is laid out as the request wants it, and its size
        // field tells how many bytes follow.
        unsafe { ioctl(&random, Setter::<ADD_ENTROPY, Pool>::new(pool)) }
            .map_err(|e| Error::call("RNDADDENTROPY", e))?;
        // SAFETY: the request takes no argument.
        match unsafe { ioctl(&random, NoArg::<RESEED>::new()) } {
            // Not yet seeded at all: the first seed is still to come.
            Ok(()) | Err(Errno::NODATA) => Ok(self.worth.clone()),
            Err(errno) => Err(Error::call("RNDRESEEDCRNG", errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_handoff::mailbox::blank_page;
    use zerocopy::FromBytes;

    #[test]
    fn a_seed_is_taken_once_and_told_by_its_worth() {
        let mut head = Head::read_from_prefix(&blank_page(&[1; 16], 0)).unwrap().0;
        head.entropy = [7; 64];
        head.entropy_bits = 40;
        head.entropy_sources = (EntropySources::TIMINGS | EntropySources::CARRIED).bits();
        let seed = Seed::take(&mut head);
        assert_eq!(head.entropy, [0; 64]);
        assert_eq!(seed.bytes, [7; 64]);
        assert_eq!(seed.worth.sources, ["timings", "carried"]);
        assert!(seed.worth.complaint().unwrap().contains("40 bits"));
        head.entropy_bits = u32::MAX;
        assert_eq!(Seed::take(&mut head).worth.complaint(), None);
    }
}
