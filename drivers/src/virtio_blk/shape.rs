//! How many requests of what size fit a device's queue.

use super::spec::{Features, SECTOR_SIZE};
use crate::queue::Cause;
use crate::scatter::most_pieces;

/// Largest queue used. A chain may be no longer than its queue (virtio 1.2,
/// §2.7.5.3.1), and [`MOST_SEGMENTS`] with header and status come to 258.
const MOST_ENTRIES: u32 = 512;
/// Requests in flight; more do not make a disk faster.
const MOST_REQUESTS: u32 = 32;
/// Bytes in a request.
const MOST_BYTES: u32 = 1 << 20;
/// Data descriptors in a request: as many pages as [`MOST_BYTES`] has.
const MOST_SEGMENTS: u32 = 256;
/// Header and status.
const EXTRA_DESCRIPTORS: u32 = 2;
/// Without indirect tables chains share the queue: scattered requests give up
/// length, so that several can be in flight.
const DIRECT_REQUESTS: u32 = 8;
/// The least chain with more than one data descriptor, and the least queue.
const LEAST_CHAIN: u32 = 4;
const PAGE: u32 = 4096;

/// What the device says of itself (virtio 1.2, §5.2.4). Fields whose feature
/// bit is not set hold no meaning.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Sectors of 512 bytes.
    pub capacity: u64,
    /// Most bytes in a data descriptor.
    pub size_max: u32,
    /// Most data descriptors in a request.
    pub seg_max: u32,
    /// Bytes in a logical block.
    pub blk_size: u32,
    /// Whether the write cache is volatile.
    pub writeback: bool,
}

/// How the queue is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Entries of the queue.
    pub entries: u16,
    /// Whether each chain lies in a table of its own.
    pub indirect: bool,
    /// Descriptors of the longest chain.
    pub chain: u16,
    /// Requests in flight.
    pub depth: u16,
    /// Segments in a request.
    pub max_segments: u32,
    /// Bytes in a request: whole pages.
    pub max_bytes: u32,
    /// Bytes in a data descriptor: whole pages.
    pub longest_piece: u32,
}

impl Shape {
    /// Fits requests to a queue of up to `entries` entries.
    pub fn new(entries: u32, features: Features, config: &Config) -> Result<Self, Cause> {
        if entries < LEAST_CHAIN {
            return Err(Cause::Unsupported("a virtio queue of fewer than 4 entries"));
        }
        let entries = 1 << entries.min(MOST_ENTRIES).ilog2();
        let indirect = features.contains(Features::INDIRECT_DESC);
        let chain_limit =
            if indirect { entries } else { (entries / DIRECT_REQUESTS).max(LEAST_CHAIN) };
        // Where the device sets no bound it may well know one only: Linux takes
        // it so, and devices are built for Linux.
        let seg_max = if features.contains(Features::SEG_MAX) { config.seg_max.max(1) } else { 1 };
        let pieces = seg_max.min(chain_limit - EXTRA_DESCRIPTORS).min(MOST_SEGMENTS);

        let longest_piece = match features.contains(Features::SIZE_MAX) {
            true => config.size_max.min(MOST_BYTES) & !(PAGE - 1),
            false => MOST_BYTES,
        };
        if longest_piece == 0 {
            return Err(Cause::Unsupported("SIZE_MAX below a page of 4096 bytes"));
        }
        // Cutting long segments takes descriptors: up to half of them.
        let max_bytes = longest_piece.saturating_mul(pieces / 2 + 1).min(MOST_BYTES);
        let cuts = most_pieces(0, max_bytes, longest_piece);
        let chain = pieces + EXTRA_DESCRIPTORS;
        let depth = if indirect { entries } else { entries / chain };
        Ok(Self {
            entries: entries as u16,
            indirect,
            chain: chain as u16,
            depth: depth.min(MOST_REQUESTS) as u16,
            max_segments: pieces - cuts,
            max_bytes,
            longest_piece,
        })
    }
}

/// The size of a logical block, 512 or 4096 bytes.
pub fn block_size(features: Features, config: &Config) -> Result<u32, Cause> {
    if !features.contains(Features::BLK_SIZE) {
        return Ok(SECTOR_SIZE);
    }
    match config.blk_size {
        512 | 4096 => Ok(config.blk_size),
        _ => Err(Cause::Unsupported("logical blocks of neither 512 nor 4096 bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config =
        Config { capacity: 0, size_max: 0, seg_max: 254, blk_size: 512, writeback: true };
    const INDIRECT: Features = Features::INDIRECT_DESC.union(Features::SEG_MAX);
    const DIRECT: Features = Features::SEG_MAX;

    fn shape(entries: u32, features: Features, config: Config) -> Shape {
        Shape::new(entries, features, &config).unwrap()
    }

    #[test]
    fn a_usual_queue_takes_32_requests_of_a_mebibyte() {
        let shape = shape(256, INDIRECT, CONFIG);
        assert_eq!((shape.entries, shape.depth), (256, 32));
        assert_eq!((shape.max_segments, shape.max_bytes), (254, 1 << 20));
    }

    #[test]
    fn a_large_queue_takes_256_scattered_pages_a_request() {
        let shape = shape(1024, INDIRECT, Config { seg_max: 1022, ..CONFIG });
        assert_eq!((shape.entries, shape.max_segments, shape.chain), (512, 256, 258));
    }

    #[test]
    fn a_queue_too_small_for_a_request_is_refused() {
        for entries in [0, 1, 2, 3] {
            let error = Shape::new(entries, INDIRECT, &CONFIG).unwrap_err();
            assert!(matches!(error, Cause::Unsupported(_)), "{entries}: {error}");
        }
    }

    #[test]
    fn sizes_that_are_no_power_of_two_are_rounded_down() {
        assert_eq!(shape(100, INDIRECT, CONFIG).entries, 64);
    }

    #[test]
    fn a_device_that_names_no_segment_limit_gets_one_segment() {
        let shape = shape(256, Features::INDIRECT_DESC, CONFIG);
        assert_eq!((shape.max_segments, shape.max_bytes), (1, 1 << 20));
    }

    #[test]
    fn chains_fit_the_queue_and_every_allowed_request_fits_its_chain() {
        for entries in [4, 8, 16, 100, 128, 256, 1024, 32768, u32::MAX] {
            for features in [INDIRECT, DIRECT, INDIRECT | Features::SIZE_MAX, Features::SIZE_MAX] {
                for size_max in [4096, 5000, 65536, 1 << 20, u32::MAX] {
                    for seg_max in [0, 1, 2, 126, u32::MAX] {
                        let shape =
                            shape(entries, features, Config { size_max, seg_max, ..CONFIG });
                        let pieces =
                            most_pieces(shape.max_segments, shape.max_bytes, shape.longest_piece);
                        assert!(shape.max_segments >= 1 && shape.depth >= 1, "{shape:?}");
                        assert!(shape.max_bytes.is_multiple_of(PAGE), "{shape:?}");
                        assert!(pieces + 2 <= u32::from(shape.chain), "{shape:?}");
                        assert!(shape.chain <= shape.entries, "{shape:?}");
                        if !shape.indirect {
                            assert!(shape.depth * shape.chain <= shape.entries, "{shape:?}");
                        }
                    }
                }
            }
        }
    }
}
