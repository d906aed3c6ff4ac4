//! `/proc/self/pagemap`: where a process' pages are (Linux
//! Documentation/admin-guide/mm/pagemap.rst).

use dormouse_handoff::units::Pfn;

/// The frame that an entry names; `None` where the page is not in memory or
/// the kernel does not tell.
pub fn frame(entry: u64) -> Option<Pfn> {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const FRAME: u64 = (1 << 55) - 1;
    let frame = entry & FRAME;
    (entry & PRESENT != 0 && entry & SWAPPED == 0 && frame != 0).then_some(Pfn(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_in_memory_have_a_frame() {
        assert_eq!(frame(0x8180_0000_0001_2345), Some(Pfn(0x12345)));
        assert_eq!(frame(0x4000_0000_0001_2345), None, "swapped out");
        assert_eq!(frame(0x0000_0000_0001_2345), None, "not present");
        assert_eq!(frame(0x8180_0000_0000_0000), None, "hidden from the unprivileged");
    }
}
