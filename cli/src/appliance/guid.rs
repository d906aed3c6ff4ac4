//! Numbers that name a disk and its partitions: random ones, or the same ones
//! every time.

use crate::error::{Error, Result};
use dormouse_handoff::checksum;
use rustix::rand::{GetRandomFlags, getrandom};
use uuid::{Builder, Uuid};

/// Where they come from.
pub struct Guids {
    seed: Vec<u8>,
}

impl Guids {
    /// From a seed, so that the same description makes the same disk; otherwise
    /// from the system's random numbers.
    pub fn new(seed: Option<&str>) -> Result<Self> {
        let seed = match seed {
            Some(seed) => seed.as_bytes().to_vec(),
            None => {
                let mut bytes = [0; 32];
                getrandom(&mut bytes, GetRandomFlags::empty())
                    .map_err(|e| Error::call("getrandom", e))?;
                bytes.to_vec()
            }
        };
        Ok(Self { seed })
    }

    /// The 16 bytes of what is called `name`.
    pub fn bytes(&self, name: &str) -> [u8; 16] {
        let half = |which: u8| {
            let text = [&self.seed[..], &[0, which], name.as_bytes()].concat();
            u128::from(checksum::plain(&text))
        };
        (half(0) << 64 | half(1)).to_be_bytes()
    }

    /// The GUID of what is called `name`: one "of one's own making" (RFC 9562,
    /// version 8).
    pub fn guid(&self, name: &str) -> Uuid {
        Builder::from_custom_bytes(self.bytes(name)).into_uuid()
    }
}
