//! Other systems that sleep: where two of them do, the reader wakes neither.

use super::device::Device;
use super::direct::{Direct, Page};
use super::place;
use crate::system::System;
use dormouse_handoff::image::{Header, Kind, State};
use std::path::PathBuf;

/// The disks and partitions, but for the one with the number `target`, on which the
/// reader would find a sleeping system.
pub fn elsewhere(system: &System, target: Option<(u32, u32)>) -> Vec<PathBuf> {
    let sleeps = |path: &PathBuf| {
        // What the reader has no driver for, it does not find.
        let device = Device::at(system, path).ok();
        let device = device.filter(|device| Some(device.number) != target);
        device.is_some_and(|_| {
            Direct::reading(&system.path(path))
                .and_then(|disk| disk.read(0))
                .is_ok_and(|page| is_asleep(&page))
        })
    };
    place::nodes(system).filter(sleeps).collect()
}

/// Whether a sleeping system's image begins with this page.
fn is_asleep(page: &Page) -> bool {
    Header::parse(&page.0)
        .is_ok_and(|header| header.kind() == Kind::Once && header.state() == State::Valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn only_a_valid_image_that_is_woken_once_is_a_sleeping_system() {
        let found = |kind, state| {
            let header = Header::begin([1; 16], kind, 512, 0, 100).with_state(state);
            let mut page = Page::zero();
            page.0[..size_of::<Header>()].copy_from_slice(header.as_bytes());
            is_asleep(&page)
        };
        assert!(found(Kind::Once, State::Valid));
        assert!(!found(Kind::Once, State::Consumed) && !found(Kind::Once, State::Writing));
        assert!(!found(Kind::Reusable, State::Valid) && !found(Kind::Inspection, State::Inert));
        assert!(!is_asleep(&Page::zero()));
    }
}
