//! The one checksum of all layouts: XXH64, seeded.
//!
//! XXH64 is chosen for its speed without special instructions (the `crc32`
//! instruction is fast on real processors and very slow under emulation).
//! Everything that belongs to one image is seeded by that image's identity, so
//! that a block of an older image never passes for a block of a newer one.

use xxhash_rust::xxh64;

/// Identifies one hibernation attempt: drawn at random by the CLI, repeated in
/// the plan, in every mailbox page and in the image.
pub type Nonce = [u8; 16];

/// Checksum of bytes that belong to no image (a plan, a header).
pub fn plain(bytes: &[u8]) -> u64 {
    xxh64::xxh64(bytes, 0)
}

/// The seed of all checksums inside the image with this identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed that follows from an image's identity.
    pub fn of(id: &Nonce) -> Self {
        Self(xxh64::xxh64(id, 0))
    }

    /// Checksum of bytes of that image.
    pub fn checksum(self, bytes: &[u8]) -> u64 {
        xxh64::xxh64(bytes, self.0)
    }

    /// A checksum of that image that takes its bytes in pieces.
    pub fn stream(self) -> Stream {
        Stream(xxh64::Xxh64::new(self.0))
    }
}

/// A checksum under way; equal to [`Seed::checksum`] of all pieces in order.
#[derive(Clone)]
pub struct Stream(xxh64::Xxh64);

impl Stream {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all pieces so far.
    pub fn finish(&self) -> u64 {
        self.0.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_whole_agree() {
        let seed = Seed::of(&[7; 16]);
        let bytes: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let mut stream = seed.stream();
        for piece in bytes.chunks(333) {
            stream.update(piece);
        }
        assert_eq!(stream.finish(), seed.checksum(&bytes));
    }

    #[test]
    fn another_image_has_other_checksums() {
        assert_ne!(Seed::of(&[1; 16]).checksum(b"page"), Seed::of(&[2; 16]).checksum(b"page"));
    }
}
