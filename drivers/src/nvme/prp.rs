//! Physical region pages: how a command names its memory (NVM Express base
//! specification 2.0, §4.1.1).

use crate::dma::DmaBuffer;
use crate::queue::Segment;
use dormouse_handoff::units::PAGE_SIZE;

/// Bytes of an entry in a PRP list.
const ENTRY: usize = 8;
const PAGE: usize = PAGE_SIZE as usize;

/// The two PRP fields of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prps {
    /// The first page.
    pub prp1: u64,
    /// The second page, or the list, or zero.
    pub prp2: u64,
}

/// Bytes of list that a command of up to `bytes` bytes needs, wherever in a
/// page its memory begins; a power of two up to a page, then whole pages.
pub const fn list_bytes(bytes: u32) -> usize {
    // Memory that begins inside a page touches one page more, but the first
    // page is not in the list.
    let entries = (bytes as usize).div_ceil(PAGE);
    let plain = entries * ENTRY;
    if plain <= PAGE {
        return plain.next_power_of_two();
    }
    // Every page of list but the last gives an entry to the link.
    (entries - 1).div_ceil(PAGE / ENTRY - 1) * PAGE
}

/// Describes `segments`, with the list, if one is needed, at `offset` of
/// `lists`.
///
/// The segments keep the rules of [`Segment`], and there are
/// [`list_bytes`] bytes for them at `offset`.
pub fn build(segments: &[Segment], lists: &mut DmaBuffer, offset: usize) -> Prps {
    let mut pages = segments.iter().flat_map(pages_of);
    let prp1 = pages.next().unwrap_or(0);
    let Some(second) = pages.next() else {
        return Prps { prp1, prp2: 0 };
    };
    let Some(third) = pages.next() else {
        return Prps { prp1, prp2: second };
    };
    lists.write(offset, second);
    let mut place = offset + ENTRY;
    let mut page = third;
    for next in pages {
        if (place + ENTRY).is_multiple_of(PAGE) {
            // The last entry of a page of list, with more than one to come:
            // it links to the next page.
            lists.write(place, lists.address(place + ENTRY).0);
            place += ENTRY;
        }
        lists.write(place, page);
        place += ENTRY;
        page = next;
    }
    lists.write(place, page);
    Prps { prp1, prp2: lists.address(offset).0 }
}

/// The address of each page of a segment; only the first may lie inside one.
fn pages_of(segment: &Segment) -> impl Iterator<Item = u64> + use<> {
    let start = segment.address.0;
    let end = start + u64::from(segment.bytes);
    let second = (start & !(PAGE_SIZE - 1)) + PAGE_SIZE;
    core::iter::once(start).chain((second..end).step_by(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeMachine;
    use crate::nvme::model::follow_prps;
    use dormouse_handoff::units::PhysAddr;
    use proptest::prelude::*;

    /// Every byte's address, as runs that cannot be merged.
    fn merged(pieces: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (address, bytes) in pieces {
            match runs.last_mut() {
                Some(run) if run.0 + run.1 == address => run.1 += bytes,
                _ => runs.push((address, bytes)),
            }
        }
        runs
    }

    #[test]
    fn one_and_two_pages_need_no_list() {
        let machine = FakeMachine::new();
        let mut lists = DmaBuffer::allocate(machine, PAGE).unwrap();
        let segment = |address, bytes| Segment { address: PhysAddr(address), bytes };
        let prps = build(&[segment(0x5200, 0x400)], &mut lists, 0);
        assert_eq!(prps, Prps { prp1: 0x5200, prp2: 0 });
        let prps = build(&[segment(0x5e00, 0x400)], &mut lists, 0);
        assert_eq!(prps, Prps { prp1: 0x5e00, prp2: 0x6000 });
        assert_eq!(lists.read::<u64>(0), 0, "the list was written");
    }

    #[test]
    fn lists_take_a_power_of_two_up_to_a_page_and_then_links() {
        assert_eq!(list_bytes(4096), 8);
        assert_eq!(list_bytes(1 << 20), 2048);
        assert_eq!(list_bytes(512 * 4096), 4096);
        assert_eq!(list_bytes(513 * 4096), 8192);
        assert_eq!(list_bytes(1023 * 4096), 8192);
        assert_eq!(list_bytes(1024 * 4096), 12288);
    }

    proptest! {
        #[test]
        fn a_controller_finds_every_byte_in_order(
            head in 0u64..1024,
            runs in proptest::collection::vec((0u64..1 << 40, 1u32..700), 1..5),
            slot in 0usize..2,
        ) {
            let last = runs.len() - 1;
            let segments: Vec<_> = runs.into_iter().enumerate().map(|(i, (pfn, pages))| {
                let inset = if i == 0 { 4 * head as u32 } else { 0 };
                let cut = if i == last { ((pages * 4096 - inset) / 2) & !3 } else { 0 };
                Segment {
                    address: PhysAddr(pfn * PAGE_SIZE + u64::from(inset)),
                    bytes: pages * 4096 - inset - cut,
                }
            }).collect();
            let bytes: u32 = segments.iter().map(|s| s.bytes).sum();
            let machine = FakeMachine::new();
            let stride = list_bytes(bytes);
            let mut lists = DmaBuffer::allocate(machine, 3 * stride).unwrap();
            let guard = 0x6472_6175_675f_5f5fu64;
            let past = (slot + 1) * stride;
            lists.write(past, guard);

            let prps = build(&segments, &mut lists, slot * stride);

            let found = merged(follow_prps(machine, prps.prp1, prps.prp2, bytes.into()));
            let wanted = merged(segments.iter().map(|s| (s.address.0, s.bytes.into())));
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(lists.read::<u64>(past), guard, "the list outgrew its place");
        }
    }
}
