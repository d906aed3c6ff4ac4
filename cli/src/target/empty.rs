//! What makes a device a target that nobody sleeps on.

use dormouse_handoff::image::{Header, Kind, State};
use dormouse_handoff::units::PAGE_SIZE;
use zerocopy::IntoBytes;

/// The first page of a target without an image: a header that says so.
pub fn first_page(id: [u8; 16], block_size: u32, seconds: u64) -> [u8; PAGE_SIZE as usize] {
    let header = Header::begin(id, Kind::Once, block_size, seconds, 0).with_state(State::Discarded);
    let mut page = [0; PAGE_SIZE as usize];
    page[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    page
}
