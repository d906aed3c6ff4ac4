//! Where the old kernel keeps the window's contents while the writer runs.
//!
//! For the jump, Linux swaps each page of the window with a page of its own
//! (`swap_pages` of arch/x86/kernel/relocate_kernel_64.S). What it swaps with
//! what is a list of words (`struct kimage`, `kimage_entry_t` of
//! include/linux/kexec.h), and the list's first word is kept in the control
//! page, at an offset that differs between kernels. So every word of the page
//! is tried, and a list is believed only if it is exactly one of the window:
//! each of its pages once, from pages of memory outside it.

use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};
use dormouse_page_set::Readable;
use std::collections::BTreeSet;

/// What a word of the list is, in its lowest bits (include/linux/kexec.h).
const DESTINATION: u64 = 1 << 0;
const INDIRECTION: u64 = 1 << 1;
const DONE: u64 = 1 << 2;
const SOURCE: u64 = 1 << 3;

/// The bits of a word that are no address.
const LOW_BITS: u64 = PAGE_SIZE - 1;

/// A page of the window, and the frame in which the old kernel has its
/// contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The page of the window.
    pub window: Pfn,
    /// Where its contents are.
    pub kept_at: Pfn,
}

/// The words of the control page: that with the jump-back entry, and those
/// around it, as newer kernels have two.
pub fn control_pages(memory: &Readable<'_>, entry: PhysAddr) -> Vec<u64> {
    let frame = Pfn::containing(entry).0;
    let frames = (frame.saturating_sub(1)..=frame.saturating_add(1)).map(Pfn);
    let pages = frames.filter_map(|frame| memory.page(frame));
    let words = pages.flat_map(|page| page.as_chunks::<8>().0);
    words.map(|word| u64::from_le_bytes(*word)).collect()
}

/// The window's pages; none where no word of `control` begins a list of them.
pub fn moved_pages(memory: &Readable<'_>, window: PageRange, control: &[u64]) -> Vec<Moved> {
    let heads = control.iter().filter(|word| *word & LOW_BITS == INDIRECTION);
    heads.filter_map(|head| follow(memory, window, *head)).next().unwrap_or_default()
}

/// Follows the list that begins with `head`, if it is one of the window.
fn follow(memory: &Readable<'_>, window: PageRange, head: u64) -> Option<Vec<Moved>> {
    let mut moved = Vec::new();
    let mut seen = BTreeSet::new();
    let mut destination = None;
    let mut word = head;
    let mut next = 0;
    // Every page of the window takes one word, each page of words one more to
    // get there, and each segment one; a list that is longer leads nowhere.
    for _ in 0..window.pages.saturating_mul(2).saturating_add(64) {
        let address = PhysAddr(word & !LOW_BITS);
        match word & LOW_BITS {
            DESTINATION => destination = Some(Pfn::containing(address)),
            INDIRECTION => next = address.0,
            DONE => return (moved.len() as u64 == window.pages).then_some(moved),
            SOURCE => {
                let (to, kept_at) = (destination?, Pfn::containing(address));
                memory.page(kept_at)?;
                if !window.contains(to) || !seen.insert(to) {
                    return None;
                }
                moved.push(Moved { window: to, kept_at });
                destination = Some(Pfn(to.0 + 1));
            }
            _ => return None,
        }
        word = memory.word(PhysAddr(next))?;
        next += 8;
    }
    None
}
