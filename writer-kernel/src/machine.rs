//! The machine as the drivers see it: DMA memory, registers, PCI, time.

use crate::arch::paging::AddressSpace;
use crate::arch::{time, window};
use crate::pci::ConfigSpace;
use core::ptr::{NonNull, addr_of_mut};
use dormouse_drivers::platform::{DmaMemory, Exhausted, Platform};
use dormouse_handoff::plan::{Ecam, PciAddress};
use dormouse_handoff::units::{PAGE_SIZE, PhysAddr};
use spin::Mutex;

/// Bytes of the window that devices may use: queues, PRP lists, table buffers.
const DMA_BYTES: usize = 720 << 10;

#[repr(C, align(4096))]
struct DmaArena([u8; DMA_BYTES]);

// Nobody uses it while the program moves.
#[unsafe(link_section = ".bss.anew")]
static mut DMA: DmaArena = DmaArena([0; DMA_BYTES]);

/// How much of the memory for devices is in use.
#[derive(Clone, Copy)]
pub struct DmaMark(usize);

/// The one machine there is.
pub struct Machine {
    /// The page tables in use, once there are any of our own.
    space: Mutex<Option<AddressSpace>>,
    /// Bytes of the DMA arena that were handed out.
    dma_used: Mutex<usize>,
    /// The way to PCI's configuration space.
    pub pci: ConfigSpace,
}

/// The one machine there is.
pub static MACHINE: Machine =
    Machine { space: Mutex::new(None), dma_used: Mutex::new(0), pci: ConfigSpace::new() };

impl Machine {
    /// Hands over the page tables that are in use.
    pub fn set_space(&self, space: AddressSpace) {
        *self.space.lock() = Some(space);
    }

    /// Reaches PCI's configuration space by memory where these regions have it,
    /// in the page tables that are in use.
    pub fn use_ecam(&self, regions: &[Ecam]) {
        self.with_space(|space| self.pci.use_memory(space, regions));
    }

    /// How much memory for devices is in use now.
    pub fn dma_mark(&self) -> DmaMark {
        DmaMark(*self.dma_used.lock())
    }

    /// Takes back what memory for devices was handed out since.
    ///
    /// # Safety
    ///
    /// No device and no driver uses that memory any more, nor anybody else.
    pub unsafe fn dma_release_to(&self, mark: DmaMark) {
        let mut used = self.dma_used.lock();
        *used = mark.0.min(*used);
    }

    /// Works on the page tables in use; `None` before there are any.
    pub fn with_space<T>(&self, f: impl FnOnce(&mut AddressSpace) -> T) -> Option<T> {
        self.space.lock().as_mut().map(f)
    }
}

// SAFETY: the arena is a static of the window, handed out piece by piece and
// zeroed; `map_device` maps uncached; x86 keeps DMA and caches coherent.
unsafe impl Platform for Machine {
    fn dma_alloc(&self, pages: usize) -> Result<DmaMemory, Exhausted> {
        let bytes = pages * PAGE_SIZE as usize;
        let mut used = self.dma_used.lock();
        if bytes > DMA_BYTES - *used {
            return Err(Exhausted);
        }
        // SAFETY: in bounds; this piece is handed out for the first time since
        // the last release.
        let pointer = unsafe { addr_of_mut!(DMA.0).cast::<u8>().add(*used) };
        // SAFETY: as above.
        unsafe { pointer.write_bytes(0, bytes) };
        *used += bytes;
        let address = window::physical(pointer);
        Ok(DmaMemory { pointer: NonNull::new(pointer).ok_or(Exhausted)?, address, bytes })
    }

    fn map_mmio(&self, start: PhysAddr, bytes: u64) -> Result<NonNull<u8>, Exhausted> {
        self.with_space(|space| space.map_device(start, bytes)).ok_or(Exhausted)?.map_err(|error| {
            log::error!("cannot map device registers at {start}: {error}");
            Exhausted
        })
    }

    fn now_us(&self) -> u64 {
        time::now_us()
    }

    fn pci_read(&self, function: PciAddress, offset: u16) -> u32 {
        self.pci.read(function, offset)
    }

    fn pci_write(&self, function: PciAddress, offset: u16, value: u32) {
        self.pci.write(function, offset, value);
    }

    fn pci_segment(&self, index: usize) -> Option<u16> {
        self.pci.segment(index)
    }

    unsafe fn dma_release_all(&self) {
        *self.dma_used.lock() = 0;
    }
}
