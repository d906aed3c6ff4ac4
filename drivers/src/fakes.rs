//! A machine for tests on the host: memory, a clock that only moves when it is
//! read, and configuration space in a table.

use crate::platform::{DmaMemory, Exhausted, Platform};
use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::{PAGE_SIZE, PhysAddr};
use std::collections::BTreeMap;

/// Where the fake memory lies: above 4 GiB, so that no upper half is forgotten.
pub const RAM_START: PhysAddr = PhysAddr(0x2_4000_0000);
const RAM_BYTES: usize = 64 << 20;
const PAGE: usize = PAGE_SIZE as usize;

/// A machine; leaked, because platforms live for ever.
pub struct FakeMachine {
    ram: *mut u8,
    used: Cell<usize>,
    dma_limit: Cell<usize>,
    dma_used: Cell<usize>,
    now_us: Cell<u64>,
    tick_us: Cell<u64>,
    end_us: Cell<u64>,
    functions: RefCell<BTreeMap<Key, Vec<u32>>>,
    mmio: RefCell<BTreeMap<u64, NonNull<u8>>>,
}

/// A [`PciAddress`] that can be ordered.
type Key = (u16, u8, u8, u8);

fn key(address: PciAddress) -> Key {
    (address.segment, address.bus, address.device, address.function)
}

/// The address of a function on segment 0.
pub const fn at(bus: u8, device: u8, function: u8) -> PciAddress {
    PciAddress { segment: 0, bus, device, function, reserved: [0; 3] }
}

impl FakeMachine {
    /// A machine with zeroed memory and nothing on PCI.
    pub fn new() -> &'static Self {
        // Without an alignment to ask for, zeroed memory costs nothing until it
        // is touched.
        let layout = std::alloc::Layout::array::<u64>((RAM_BYTES + PAGE) / 8).unwrap();
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!memory.is_null());
        // SAFETY: there is a page more than the memory needs.
        let ram = unsafe { memory.add(memory.align_offset(PAGE)) };
        Box::leak(Box::new(Self {
            ram,
            used: Cell::new(0),
            dma_limit: Cell::new(usize::MAX),
            dma_used: Cell::new(0),
            now_us: Cell::new(1_000_000),
            tick_us: Cell::new(1),
            end_us: Cell::new(u64::MAX),
            functions: RefCell::default(),
            mmio: RefCell::default(),
        }))
    }

    /// Makes the clock go on by `us` each time somebody looks.
    pub fn set_tick(&self, us: u64) {
        self.tick_us.set(us);
    }

    /// The time, without looking: it does not go on.
    pub fn clock_us(&self) -> u64 {
        self.now_us.get()
    }

    /// Fails the test whose driver still waits after `us` from now.
    pub fn limit_time(&self, us: u64) {
        self.end_us.set(self.now_us.get() + us);
    }

    /// Takes all memory back, and makes it zero: a machine for the next case.
    /// No driver may be alive.
    pub fn rewind(&self) {
        // SAFETY: all of it is inside the allocation.
        unsafe { self.ram.write_bytes(0, self.used.get()) };
        self.used.set(0);
        self.dma_used.set(0);
        self.tick_us.set(1);
        self.functions.borrow_mut().clear();
    }

    /// Where the processor finds memory that was taken.
    pub fn pointer(&self, address: PhysAddr, bytes: usize) -> NonNull<u8> {
        NonNull::new(self.place(address, bytes)).expect("the allocation is not at 0")
    }

    /// Lets time pass.
    pub fn advance(&self, us: u64) {
        self.now_us.set(self.now_us.get() + us);
    }

    /// Lets [`Platform::dma_alloc`] hand out at most `bytes` bytes in all.
    pub fn limit_dma(&self, bytes: usize) {
        self.dma_limit.set(bytes);
    }

    /// How many bytes [`Platform::dma_alloc`] has handed out.
    pub fn dma_used(&self) -> usize {
        self.dma_used.get()
    }

    /// Takes pages of memory as the old kernel would have them.
    pub fn pages(&self, pages: usize) -> PhysAddr {
        let offset = self.used.get();
        assert!(offset + pages * PAGE <= RAM_BYTES, "the fake machine's memory is full");
        self.used.set(offset + pages * PAGE);
        PhysAddr(RAM_START.0 + offset as u64)
    }

    /// Copies memory out, as a device or the old kernel would see it.
    pub fn read(&self, address: PhysAddr, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        // SAFETY: `place` checked the range; `out` is as long.
        unsafe { self.place(address, bytes).copy_to_nonoverlapping(out.as_mut_ptr(), bytes) };
        out
    }

    /// Copies all memory out that was taken.
    pub fn all_memory(&self) -> Vec<u8> {
        self.read(RAM_START, self.used.get())
    }

    /// Copies bytes into memory, as a device or the old kernel would.
    pub fn write(&self, address: PhysAddr, bytes: &[u8]) {
        let place = self.place(address, bytes.len());
        // SAFETY: `place` checked the range.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn place(&self, address: PhysAddr, bytes: usize) -> *mut u8 {
        let offset = address.0.checked_sub(RAM_START.0).map(|offset| offset as usize);
        let inside = offset.is_some_and(|offset| offset + bytes <= self.used.get());
        assert!(inside, "a device reached {bytes} bytes at {address}: not memory of anyone's");
        // SAFETY: the offset is inside the allocation.
        unsafe { self.ram.add(offset.unwrap_or(0)) }
    }

    /// Adds a function with these identifiers, class codes (base, sub,
    /// interface) and header type (0x80: one of several).
    pub fn add_function(
        &self,
        address: PciAddress,
        (vendor, device): (u16, u16),
        (base, sub, interface): (u8, u8, u8),
        header_type: u8,
    ) {
        let mut space = vec![0; 1024];
        space[0] = u32::from(device) << 16 | u32::from(vendor);
        space[2] = u32::from_be_bytes([base, sub, interface, 0]);
        space[3] = u32::from(header_type) << 16;
        self.functions.borrow_mut().insert(key(address), space);
    }

    /// Adds a bridge on whose far side the buses `secondary` to `subordinate`
    /// are.
    pub fn add_bridge(&self, address: PciAddress, secondary: u8, subordinate: u8) {
        self.add_function(address, (0x1b36, 0x000c), (6, 4, 0), 1);
        let numbers = u32::from_le_bytes([address.bus, secondary, subordinate, 0]);
        self.set_config(address, 0x18, numbers);
    }

    /// Sets a word of a function's configuration space, without side effects.
    pub fn set_config(&self, address: PciAddress, offset: u16, value: u32) {
        let mut functions = self.functions.borrow_mut();
        let space = functions.get_mut(&key(address)).expect("no such function");
        space[usize::from(offset / 4)] = value;
    }

    /// Lets registers be mapped at an address.
    #[cfg(test)]
    pub fn add_mmio(&self, start: PhysAddr, registers: &crate::registers::Mmio) {
        let first = registers.register(0).expect("there is no register");
        self.mmio.borrow_mut().insert(start.0, first);
    }

    /// Whether the function may reach memory.
    pub fn is_bus_master(&self, address: PciAddress) -> bool {
        self.pci_read(address, 4) & 1 << 2 != 0
    }
}

/// The power management capability that a test's function has at this offset,
/// if it has one there.
pub const POWER_CAPABILITY: u16 = 0x40;

// SAFETY: memory is handed out once and never taken back; registers are memory
// that is never given back.
unsafe impl Platform for FakeMachine {
    fn dma_alloc(&self, pages: usize) -> Result<DmaMemory, Exhausted> {
        let bytes = pages * PAGE;
        if self.dma_used.get() + bytes > self.dma_limit.get() {
            return Err(Exhausted);
        }
        self.dma_used.set(self.dma_used.get() + bytes);
        let address = self.pages(pages);
        let pointer = NonNull::new(self.place(address, bytes)).ok_or(Exhausted)?;
        Ok(DmaMemory { pointer, address, bytes })
    }

    fn map_mmio(&self, start: PhysAddr, _bytes: u64) -> Result<NonNull<u8>, Exhausted> {
        self.mmio.borrow().get(&start.0).copied().ok_or(Exhausted)
    }

    fn now_us(&self) -> u64 {
        self.advance(self.tick_us.get());
        assert!(self.now_us.get() < self.end_us.get(), "something waits without a deadline");
        self.now_us.get()
    }

    fn pci_read(&self, function: PciAddress, offset: u16) -> u32 {
        let functions = self.functions.borrow();
        functions.get(&key(function)).map_or(u32::MAX, |space| space[usize::from(offset / 4)])
    }

    fn pci_segment(&self, index: usize) -> Option<u16> {
        let functions = self.functions.borrow();
        let mut segments: Vec<u16> = functions.keys().map(|key| key.0).collect();
        segments.dedup();
        segments.get(index).copied()
    }

    fn pci_write(&self, function: PciAddress, offset: u16, value: u32) {
        let mut functions = self.functions.borrow_mut();
        let Some(space) = functions.get_mut(&key(function)) else {
            return;
        };
        let power = usize::from(POWER_CAPABILITY / 4);
        let word = usize::from(offset / 4);
        let has_power = space[power] & 0xff == 1;
        if has_power && word == power + 1 && space[word] & 3 != 0 && value & 3 == 0 {
            // A reset on the way from D3: the header is lost.
            space[1] &= 0xffff_0000;
            space[4..16].fill(0);
        }
        match word {
            // Ones clear the status, and do not set it.
            1 => space[1] = value & 0xffff | space[1] & 0xffff_0000 & !value,
            _ => space[word] = value,
        }
    }

    unsafe fn dma_release_all(&self) {}
}
