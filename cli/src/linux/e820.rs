//! The memory map that the kernel was started with, in its boot parameters (Linux
//! Documentation/arch/x86/zero-page.rst; ACPI 6.5 §15.4).

use dormouse_handoff::units::{PageRange, PhysAddr};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// How many entries there are.
const COUNT: usize = 0x1e8;
/// Where they begin.
const TABLE: usize = 0x2d0;
/// How many there is room for: more are elsewhere.
const ROOM: usize = 128;

#[repr(C)]
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
struct Entry {
    start: U64,
    bytes: U64,
    kind: U32,
}

/// RAM that anybody may use.
const RAM: u32 = 1;

/// The ranges of RAM, in whole pages, those that adjoin made one; `None` where the
/// parameters do not have all of them.
pub fn ram(boot_params: &[u8]) -> Option<Vec<PageRange>> {
    let count = usize::from(*boot_params.get(COUNT)?);
    if count == 0 || count >= ROOM {
        return None;
    }
    let table = boot_params.get(TABLE..)?.get(..count * size_of::<Entry>())?;
    let entries = <[Entry]>::ref_from_bytes(table).ok()?;
    let ram = entries.iter().filter(|entry| entry.kind.get() == RAM);
    let ends =
        ram.map(|entry| (entry.start.get(), entry.start.get().saturating_add(entry.bytes.get())));
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
