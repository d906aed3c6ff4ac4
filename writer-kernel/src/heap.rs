//! The heap: a fixed piece of the window, for what is allocated once.

use core::mem::MaybeUninit;
use core::ptr::addr_of_mut;
use linked_list_allocator::LockedHeap;

/// Bytes of heap: the reader's chunk slots are the largest part.
const BYTES: usize = 192 << 10;

/// In words, so that it is aligned for whatever is allocated.
static mut ARENA: [MaybeUninit<u128>; BYTES / 16] = [MaybeUninit::uninit(); BYTES / 16];

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Makes the heap usable. Call once, before anything allocates.
pub fn init() {
    // SAFETY: called once; the arena is used by nobody else.
    unsafe { HEAP.lock().init(addr_of_mut!(ARENA).cast(), BYTES) };
}
