//! The one checksum of all layouts: rapidhash V3, seeded.
//!
//! It folds 128-bit products, the most that one ordinary instruction mixes: it
//! is fast on a processor without special instructions, and under emulation,
//! where vector instructions and `crc32` are slow. It is the *protected* variant
//! of the algorithm, in which a factor that happens to be zero loses nothing.
//!
//! Everything that belongs to one image is seeded by that image's identity, so
//! that a block of an older image never passes for a block of a newer one.

use rapidhash::v3::{RapidSecrets, RapidStreamHasherInlineV3, rapidhash_v3_inline};

/// Identifies one hibernation attempt: drawn at random by the CLI, repeated in
/// the plan, in every mailbox page and in the image.
pub type Nonce = [u8; 16];

/// The algorithm with its final mix, as one loop, protected.
fn of(bytes: &[u8], secrets: &RapidSecrets) -> u64 {
    rapidhash_v3_inline::<true, true, true>(bytes, secrets)
}

/// Checksum of bytes that belong to no image (a plan, a header).
pub fn plain(bytes: &[u8]) -> u64 {
    const SECRETS: RapidSecrets = RapidSecrets::seed_cpp(0);
    of(bytes, &SECRETS)
}

/// The seed of all checksums inside the image with this identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(RapidSecrets);

impl Seed {
    /// The seed that follows from an image's identity.
    pub fn of(id: &Nonce) -> Self {
        Self(RapidSecrets::seed_cpp(plain(id)))
    }

    /// Checksum of bytes of that image.
    pub fn checksum(&self, bytes: &[u8]) -> u64 {
        of(bytes, &self.0)
    }

    /// A checksum of that image that takes its bytes in pieces.
    pub fn stream(&self) -> Stream<'_> {
        Stream(RapidStreamHasherInlineV3::new(&self.0))
    }
}

/// A checksum under way; equal to [`Seed::checksum`] of all pieces in order.
pub struct Stream<'a>(RapidStreamHasherInlineV3<'a, true, true>);

impl Stream<'_> {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The checksum of all pieces so far.
    pub fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 + 3) as u8).collect()
    }

    proptest! {
        #[test]
        fn pieces_and_whole_agree(length in 0..10_000usize, piece in 1..5000usize) {
            let seed = Seed::of(&[7; 16]);
            let bytes = bytes(length);
            let mut stream = seed.stream();
            for piece in bytes.chunks(piece) {
                stream.update(piece);
            }
            prop_assert_eq!(stream.finish(), seed.checksum(&bytes));
        }
    }

    #[test]
    fn another_image_has_other_checksums() {
        assert_ne!(Seed::of(&[1; 16]).checksum(b"page"), Seed::of(&[2; 16]).checksum(b"page"));
    }

    /// As the algorithm's own C program computes them, protected but for the
    /// seed's first mix (which `rapidhash` never protects).
    ///
    /// Images outlive a build: what the algorithm makes of bytes is part of the
    /// format. A change here takes another version of plan and image.
    #[test]
    fn the_values_are_the_formats() {
        let seed = Seed::of(&[7; 16]);
        for (length, unseeded, seeded) in GOLDEN {
            let bytes = bytes(length);
            assert_eq!(plain(&bytes), unseeded, "{length} bytes: {:#x}", plain(&bytes));
            assert_eq!(
                seed.checksum(&bytes),
                seeded,
                "{length} bytes: {:#x}",
                seed.checksum(&bytes)
            );
        }
    }

    const GOLDEN: [(usize, u64, u64); 9] = [
        (0, 0x26d8_60c7_5d03_6ef7, 0x9c7e_3b1a_90c9_2b4c),
        (3, 0x17c1_6745_3876_6cbf, 0xaf65_f1c9_5301_73a2),
        (8, 0x2a53_1525_9ee7_e3e9, 0x0910_661c_56b9_6d4d),
        (16, 0x132c_6c73_fbf0_4a30, 0x8c42_3d0f_0602_6de5),
        (17, 0xa7a0_dfbc_480b_bfd0, 0x4a33_89fb_cd04_ce6c),
        (112, 0xd659_be40_6e31_3055, 0x5de9_5845_f286_9de6),
        (113, 0x0ed0_82ac_be8d_f198, 0x7d48_1a16_bc97_62f7),
        (4096, 0xc7b7_4483_fc9a_01c4, 0x7f13_db24_56ab_e7d7),
        (1 << 20, 0x5189_5438_5060_f894, 0x6d76_07eb_78b8_1693),
    ];
}
