//! The memory map that the kernel was started with, in its boot parameters (Linux
//! Documentation/arch/x86/zero-page.rst; ACPI 6.5 §15.4).

use dormouse_boot::e820::RAM;
use dormouse_boot::params;
use dormouse_handoff::units::{PageRange, PhysAddr};

/// The ranges of RAM, in whole pages, those that adjoin made one; `None` where the
/// parameters do not have all of them.
pub fn ram(boot_params: &[u8]) -> Option<Vec<PageRange>> {
    let map = params::memory_map(boot_params)?;
    let ram = map.iter().filter(|range| range.kind == RAM);
    let ends = ram.map(|range| (range.start, range.start.saturating_add(range.bytes)));
    let mut ranges: Vec<(u64, u64)> = ends.collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    let pages = |(start, end)| PageRange::inside(PhysAddr(start), PhysAddr(end));
    Some(joined.into_iter().map(pages).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the number of entries is, and where they begin.
    const COUNT: usize = 0x1e8;
    const TABLE: usize = 0x2d0;

    /// Boot parameters with these ranges.
    pub fn params(entries: &[(u64, u64, u32)]) -> Vec<u8> {
        let mut params = vec![0; 4096];
        params[COUNT] = entries.len() as u8;
        for ((start, bytes, kind), room) in entries.iter().zip(params[TABLE..].chunks_mut(20)) {
            room[..8].copy_from_slice(&start.to_le_bytes());
            room[8..16].copy_from_slice(&bytes.to_le_bytes());
            room[16..].copy_from_slice(&kind.to_le_bytes());
        }
        params
    }

    #[test]
    fn ranges_of_ram_are_read_and_those_that_adjoin_are_one() {
        let params = params(&[
            (0x10_0000, 0x10_0000, 1),
            (0, 0x9_fc00, 1),
            (0x20_0000, 0x10_0000, 1),
            (0x30_0000, 0x1000, 3),
        ]);
        let expected = [PageRange::new(0, 0x9f), PageRange::new(0x100, 0x200)];
        assert_eq!(ram(&params), Some(expected.to_vec()));
    }

    #[test]
    fn a_table_that_is_not_all_there_says_nothing() {
        assert_eq!(ram(&params(&[])), None);
        assert_eq!(ram(&params(&[(0, 4096, 1); 128])), None);
        assert_eq!(ram(&[0; 100]), None);
    }

    proptest! {
        #[test]
        fn any_table_is_taken(entries in proptest::collection::vec(any::<(u64, u64, u32)>(), 0..9)) {
            let _ = ram(&params(&entries));
        }
    }
}
