//! Scatter lists as devices with base-and-length descriptors want them.

use crate::queue::Segment;
use dormouse_handoff::units::PhysAddr;

/// The pieces of memory that a scatter list comes to: neighbours joined, and
/// none longer than the device takes.
///
/// For `n` segments of `b` bytes in all these are at most
/// [`most_pieces`]`(n, b, longest)`.
pub struct Pieces<'a> {
    segments: core::slice::Iter<'a, Segment>,
    longest: u32,
    /// What is left of a run of joined segments: first byte and length.
    run: (u64, u64),
}

/// Splits and joins `segments` into pieces of at most `longest` bytes, which
/// is not zero.
pub fn pieces(segments: &[Segment], longest: u32) -> Pieces<'_> {
    Pieces { segments: segments.iter(), longest: longest.max(1), run: (0, 0) }
}

/// Most pieces that `segments` segments of `bytes` bytes in all can come to.
pub const fn most_pieces(segments: u32, bytes: u32, longest: u32) -> u32 {
    // A segment is cut once for each whole `longest` bytes before its last byte.
    segments + bytes.saturating_sub(1) / longest
}

impl Iterator for Pieces<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        while let Some(next) = self.segments.as_slice().first() {
            if self.run.1 == 0 {
                self.run = (next.address.0, u64::from(next.bytes));
            } else if self.run.0.checked_add(self.run.1) == Some(next.address.0) {
                self.run.1 += u64::from(next.bytes);
            } else {
                break;
            }
            self.segments.next();
        }
        let (address, left) = self.run;
        if left == 0 {
            return None;
        }
        let bytes = left.min(u64::from(self.longest));
        self.run = (address.wrapping_add(bytes), left - bytes);
        Some(Segment { address: PhysAddr(address), bytes: bytes as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(address: u64, bytes: u32) -> Segment {
        Segment { address: PhysAddr(address), bytes }
    }

    #[test]
    fn neighbours_become_one_piece() {
        let list = [segment(0x1000, 4096), segment(0x2000, 8192), segment(0x8000, 4096)];
        let all: Vec<_> = pieces(&list, 1 << 20).collect();
        assert_eq!(all, [segment(0x1000, 12288), segment(0x8000, 4096)]);
    }

    #[test]
    fn long_runs_are_cut() {
        let list = [segment(0x1000, 8192), segment(0x3000, 4096)];
        let all: Vec<_> = pieces(&list, 5120).collect();
        assert_eq!(
            all,
            [segment(0x1000, 5120), segment(0x2400, 5120), segment(0x3800, 2048)],
            "a cut may fall anywhere, but no byte is lost or moved",
        );
    }

    proptest! {
        #[test]
        fn pieces_name_the_same_bytes_in_the_same_order(
            list in prop::collection::vec((0u64..64, 1u32..5), 0..40),
            longest in 1u32..6,
        ) {
            let list: Vec<_> = list.iter().map(|&(page, n)| segment(page * 4, n * 4)).collect();
            let longest = longest * 4;
            let bytes_of = |all: &[Segment]| -> Vec<u64> {
                all.iter().flat_map(|s| s.address.0..s.address.0 + u64::from(s.bytes)).collect()
            };
            let all: Vec<_> = pieces(&list, longest).collect();
            prop_assert_eq!(bytes_of(&all), bytes_of(&list));
            prop_assert!(all.iter().all(|s| s.bytes != 0 && s.bytes <= longest));
            let bytes = list.iter().map(|s| s.bytes).sum();
            prop_assert!(all.len() as u32 <= most_pieces(list.len() as u32, bytes, longest));
        }
    }
}
