//! Device registers, and the one place where they are touched.
//!
//! A driver is generic over [`Registers`], so that on the host a scripted
//! device takes the place of [`Mmio`].

use crate::platform::{Exhausted, Platform};
use core::ptr::NonNull;
use dormouse_handoff::units::PhysAddr;

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

    fn register(&self, offset: usize) -> Option<NonNull<u32>> {
        let inside = offset.checked_add(4).is_some_and(|end| end <= self.bytes);
        debug_assert!(inside && offset.is_multiple_of(4), "register {offset:#x}");
        if !inside || !offset.is_multiple_of(4) {
            return None;
        }
        // SAFETY: the offset is within the mapping.
        Some(unsafe { self.base.byte_add(offset) }.cast())
    }
}

impl Registers for Mmio {
    fn read32(&self, offset: usize) -> u32 {
        // SAFETY: the register is inside a mapping that the platform promises
        // to be valid for volatile accesses, and aligned as the mapping is.
        self.register(offset).map_or(u32::MAX, |register| unsafe { register.read_volatile() })
    }

    fn write32(&self, offset: usize, value: u32) {
        if let Some(register) = self.register(offset) {
            // SAFETY: as for reading.
            unsafe { register.write_volatile(value) };
        }
    }
}
