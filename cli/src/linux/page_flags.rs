//! `/proc/kpageflags`: what each frame is used for (Linux
//! Documentation/admin-guide/mm/pagemap.rst, include/uapi/linux/kernel-page-flags.h).

/// The flags of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFlags(pub u64);

/// Of the page cache, or anonymous and ageing.
const LRU: u64 = 1 << 5;
const SLAB: u64 = 1 << 7;
/// Free.
const BUDDY: u64 = 1 << 10;
const ANON: u64 = 1 << 12;
/// Of a hugetlb page.
const HUGE: u64 = 1 << 17;
const HWPOISON: u64 = 1 << 19;
const NOPAGE: u64 = 1 << 20;
/// Of a transparent huge page.
const THP: u64 = 1 << 22;
const OFFLINE: u64 = 1 << 23;
const ZERO_PAGE: u64 = 1 << 24;
const PGTABLE: u64 = 1 << 26;
/// Not for the page allocator; among the kernel's hacking flags.
const RESERVED: u64 = 1 << 32;

impl PageFlags {
    /// Whether the frame certainly holds no structure of the kernel: it is free,
    /// or belongs to processes or the page cache.
    ///
    /// A frame without any flag may be anything that the kernel allocated.
    pub fn is_no_kernel_structure(self) -> bool {
        const NEVER: u64 = SLAB | HWPOISON | NOPAGE | OFFLINE | ZERO_PAGE | PGTABLE | RESERVED;
        const USER: u64 = LRU | BUDDY | ANON | HUGE | THP;
        self.0 & NEVER == 0 && self.0 & USER != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_and_user_frames_may_go() {
        for flags in [BUDDY, LRU, ANON | LRU, THP, HUGE] {
            assert!(PageFlags(flags).is_no_kernel_structure(), "{flags:#x}");
        }
    }

    #[test]
    fn kernel_frames_stay() {
        for flags in [0, SLAB, RESERVED | LRU, PGTABLE, LRU | HWPOISON, OFFLINE, NOPAGE] {
            assert!(!PageFlags(flags).is_no_kernel_structure(), "{flags:#x}");
        }
    }
}
