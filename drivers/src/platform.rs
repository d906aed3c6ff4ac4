//! What a driver needs of the machine around it.

use core::ptr::NonNull;
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::PhysAddr;

/// Physically contiguous, zeroed, page-aligned memory that a device may read
/// and write.
#[derive(Clone, Copy, Debug)]
pub struct DmaMemory {
    /// Where the processor finds it.
    pub pointer: NonNull<u8>,
    /// Where the device finds it.
    pub address: PhysAddr,
    /// How many bytes: whole pages.
    pub bytes: usize,
}

/// The machine has no room left: for DMA memory, or for a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl core::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no room left in the window for device memory")
    }
}

/// The machine as a driver sees it.
///
/// # Safety
///
/// An implementer guarantees that
/// * memory from [`Platform::dma_alloc`] is valid for reads and writes, zeroed,
///   page-aligned, used by nobody else, and stays so until
///   [`Platform::dma_release_all`];
/// * a pointer from [`Platform::map_mmio`] is valid for volatile accesses to
///   all of the range asked for, uncached, for the same time;
/// * DMA memory is coherent with the processor's caches (true of x86).
pub unsafe trait Platform {
    /// Allocates `pages` contiguous pages of DMA memory.
    fn dma_alloc(&self, pages: usize) -> Result<DmaMemory, Exhausted>;

    /// Maps device registers. `start` need not be page-aligned.
    fn map_mmio(&self, start: PhysAddr, bytes: u64) -> Result<NonNull<u8>, Exhausted>;

    /// Microseconds since some fixed moment; never goes back.
    fn now_us(&self) -> u64;

    /// Reads a 32-bit register of a function's configuration space; all ones
    /// where there is no such function or register. `offset` is a multiple
    /// of 4 below 4096.
    fn pci_read(&self, function: PciAddress, offset: u16) -> u32;

    /// Writes a 32-bit register of a function's configuration space.
    fn pci_write(&self, function: PciAddress, offset: u16, value: u32);

    /// The number of the `index`th PCI segment; `None` behind the last one.
    fn pci_segment(&self, index: usize) -> Option<u16> {
        (index == 0).then_some(0)
    }

    /// Takes back all DMA memory and all mappings.
    ///
    /// # Safety
    ///
    /// No driver is alive, and no device uses the memory any more.
    unsafe fn dma_release_all(&self);
}
