//! Leaving word for Linux.

use crate::arch::paging::direct;
use crate::console;
use dormouse_handoff::checksum::Nonce;
use dormouse_handoff::image::Counts;
use dormouse_handoff::mailbox::{self, Head, LogPage, Outcome, PAGES, Statistics};
use dormouse_handoff::plan::Stage;
use dormouse_handoff::units::PhysAddr;

/// A mailbox whose every page has been found to carry the nonce.
#[derive(Clone, Copy)]
pub struct Mailbox {
    pages: [PhysAddr; PAGES],
}

impl Mailbox {
    /// The mailbox at `pages`; `None` if one of them is not (or no longer)
    /// where it should be.
    ///
    /// # Safety
    ///
    /// The pages are RAM, in the direct map, and outside the window.
    pub unsafe fn find(pages: &[PhysAddr; PAGES], nonce: &Nonce) -> Option<Self> {
        let belong = pages.iter().enumerate().all(|(index, page)| {
            // SAFETY: as the caller promises.
            let bytes = unsafe { &*direct(*page).cast::<[u8; 4096]>() };
            mailbox::belongs(bytes, nonce, index)
        });
        belong.then_some(Self { pages: *pages })
    }

    /// Changes the first page.
    pub fn update(&self, f: impl FnOnce(&mut Head)) {
        // SAFETY: `find` has seen that the page is the mailbox's; while this
        // program runs nobody else looks at it.
        f(unsafe { &mut *direct(self.pages[0]).cast::<Head>() });
    }

    /// Leaves an outcome with its reason.
    pub fn leave(&self, outcome: Outcome, stage: Stage, message: &str) {
        self.update(|head| {
            head.outcome = outcome as u32;
            head.stage = stage as u32;
            let mut length = message.len().min(head.message.len());
            while !message.is_char_boundary(length) {
                length -= 1;
            }
            head.message[..length].copy_from_slice(&message.as_bytes()[..length]);
            head.message_length = length as u32;
        });
    }

    /// Leaves what both passes took, and what became of the pages.
    pub fn leave_statistics(&self, write: Statistics, read: Statistics, counts: Counts) {
        self.update(|head| {
            head.write = write;
            head.read = read;
            head.counts = counts;
        });
    }

    /// Leaves the log: `before` (the writer's, where the reader speaks), then
    /// this program's own. What finds no room is cut off.
    pub fn leave_log(&self, before: &[u8]) {
        console::with_log(|own| {
            let mut text = before.iter().chain(own).copied();
            for page in &self.pages[1..] {
                // SAFETY: as in `update`.
                let page = unsafe { &mut *direct(*page).cast::<LogPage>() };
                let mut used = 0;
                for (to, byte) in page.text.iter_mut().zip(&mut text) {
                    *to = byte;
                    used += 1;
                }
                page.used = used;
            }
        });
    }
}
