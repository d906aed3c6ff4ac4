//! Memory as a loader left it.

use crate::arch::paging::{AddressSpace, direct};
use core::slice;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};
use zerocopy::FromBytes;

/// The longest piece that is looked at, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The longest command line that is looked at, in bytes.
const MAX_COMMAND_LINE: u64 = 1024;

/// Physical memory that a loader filled, for this program's first look around.
pub struct Left<'a> {
    space: &'a mut AddressSpace,
}

impl<'a> Left<'a> {
    /// # Safety
    ///
    /// As long as anything of it is in use, nothing is written to physical
    /// memory outside the window.
    pub unsafe fn new(space: &'a mut AddressSpace) -> Self {
        Self { space }
    }

    /// The bytes at a physical address; `None` where a loader cannot have put
    /// anything, or more than is reasonable.
    pub fn bytes(&mut self, address: u64, length: u64) -> Option<&'static [u8]> {
        if address == 0 || length > MAX_BYTES {
            return None;
        }
        let first = PhysAddr(address);
        let pages = PageRange { start: Pfn::containing(first), pages: length / PAGE_SIZE + 2 };
        self.space.map_ram(pages).ok()?;
        // SAFETY: mapped; nothing writes there, as `new`'s caller promised.
        Some(unsafe { slice::from_raw_parts(direct(first), length as usize) })
    }

    /// A structure at a physical address.
    pub fn read<T: FromBytes>(&mut self, address: u64) -> Option<T> {
        T::read_from_bytes(self.bytes(address, size_of::<T>() as u64)?).ok()
    }

    /// A command line, which ends with a zero byte or nowhere.
    pub fn command_line(&mut self, address: u64) -> Option<&'static [u8]> {
        self.bytes(address, MAX_COMMAND_LINE)
    }
}

/// The structures of one size that `bytes` has, from its start on. A rest that
/// is too short is left out.
pub fn each<T: FromBytes>(bytes: &[u8], stride: usize) -> impl Iterator<Item = T> {
    // `chunks_exact` has no size of 0; a stride that small fits no structure.
    let chunks = bytes.chunks_exact(stride.max(1));
    chunks.filter_map(|chunk| Some(T::read_from_prefix(chunk).ok()?.0))
}
