//! Device registers, and the one place where they are touched.
//!
//! A driver is generic over [`Registers`], so that on the host a scripted
//! device takes the place of [`Mmio`].

use crate::last_resort;
use crate::platform::{Exhausted, Platform};
use core::ptr::NonNull;
use dormouse_handoff::units::PhysAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A block of device registers.
pub trait Registers {
    /// Reads the 32-bit register at `offset` bytes, a multiple of 4; all ones
    /// outside the block, as from a device that is gone.
    fn read32(&self, offset: usize) -> u32;

    /// Writes the 32-bit register at `offset` bytes, a multiple of 4; outside
    /// the block nothing happens.
    fn write32(&self, offset: usize, value: u32);

    /// Reads a 64-bit register in two halves, the low one first.
    ///
    /// NVMe (base specification 2.0, §3.1) and AHCI (1.3.1, §3) allow halves,
    /// and not every controller bears anything else.
    fn read64(&self, offset: usize) -> u64 {
        u64::from(self.read32(offset)) | u64::from(self.read32(offset + 4)) << 32
    }

    /// Writes a 64-bit register in two halves, the low one first.
    fn write64(&self, offset: usize, value: u64) {
        self.write32(offset, value as u32);
        self.write32(offset + 4, (value >> 32) as u32);
    }
}

impl<R: Registers + ?Sized> Registers for &R {
    fn read32(&self, offset: usize) -> u32 {
        (**self).read32(offset)
    }

    fn write32(&self, offset: usize, value: u32) {
        (**self).write32(offset, value);
    }
}

#[cfg(any(test, feature = "model"))]
impl<R: Registers + ?Sized> Registers for std::rc::Rc<R> {
    fn read32(&self, offset: usize) -> u32 {
        (**self).read32(offset)
    }

    fn write32(&self, offset: usize, value: u32) {
        (**self).write32(offset, value);
    }
}

/// Registers in physical memory.
pub struct Mmio {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mmio {
    /// Maps `bytes` bytes of registers from `start`, a multiple of 4.
    pub fn map(platform: &dyn Platform, start: PhysAddr, bytes: usize) -> Result<Self, Exhausted> {
        let base = platform.map_mmio(start, bytes as u64)?;
        Ok(Self { base, bytes })
    }

    /// Reads a register of `T`'s own width, where an interface asks for that
    /// (virtio 1.2, §4.1.3.1); `None` outside the block.
    pub fn read<T: FromBytes>(&self, offset: usize) -> Option<T> {
        // SAFETY: the register is inside a mapping that the platform promises
        // to be valid for volatile accesses, and aligned; any bytes make a `T`.
        self.register(offset).map(|register| unsafe { register.read_volatile() })
    }

    /// Writes a register of `T`'s own width; outside the block nothing happens.
    pub fn write<T: IntoBytes + Immutable>(&self, offset: usize, value: T) {
        if let Some(register) = self.register(offset) {
            // SAFETY: as for reading.
            unsafe { register.write_volatile(value) };
        }
    }

    /// Registers that are plain memory, which is never given back.
    #[cfg(test)]
    pub fn of_memory(bytes: usize) -> Self {
        let memory = Box::leak(vec![0u64; bytes.div_ceil(8)].into_boxed_slice());
        Self { base: NonNull::from(memory).cast(), bytes }
    }

    /// Where the register at `offset` is mapped; `None` outside the block.
    pub(crate) fn register<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let inside = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.bytes);
        let aligned = offset.is_multiple_of(align_of::<T>());
        debug_assert!(inside && aligned, "register {offset:#x}");
        if !inside || !aligned {
            return None;
        }
        // SAFETY: the offset is within the mapping.
        Some(unsafe { self.base.byte_add(offset) }.cast())
    }
}

impl Drop for Mmio {
    fn drop(&mut self) {
        last_resort::disarm(self.base, self.bytes);
    }
}

impl Registers for Mmio {
    fn read32(&self, offset: usize) -> u32 {
        self.read(offset).unwrap_or(u32::MAX)
    }

    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }
}
