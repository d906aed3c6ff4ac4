//! The one checksum of all layouts: rapidhash V3, seeded.
//!
//! It folds 128-bit products, the most that one ordinary instruction mixes: it
//! is fast on a processor without special instructions, and under emulation,
//! where vector instructions and `crc32` are slow. It is the *protected* variant
//! of the algorithm, in which a factor that happens to be zero loses nothing.
//!
//! Everything that belongs to one image is seeded by that image's identity, so
//! that a block of an older image never passes for a block of a newer one.

use crate::units::PAGE_SIZE;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

/// Identifies one hibernation attempt: drawn at random by the CLI, repeated in
/// the plan, in every mailbox page and in the image.
pub type Nonce = [u8; 16];

/// The algorithm with its final mix, protected.
fn seeded(bytes: &[u8], seed: u64) -> u64 {
    rapidhash_v3_inline::<true, false, true>(bytes, &RapidSecrets::seed_cpp(seed))
}

/// The same for one page, where nearly all the time goes, as one small loop that
/// reads nothing but the page. For that this is the only call of this variant:
/// only then does the compiler make one function of it, in which the algorithm's
/// secrets are constants. Otherwise they lie on the stack, a third load for each
/// 16 bytes; and in the larger loop there are too few registers.
#[inline(never)]
fn of_page(page: &[u8; PAGE_SIZE as usize], seed: u64) -> u64 {
    rapidhash_v3_inline::<true, true, true>(page, &RapidSecrets::seed_cpp(seed))
}

/// Checksum of bytes that belong to no image (a plan, a header).
pub fn plain(bytes: &[u8]) -> u64 {
    seeded(bytes, 0)
}

/// The seed of all checksums inside the image with this identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed that follows from an image's identity.
    pub fn of(id: &Nonce) -> Self {
        Self(plain(id))
    }

    /// Checksum of bytes of that image.
    pub fn checksum(self, bytes: &[u8]) -> u64 {
        seeded(bytes, self.0)
    }

    /// A checksum of that image's pages that takes one after the other.
    pub fn pages(self) -> Pages {
        Pages(self.0)
    }

    /// The checksum of pages that lie in one piece.
    pub fn of_pages(self, bytes: &[u8]) -> u64 {
        let mut pages = self.pages();
        bytes.chunks(PAGE_SIZE as usize).for_each(|page| pages.push(page));
        pages.finish()
    }
}

/// The checksum of pages in their order: that of each page seeds the next one's.
/// So there is nothing to keep between two pages but a number, and the bytes are
/// read where they lie.
#[derive(Clone, Copy, Debug)]
pub struct Pages(u64);

impl Pages {
    /// Takes the next page.
    pub fn push(&mut self, page: &[u8]) {
        self.0 = match page.try_into() {
            Ok(page) => of_page(page, self.0),
            Err(_) => seeded(page, self.0),
        };
    }

    /// The checksum of all pages so far.
    pub fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 + 3) as u8).collect()
    }

    #[test]
    fn pages_are_chained() {
        let seed = Seed::of(&[7; 16]);
        let (page, other) = ([1; 4096], [2; 4096]);
        let in_order = seed.of_pages([page, other].as_flattened());
        let mut pages = seed.pages();
        pages.push(&page);
        assert_eq!(pages.finish(), seed.checksum(&page));
        pages.push(&other);
        assert_eq!(pages.finish(), in_order);
        assert_ne!(seed.of_pages([other, page].as_flattened()), in_order);
        assert_ne!(seed.of_pages([page, other, other].as_flattened()), in_order);
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
