//! What a disk says of itself (ATA/ATAPI-8 ACS, §7.16.7).

use crate::queue::{Cause, Identity};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Words of the answer to IDENTIFY DEVICE.
pub const WORDS: usize = 256;

/// What this driver needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFacts {
    /// Model and serial number.
    pub identity: Identity,
    /// Bytes in a logical block: 512 or 4096.
    pub block_size: u32,
    /// Logical blocks.
    pub blocks: u64,
    /// Queued commands that it takes; `None` if it takes none.
    pub queue_depth: Option<u32>,
    /// Whether its write cache is on.
    pub write_cache: bool,
    /// Whether it knows FLUSH CACHE EXT.
    pub can_flush: bool,
}

/// Word and bit.
type Flag = (usize, u32);

const DMA: Flag = (49, 8);
const LBA: Flag = (49, 9);
const LBA48: Flag = (83, 10);
const FLUSH_EXT: Flag = (83, 13);
const WRITE_CACHE_ON: Flag = (85, 5);
const QUEUES: Flag = (76, 8);
const LARGE_BLOCKS: Flag = (106, 12);

/// Words in which bit 14 is set and bit 15 is not, if they mean anything.
const VALIDITY_OF_COMMANDS: usize = 83;
const VALIDITY_OF_ENABLED: usize = 87;
const VALIDITY_OF_BLOCKS: usize = 106;

pub(super) const SERIAL: core::ops::Range<usize> = 10..20;
pub(super) const MODEL: core::ops::Range<usize> = 27..47;
const QUEUE_DEPTH: usize = 75;
const QUEUE_CAPABILITIES: usize = 76;
pub(super) const BLOCKS: core::ops::Range<usize> = 100..104;
const WORDS_IN_BLOCK: core::ops::Range<usize> = 117..119;

impl DiskFacts {
    /// Reads the answer to IDENTIFY DEVICE.
    pub fn parse(words: &[u16; WORDS]) -> Result<Self, Cause> {
        let has = |(word, bit): Flag| words[word] & 1 << bit != 0;
        let is_valid = |word: usize| words[word] >> 14 == 0b01;
        if words[0] >> 15 != 0 {
            return Err(Cause::Unsupported("an ATA device that is no disk"));
        }
        if !is_valid(VALIDITY_OF_COMMANDS) || !has(LBA48) || !has(LBA) || !has(DMA) {
            return Err(Cause::Unsupported("a disk without DMA or 48-bit addresses"));
        }
        let number = |range: core::ops::Range<usize>| {
            words[range].iter().rev().fold(0, |high, word| high << 16 | u64::from(*word))
        };
        let block_size = match is_valid(VALIDITY_OF_BLOCKS) && has(LARGE_BLOCKS) {
            true => number(WORDS_IN_BLOCK) * 2,
            false => 512,
        };
        if block_size != 512 && block_size != 4096 {
            return Err(Cause::Unsupported("logical blocks of neither 512 nor 4096 bytes"));
        }
        let blocks = number(BLOCKS);
        if blocks == 0 || blocks > 1 << 48 {
            return Err(Cause::Protocol("a number of blocks that 48-bit addresses cannot have"));
        }
        let queues = !matches!(words[QUEUE_CAPABILITIES], 0 | u16::MAX) && has(QUEUES);
        Ok(Self {
            identity: Identity { model: text(&words[MODEL]), serial: text(&words[SERIAL]) },
            block_size: block_size as u32,
            blocks,
            queue_depth: queues.then(|| u32::from(words[QUEUE_DEPTH] & 0x1f) + 1),
            // Where it does not say, assume the worse.
            write_cache: !is_valid(VALIDITY_OF_ENABLED) || has(WRITE_CACHE_ON),
            can_flush: has(FLUSH_EXT),
        })
    }
}

/// Text as ATA has it: the first of each two characters is in the high byte.
fn text(words: &[u16]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ahci::model::answer;
    use proptest::prelude::*;

    #[test]
    fn names_are_put_right_and_trimmed() {
        let facts = DiskFacts::parse(&answer(1000)).unwrap();
        assert_eq!(facts.identity.serial, "DM-0001");
        assert_eq!(facts.identity.model, "Dormouse disk");
    }

    #[test]
    fn a_usual_disk_queues_caches_and_flushes() {
        let facts = DiskFacts::parse(&answer(0x1234_5678_9abc)).unwrap();
        assert_eq!((facts.blocks, facts.block_size), (0x1234_5678_9abc, 512));
        assert_eq!(facts.queue_depth, Some(32));
        assert!(facts.write_cache && facts.can_flush);
    }

    #[test]
    fn large_blocks_are_counted_in_words() {
        let mut words = answer(1000);
        words[106] = 1 << 14 | 1 << 12;
        words[117] = 2048;
        assert_eq!(DiskFacts::parse(&words).unwrap().block_size, 4096);
        words[117] = 260;
        assert!(matches!(DiskFacts::parse(&words), Err(Cause::Unsupported(_))));
        words[106] = 1 << 12;
        assert_eq!(DiskFacts::parse(&words).unwrap().block_size, 512, "an invalid word counts not");
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (word, value) in [(0, 0x8000), (49, 0), (83, 1 << 14), (83, 0xffff)] {
            let mut words = answer(1000);
            words[word] = value;
            assert!(matches!(DiskFacts::parse(&words), Err(Cause::Unsupported(_))), "word {word}");
        }
        assert!(matches!(DiskFacts::parse(&answer(0)), Err(Cause::Protocol(_))));
        assert!(matches!(DiskFacts::parse(&answer(u64::MAX)), Err(Cause::Protocol(_))));
    }

    #[test]
    fn a_disk_that_says_nothing_of_serial_ata_does_not_queue() {
        for value in [0, u16::MAX] {
            let mut words = answer(1000);
            words[76] = value;
            assert_eq!(DiskFacts::parse(&words).unwrap().queue_depth, None);
        }
    }

    proptest! {
        #[test]
        fn no_answer_whatever_panics(seed in prop::collection::vec(any::<u16>(), WORDS)) {
            let words: [u16; WORDS] = seed.try_into().unwrap();
            let _ = DiskFacts::parse(&words);
        }
    }
}
