//! Virtio over registers in memory: version 2, and version 1, the legacy one
//! (virtio 1.2, §4.2).
//!
//! It stands in for the `MmioTransport` of `virtio-drivers`, which panics on odd
//! queue addresses and takes a pointer where this takes a bounded block.

use super::queue::LEGACY_ALIGNMENT;
use crate::last_resort::{self, Reset, Width};
use crate::platform::Platform;
use crate::queue::Cause;
use crate::registers::{Mmio, Registers};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Offsets of the registers (§4.2.2, §4.2.4).
mod at {
    pub const MAGIC: usize = 0x000;
    pub const VERSION: usize = 0x004;
    pub const DEVICE_ID: usize = 0x008;
    pub const DEVICE_FEATURES: usize = 0x010;
    pub const DEVICE_FEATURES_SELECT: usize = 0x014;
    pub const DRIVER_FEATURES: usize = 0x020;
    pub const DRIVER_FEATURES_SELECT: usize = 0x024;
    pub const GUEST_PAGE_SIZE: usize = 0x028;
    pub const QUEUE_SELECT: usize = 0x030;
    pub const QUEUE_SIZE_MAX: usize = 0x034;
    pub const QUEUE_SIZE: usize = 0x038;
    pub const QUEUE_ALIGNMENT: usize = 0x03c;
    pub const QUEUE_PAGE: usize = 0x040;
    pub const QUEUE_READY: usize = 0x044;
    pub const QUEUE_NOTIFY: usize = 0x050;
    pub const STATUS: usize = 0x070;
    pub const QUEUE_DESCRIPTORS: usize = 0x080;
    pub const QUEUE_DRIVER: usize = 0x090;
    pub const QUEUE_DEVICE: usize = 0x0a0;
    pub const CONFIG_GENERATION: usize = 0x0fc;
    pub const CONFIG: usize = 0x100;
}

/// Bytes of registers, the device's own configuration included, as QEMU has
/// them one after the other.
const BYTES: usize = 0x200;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const LEGACY: u32 = 1;
const MODERN: u32 = 2;
const NO_DEVICE: u32 = 0;
const BLOCK_DEVICE: u32 = 2;

/// A reset without the driver (§4.2.3.1).
const RESET: Reset = Reset {
    register: at::STATUS,
    value: 0,
    answer: at::STATUS,
    busy: u32::MAX,
    width: Width::Word,
};

/// The registers of a device.
pub struct VirtioMmio<R = Mmio> {
    registers: R,
    legacy: bool,
}

impl VirtioMmio {
    /// Maps the registers at `start` and makes sure that they are a disk's.
    pub fn find(
        platform: &dyn Platform,
        start: dormouse_handoff::units::PhysAddr,
    ) -> Result<Self, Cause> {
        let found = Self::any(platform, start)?;
        if !found.is_disk() {
            return Err(Cause::Unsupported("a virtio device that is no disk"));
        }
        last_resort::arm(&found.registers, RESET);
        Ok(found)
    }

    /// The same for any device.
    pub fn any(
        platform: &dyn Platform,
        start: dormouse_handoff::units::PhysAddr,
    ) -> Result<Self, Cause> {
        Self::new(Mmio::map(platform, start, BYTES).map_err(|_| Cause::Exhausted)?)
    }
}

impl<R: Registers> VirtioMmio<R> {
    fn new(registers: R) -> Result<Self, Cause> {
        if registers.read32(at::MAGIC) != MAGIC {
            return Err(Cause::Dead("there are no registers of virtio-mmio"));
        }
        let legacy = match registers.read32(at::VERSION) {
            LEGACY => true,
            MODERN => false,
            _ => return Err(Cause::Unsupported("a version of virtio-mmio other than 1 and 2")),
        };
        if registers.read32(at::DEVICE_ID) == NO_DEVICE {
            return Err(Cause::Dead("there is no device behind these registers"));
        }
        Ok(Self { registers, legacy })
    }

    /// Whether it is a disk's.
    pub fn is_disk(&self) -> bool {
        self.registers.read32(at::DEVICE_ID) == BLOCK_DEVICE
    }

    fn select(&self, queue: u16) {
        self.registers.write32(at::QUEUE_SELECT, queue.into());
    }
}

impl<R: Registers> Transport for VirtioMmio<R> {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        let half = |index: u32| {
            self.registers.write32(at::DEVICE_FEATURES_SELECT, index);
            u64::from(self.registers.read32(at::DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        for (index, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.registers.write32(at::DRIVER_FEATURES_SELECT, index);
            self.registers.write32(at::DRIVER_FEATURES, half);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select(queue);
        self.registers.read32(at::QUEUE_SIZE_MAX)
    }

    fn notify(&mut self, queue: u16) {
        self.registers.write32(at::QUEUE_NOTIFY, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        // The status is a byte (§2.1); a device that is gone reads as all ones.
        DeviceStatus::from_bits_retain(self.registers.read32(at::STATUS) & 0xff)
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.registers.write32(at::STATUS, status.bits());
    }

    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        if self.legacy {
            self.registers.write32(at::GUEST_PAGE_SIZE, guest_page_size);
        }
    }

    fn requires_legacy_layout(&self) -> bool {
        self.legacy
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.select(queue);
        self.registers.write32(at::QUEUE_SIZE, size);
        if self.legacy {
            // The window, and the queue in it, lie below 2^44.
            let page = descriptors / LEGACY_ALIGNMENT as u64;
            self.registers.write32(at::QUEUE_ALIGNMENT, LEGACY_ALIGNMENT as u32);
            self.registers.write32(at::QUEUE_PAGE, page as u32);
            return;
        }
        self.registers.write64(at::QUEUE_DESCRIPTORS, descriptors);
        self.registers.write64(at::QUEUE_DRIVER, driver_area);
        self.registers.write64(at::QUEUE_DEVICE, device_area);
        self.registers.write32(at::QUEUE_READY, 1);
    }

    /// A queue is given up by resetting the device.
    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        let register = if self.legacy { at::QUEUE_PAGE } else { at::QUEUE_READY };
        self.registers.read32(register) != 0
    }

    /// The device was told to send none.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    /// The legacy interface has none.
    fn read_config_generation(&self) -> u32 {
        if self.legacy { 0 } else { self.registers.read32(at::CONFIG_GENERATION) }
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        // What a driver of disks reads lies within aligned words.
        let word = at::CONFIG + offset / 4 * 4;
        let inside = offset % 4 + size_of::<T>() <= 4;
        if !inside || word + 4 > BYTES {
            return Err(Error::ConfigSpaceTooSmall);
        }
        let bytes = self.registers.read32(word).to_le_bytes();
        T::read_from_prefix(&bytes[offset % 4..])
            .map(|(value, _)| value)
            .map_err(|_| Error::ConfigSpaceTooSmall)
    }

    /// Nothing in a disk's configuration is written.
    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _offset: usize,
        _value: T,
    ) -> Result<(), Error> {
        Err(Error::Unsupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Fake(RefCell<[u32; BYTES / 4]>);

    impl Fake {
        fn new(version: u32, device: u32) -> Self {
            let mut words = [0; BYTES / 4];
            [words[0], words[1], words[2]] = [MAGIC, version, device];
            Self(RefCell::new(words))
        }
    }

    impl Registers for Fake {
        fn read32(&self, offset: usize) -> u32 {
            self.0.borrow()[offset / 4]
        }

        fn write32(&self, offset: usize, value: u32) {
            self.0.borrow_mut()[offset / 4] = value;
        }
    }

    #[test]
    fn only_a_disk_of_a_known_version_is_taken() {
        assert!(VirtioMmio::new(Fake::new(1, 2)).is_ok_and(|found| found.is_disk()));
        assert!(VirtioMmio::new(Fake::new(2, 2)).is_ok_and(|found| found.is_disk()));
        assert!(matches!(VirtioMmio::new(Fake::new(3, 2)), Err(Cause::Unsupported(_))));
        assert!(VirtioMmio::new(Fake::new(2, 1)).is_ok_and(|found| !found.is_disk()));
        assert!(matches!(VirtioMmio::new(Fake::new(2, 0)), Err(Cause::Dead(_))));
        let nothing = Fake::new(2, 2);
        nothing.write32(at::MAGIC, u32::MAX);
        assert!(matches!(VirtioMmio::new(nothing), Err(Cause::Dead(_))));
    }

    #[test]
    fn each_version_is_told_of_its_queue_in_its_own_way() {
        let mut legacy = VirtioMmio::new(Fake::new(1, 2)).unwrap();
        legacy.queue_set(0, 64, 0x12_3000, 0x12_3400, 0x12_4000);
        assert_eq!(legacy.registers.read32(at::QUEUE_PAGE), 0x123);
        assert_eq!(legacy.registers.read32(at::QUEUE_READY), 0);
        let mut modern = VirtioMmio::new(Fake::new(2, 2)).unwrap();
        modern.queue_set(0, 64, 0x1_0012_3000, 0x1_0012_3400, 0x1_0012_4000);
        assert_eq!(modern.registers.read64(at::QUEUE_DEVICE), 0x1_0012_4000);
        assert_eq!(modern.registers.read32(at::QUEUE_READY), 1);
        assert_eq!(modern.registers.read32(at::QUEUE_PAGE), 0);
    }

    #[test]
    fn the_configuration_is_read_within_its_words_and_bounds() {
        let fake = Fake::new(2, 2);
        fake.write32(at::CONFIG + 32, 0x0403_0201);
        let modern = VirtioMmio::new(fake).unwrap();
        assert_eq!(modern.read_config_space::<u8>(33), Ok(2));
        assert_eq!(modern.read_config_space::<u32>(32), Ok(0x0403_0201));
        assert!(modern.read_config_space::<u32>(34).is_err());
        assert!(modern.read_config_space::<u32>(BYTES).is_err());
    }
}
