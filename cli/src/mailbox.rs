//! The mailbox: pages of this process in which writer and reader leave what
//! happened.
//!
//! They must not move between the plan and the jump. Locking keeps a page in
//! memory but lets it move; registering it with io_uring pins it for good. Where
//! io_uring is switched off the pages are only locked, and their addresses are
//! looked up once more right before the jump.

use crate::entropy::Seed;
use crate::error::{Error, Result};
use crate::linux::pagemap;
use dormouse_handoff::checksum::Nonce;
use dormouse_handoff::mailbox::{self, Head, LogPage, Outcome, PAGES};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, PhysAddr};
use rustix::fd::OwnedFd;
use rustix::io_uring::{IoringRegisterOp, io_uring_params, io_uring_register, io_uring_setup};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::ptr::NonNull;
use zerocopy::{FromBytes, IntoBytes};
use zeroize::Zeroizing;

const BYTES: usize = PAGES * PAGE_SIZE as usize;

type PageBytes = [u8; PAGE_SIZE as usize];

/// The pages, kept in memory as long as this lives.
#[derive(Debug)]
pub struct Mailbox {
    pages: NonNull<PageBytes>,
    /// Holds the pin; `None` where the pages are only locked.
    pin: Option<OwnedFd>,
}

/// What the mailbox says after the return.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The first page.
    pub head: Head,
    /// The writer's log.
    pub log: String,
}

impl Mailbox {
    /// Allocates the pages and keeps them where they are.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn new() -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: a new mapping where the kernel likes it touches nothing that
        // exists.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), BYTES, protection, flags) }
            .map_err(|e| Error::call("mmap", e))?;
        let pages =
            NonNull::new(start.cast()).ok_or(Error::call("mmap", rustix::io::Errno::NOMEM))?;
        let mut mailbox = Self { pages, pin: None };
        // A child that inherited the pages would make the next write to them
        // move them.
        // SAFETY: the range is this mapping, and no child of ours needs it.
        unsafe { madvise(start, BYTES, Advice::LinuxDontFork) }
            .map_err(|e| Error::call("madvise", e))?;
        // SAFETY: the range is this mapping.
        unsafe { mlock(start, BYTES) }.map_err(|e| Error::call("mlock", e))?;
        mailbox.pin = mailbox.pinned();
        Ok(mailbox)
    }

    /// Whether the pages are pinned, not only locked.
    pub fn is_pinned(&self) -> bool {
        self.pin.is_some()
    }

    /// Registers the pages as an io_uring buffer, which takes a long-term pin.
    fn pinned(&self) -> Option<OwnedFd> {
        let mut params = io_uring_params::default();
        // SAFETY: the parameters are zeroed, which asks for no feature that
        // needs more memory of ours.
        let ring = unsafe { io_uring_setup(1, &mut params) }.ok()?;
        let buffer = libc::iovec { iov_base: self.pages.as_ptr().cast(), iov_len: BYTES };
        let argument = std::ptr::from_ref(&buffer).cast();
        // SAFETY: the argument is one iovec, as the operation wants it; nothing
        // is ever submitted to the ring, so the kernel only pins the pages.
        unsafe { io_uring_register(&ring, IoringRegisterOp::RegisterBuffers, argument, 1) }.ok()?;
        Some(ring)
    }

    /// Writes blank pages of a new attempt.
    pub fn prepare(&mut self, nonce: &Nonce) {
        for index in 0..PAGES {
            // SAFETY: the index is inside the mapping, which is writable and
            // to which no reference exists.
            unsafe { self.pages.add(index).write_volatile(mailbox::blank_page(nonce, index)) };
        }
    }

    /// Where the pages are, the head first.
    ///
    /// # Errors
    /// [`Error::Io`] where the kernel does not tell, [`Error::Hidden`] where it
    /// tells nothing to this user.
    pub fn addresses(&self) -> Result<[PhysAddr; PAGES]> {
        let path = PathBuf::from("/proc/self/pagemap");
        let read = |offset: u64| {
            let mut entries = [0; PAGES * 8];
            File::open(&path)?.read_exact_at(&mut entries, offset)?;
            Ok(entries)
        };
        let entries = read(self.pages.as_ptr().addr() as u64 / PAGE_SIZE * 8)
            .map_err(|source| Error::Io { doing: "read", path: path.clone(), source })?;
        let mut addresses = [PhysAddr(0); PAGES];
        for (address, entry) in addresses.iter_mut().zip(entries.as_chunks::<8>().0) {
            let frame = pagemap::frame(u64::from_le_bytes(*entry));
            *address = frame.ok_or(Error::Hidden("/proc/self/pagemap"))?.address();
        }
        Ok(addresses)
    }

    /// How the attempt ended, by what the first page says now.
    pub fn outcome(&self, nonce: &Nonce) -> Option<Outcome> {
        // SAFETY: the first page is in the mapping; volatile as in `read`.
        let page = Zeroizing::new(unsafe { self.pages.read_volatile() });
        // Of a page that may hold the seed, no copy is left.
        let at = std::mem::offset_of!(Head, outcome);
        let number = page.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)?;
        mailbox::belongs(&*page, nonce, 0).then(|| Outcome::from_number(number))?
    }

    /// The random bytes that the reader left, which are gone from the mailbox
    /// then; `None` if it is no longer that of this attempt.
    pub fn take_seed(&mut self, nonce: &Nonce) -> Option<Seed> {
        // SAFETY: the first page is in the mapping, and no reference to it exists.
        let mut page = Zeroizing::new(unsafe { self.pages.read_volatile() });
        if !mailbox::belongs(&*page, nonce, 0) {
            return None;
        }
        let (mut head, _) = Head::read_from_prefix(page.as_slice()).ok()?;
        let seed = Seed::take(&mut head);
        head.write_to_prefix(page.as_mut_slice()).ok()?;
        // SAFETY: as above.
        unsafe { self.pages.write_volatile(*page) };
        Some(seed)
    }

    /// What writer or reader left; `None` if the pages are no longer those of
    /// this attempt.
    pub fn read(&self, nonce: &Nonce) -> Option<Mail> {
        let pages: Vec<PageBytes> = (0..PAGES)
            // SAFETY: the index is inside the mapping. The read is volatile
            // because somebody else wrote the pages while we stood still.
            .map(|index| unsafe { self.pages.add(index).read_volatile() })
            .collect();
        Mail::parse(&pages, nonce)
    }
}

impl Mail {
    fn parse(pages: &[PageBytes], nonce: &Nonce) -> Option<Self> {
        let (first, further) = pages.split_first()?;
        if !mailbox::belongs(first, nonce, 0) {
            return None;
        }
        let (head, _) = Head::read_from_prefix(first).ok()?;
        let mut log = Vec::new();
        for (i, page) in further.iter().enumerate() {
            if !mailbox::belongs(page, nonce, i + 1) {
                break;
            }
            let page = LogPage::read_from_bytes(page).ok()?;
            let used = (page.used as usize).min(page.text.len());
            log.extend_from_slice(&page.text[..used]);
        }
        Some(Self { head, log: String::from_utf8_lossy(&log).into_owned() })
    }

    /// The reason of a return, in the writer's own words.
    pub fn message(&self) -> String {
        let used = (self.head.message_length as usize).min(self.head.message.len());
        String::from_utf8_lossy(&self.head.message[..used]).trim().to_owned()
    }

    /// After a wake-up from a disk, what the machine fills anew on its way up from S3.
    pub fn reloaded(&self) -> Option<PageRange> {
        let outcome = Outcome::from_number(self.head.outcome);
        (outcome == Some(Outcome::Woken)).then_some(self.head.reloaded)
    }

    /// The last `lines` lines of the log.
    pub fn log_tail(&self, lines: usize) -> Vec<&str> {
        let all: Vec<&str> = self.log.lines().collect();
        all[all.len().saturating_sub(lines)..].to_vec()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // The pin goes first, so that the kernel can free the pages.
        self.pin = None;
        // SAFETY: the mapping is ours, and no reference into it exists.
        let _ = unsafe { munmap(self.pages.as_ptr().cast(), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: Nonce = [3; 16];

    fn blank() -> Vec<PageBytes> {
        (0..PAGES).map(|i| mailbox::blank_page(&NONCE, i)).collect()
    }

    #[test]
    fn a_fresh_mailbox_says_that_nobody_came() {
        let mut mailbox = Mailbox::new().unwrap();
        mailbox.prepare(&NONCE);
        let mail = mailbox.read(&NONCE).unwrap();
        assert_eq!(Outcome::from_number(mail.head.outcome), Some(Outcome::Pending));
        assert_eq!((mail.message().as_str(), mail.log.as_str()), ("", ""));
        assert!(mailbox.read(&[4; 16]).is_none(), "another attempt's");
    }

    #[test]
    fn no_seed_stays_in_the_mailbox() {
        let mut mailbox = Mailbox::new().unwrap();
        mailbox.prepare(&NONCE);
        let (mut head, _) = Head::read_from_prefix(&mailbox::blank_page(&NONCE, 0)).unwrap();
        head.entropy = [9; 64];
        let mut page = mailbox::blank_page(&NONCE, 0);
        head.write_to_prefix(&mut page).unwrap();
        // SAFETY: the first page is in the mapping, and nobody refers to it.
        unsafe { mailbox.pages.write_volatile(page) };
        assert!(mailbox.take_seed(&[4; 16]).is_none(), "another attempt's");
        assert_eq!(mailbox.read(&NONCE).unwrap().head.entropy, [9; 64]);
        assert!(mailbox.take_seed(&NONCE).is_some());
        assert_eq!(mailbox.read(&NONCE).unwrap().head.entropy, [0; 64]);
    }

    #[test]
    fn a_log_that_is_split_between_pages_is_whole_again() {
        let mut pages = blank();
        for (page, text) in pages[1..].iter_mut().zip(["plan ok\ndev", "ice ok: caf\u{e9}\n"]) {
            page[28..32].copy_from_slice(&(text.len() as u32).to_le_bytes());
            page[32..32 + text.len()].copy_from_slice(text.as_bytes());
        }
        let mail = Mail::parse(&pages, &NONCE).unwrap();
        assert_eq!(mail.log, "plan ok\ndevice ok: caf\u{e9}\n");
        assert_eq!(mail.log_tail(1), ["device ok: caf\u{e9}"]);
    }

    #[test]
    fn lengths_are_not_trusted() {
        let mut pages = blank();
        let mut head = Head::read_from_prefix(&pages[0]).unwrap().0;
        head.message_length = u32::MAX;
        head.message[..4].copy_from_slice(b"gone");
        pages[0][..size_of::<Head>()].copy_from_slice(head.as_bytes());
        pages[1][28..32].fill(0xff);
        let mail = Mail::parse(&pages, &NONCE).unwrap();
        assert!(mail.message().starts_with("gone"));
        assert_eq!(mail.log.len(), mailbox::LOG_BYTES);
    }

    proptest! {
        #[test]
        fn any_pages_are_mail_or_none(
            damage in proptest::collection::vec((0usize..BYTES, any::<u8>()), 0..50),
        ) {
            let mut pages = blank();
            for (at, value) in damage {
                pages[at / PAGE_SIZE as usize][at % PAGE_SIZE as usize] = value;
            }
            if let Some(mail) = Mail::parse(&pages, &NONCE) {
                let _ = (mail.message(), mail.log_tail(3).len());
            }
        }
    }
}
