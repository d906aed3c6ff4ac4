//! Memory that a driver shares with its device.

use crate::platform::{DmaMemory, Exhausted, Platform};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};
use dormouse_handoff::units::{PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A driver's own piece of DMA memory.
///
/// The device may change it at any moment, so no reference to it is ever made:
/// values are copied in and out. What is copied out is what a device wrote,
/// and has to be judged as such.
///
/// An offset out of range is a driver's bug and panics, as an index would.
pub struct DmaBuffer {
    memory: DmaMemory,
}

impl DmaBuffer {
    /// Most bytes of a value that is read at once, which is an instruction for each
    /// number in it: thousands for a page of them.
    const SMALL: usize = 64;

    /// Allocates whole zeroed pages for at least `bytes` bytes.
    pub fn allocate(platform: &dyn Platform, bytes: usize) -> Result<Self, Exhausted> {
        let pages = bytes.div_ceil(PAGE_SIZE as usize);
        Ok(Self { memory: platform.dma_alloc(pages)? })
    }

    /// Where the device finds the byte at `offset`.
    pub fn address(&self, offset: usize) -> PhysAddr {
        PhysAddr(self.memory.address.0 + offset as u64)
    }

    /// How many bytes there are: whole pages.
    pub fn bytes(&self) -> usize {
        self.memory.bytes
    }

    /// Copies a value out.
    pub fn read<T: FromBytes>(&self, offset: usize) -> T {
        let place = self.place::<T>(offset);
        if size_of::<T>() <= Self::SMALL {
            // SAFETY: `place` checked range and alignment; the platform promises
            // that the memory is valid and ours; any bytes make a `T`.
            return unsafe { place.read_volatile() };
        }
        let mut value = MaybeUninit::<T>::uninit();
        for at in 0..size_of::<T>() {
            // SAFETY: inside both, as above; bytes need no alignment.
            unsafe {
                let byte = place.cast::<u8>().add(at).read_volatile();
                value.as_mut_ptr().cast::<u8>().add(at).write(byte);
            }
        }
        // SAFETY: every byte has been written, and any bytes make a `T`.
        unsafe { value.assume_init() }
    }

    /// Copies a value in.
    pub fn write<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) {
        let place = self.place::<T>(offset);
        // SAFETY: `place` checked range and alignment; the platform promises
        // that the memory is valid and ours.
        unsafe { place.write_volatile(value) };
    }

    /// Reads a 32-bit word; what is read after it is at least as new.
    pub fn load_acquire(&self, offset: usize) -> u32 {
        let place = self.place::<u32>(offset);
        // SAFETY: `place` checked range and alignment, and an `AtomicU32` is
        // laid out as a `u32`; no other reference to this memory exists.
        unsafe { AtomicU32::from_ptr(place) }.load(Ordering::Acquire)
    }

    /// Fills everything with zeros.
    pub fn clear(&mut self) {
        // SAFETY: the memory is valid for writes of that many bytes, and ours.
        unsafe { self.memory.pointer.write_bytes(0, self.memory.bytes) };
    }

    fn place<T>(&self, offset: usize) -> *mut T {
        let end = offset.checked_add(size_of::<T>());
        assert!(
            end.is_some_and(|end| end <= self.memory.bytes)
                && offset.is_multiple_of(align_of::<T>()),
            "DMA memory of {} bytes has no {} bytes at {offset}",
            self.memory.bytes,
            size_of::<T>(),
        );
        // SAFETY: the offset is inside the allocation.
        unsafe { self.memory.pointer.byte_add(offset) }.cast().as_ptr()
    }
}
