//! The mailbox: pages of the old kernel's own memory in which writer and
//! reader leave what happened, for the CLI to read after the return.
//!
//! The CLI allocates and pins the pages, writes the nonce into each and names
//! their addresses in the plan. Nobody trusts a page without its nonce: user
//! pages can move until the freeze.

use crate::checksum::Nonce;
use crate::image::Counts;
use crate::units::PageRange;
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "This is a mailbox page."
pub const MAGIC: [u8; 8] = *b"DORMMAIL";

/// How many pages a mailbox has: the head and the log.
pub const PAGES: usize = 17;

/// Bytes of log in each page but the head.
pub const LOG_BYTES: usize = 4096 - 32;

/// How an attempt ended.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The writer never got as far as the mailbox.
    Pending = 0,
    /// The writer came back with an error; nothing was committed.
    Returned = 1,
    /// The reader brought the old kernel back.
    Woken = 2,
    /// The writer did what it was asked for, and came back at once.
    Done = 3,
    /// The writer suspended to RAM, and came back when the machine was woken.
    WokenFromRam = 4,
}

impl Outcome {
    /// The outcome with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Pending),
            1 => Some(Self::Returned),
            2 => Some(Self::Woken),
            3 => Some(Self::Done),
            4 => Some(Self::WokenFromRam),
            _ => None,
        }
    }
}

bitflags! {
    /// Where random bytes come from.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EntropySources: u32 {
        /// The processor's noise source (RDSEED).
        const RDSEED = 1 << 0;
        /// The processor's generator (RDRAND).
        const RDRAND = 1 << 1;
        /// How long devices took, by the time-stamp counter.
        const TIMINGS = 1 << 2;
        /// The clock on the wall: worth nothing, but seldom twice the same.
        const CLOCK = 1 << 3;
        /// What the wake-up before left on the disk: worth nothing, but never
        /// twice the same.
        const CARRIED = 1 << 4;
    }
}

/// What one pass over the image did, and how long it took.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Statistics {
    /// Microseconds from entry to the first data command.
    pub first_data_us: u64,
    /// Microseconds from the first data command to the last completion.
    pub data_us: u64,
    /// Microseconds from the last data completion to the end: commit (writer)
    /// or consume (reader), without power-off or jump.
    pub finish_us: u64,
    /// Bytes of pages that went over the device.
    pub data_bytes: u64,
    /// Bytes of everything else: tables, plan, header.
    pub meta_bytes: u64,
    /// Microseconds of `data_us` in which the writer asked the page set; 0 for
    /// the reader.
    pub walk_us: u64,
}

/// The first page.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Head {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The plan's nonce.
    pub nonce: Nonce,
    /// 0: this is the first page.
    pub index: u32,
    /// An [`Outcome`] as its number.
    pub outcome: u32,
    /// The [`Stage`](crate::plan::Stage) reached, as its number.
    pub stage: u32,
    /// Bytes of `message` used.
    pub message_length: u32,
    /// The reason of a return, UTF-8.
    pub message: [u8; 1024],
    /// The writer's pass.
    pub write: Statistics,
    /// The reader's pass; the comparison's, where the writer made one.
    pub read: Statistics,
    /// What became of each page, or would.
    pub counts: Counts,
    /// Random bytes gathered by the reader for the woken kernel; wiped once the
    /// kernel has them.
    pub entropy: [u8; 64],
    /// Bits of entropy that `entropy` is worth; 0: there was no source.
    pub entropy_bits: u32,
    /// [`EntropySources`] that went into it.
    pub entropy_sources: u32,
    /// Wake-ups from this image that got through before this one.
    pub woken_before: u64,
    /// The reader's word for the woken kernel: frames that the machine fills anew
    /// on its way up from a suspend to RAM (ACPI S3), whatever they hold; empty
    /// where there are none.
    pub reloaded: PageRange,
}

const _: () = assert!(size_of::<Head>() <= 4096);

/// Each further page: a piece of the log.
#[repr(C)]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct LogPage {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The plan's nonce.
    pub nonce: Nonce,
    /// The page's place in the mailbox, from 1.
    pub index: u32,
    /// Bytes of `text` used.
    pub used: u32,
    /// UTF-8; a character may be split between pages.
    pub text: [u8; LOG_BYTES],
}

const _: () = assert!(size_of::<LogPage>() == 4096);

/// What a mailbox page must begin with for the page to be trusted.
pub fn belongs(page: &[u8], nonce: &Nonce, index: usize) -> bool {
    page.get(..8) == Some(&MAGIC)
        && page.get(8..24) == Some(nonce)
        && page.get(24..28) == Some(&(index as u32).to_le_bytes())
}

/// An empty mailbox page for a new attempt.
pub fn blank_page(nonce: &Nonce, index: usize) -> [u8; 4096] {
    let mut page = [0; 4096];
    page[..8].copy_from_slice(&MAGIC);
    page[8..24].copy_from_slice(nonce);
    page[24..28].copy_from_slice(&(index as u32).to_le_bytes());
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_page_belongs_to_its_attempt_only() {
        let page = blank_page(&[5; 16], 3);
        assert!(belongs(&page, &[5; 16], 3));
        assert!(!belongs(&page, &[5; 16], 2));
        assert!(!belongs(&page, &[6; 16], 3));
        assert!(!belongs(&page[..10], &[5; 16], 3));
        let log = LogPage::read_from_bytes(&page).unwrap();
        assert_eq!((log.index, log.used), (3, 0));
    }

    #[test]
    fn nobody_has_been_at_a_blank_mailbox() {
        let page = blank_page(&[5; 16], 0);
        let (head, _) = Head::read_from_prefix(&page).unwrap();
        assert_eq!(Outcome::from_number(head.outcome), Some(Outcome::Pending));
    }
}
