//! Virtio over PCI, the interface of version 1 (virtio 1.2, §4.1).
//!
//! It stands in for the `PciTransport` of `virtio-drivers`, whose reset and
//! capability walk have no bound, which panics on a doorbell outside its
//! region, and which wants the machine in static functions.

use crate::last_resort::{self, Reset, Width};
use crate::pci::{CapabilityId, Endpoint, capabilities};
use crate::platform::Platform;
use crate::queue::Cause;
use crate::registers::Mmio;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Offsets in a vendor capability (§4.1.4).
mod cap {
    pub const BAR: u16 = 4;
    pub const OFFSET: u16 = 8;
    pub const LENGTH: u16 = 12;
    pub const NOTIFY_MULTIPLIER: u16 = 16;
}

/// Which structure a capability leads to (§4.1.4).
const COMMON_CONFIG: u8 = 1;
const NOTIFY_CONFIG: u8 = 2;
const DEVICE_CONFIG: u8 = 4;

/// Offsets in the common configuration (§4.1.4.3). Fields are accessed at their
/// own width; those of 64 bits in halves.
mod common {
    pub const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub const DEVICE_FEATURE: usize = 0x04;
    pub const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub const DRIVER_FEATURE: usize = 0x0c;
    pub const DEVICE_STATUS: usize = 0x14;
    pub const CONFIG_GENERATION: usize = 0x15;
    pub const QUEUE_SELECT: usize = 0x16;
    pub const QUEUE_SIZE: usize = 0x18;
    pub const QUEUE_ENABLE: usize = 0x1c;
    pub const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub const QUEUE_DESC: usize = 0x20;
    pub const QUEUE_DRIVER: usize = 0x28;
    pub const QUEUE_DEVICE: usize = 0x30;
    pub const BYTES: usize = 0x38;
}

/// Bytes of the device's configuration that are mapped: all that a block
/// device has (§5.2.4).
const DEVICE_CONFIG_BYTES: usize = 64;
/// The one queue of a device without VIRTIO_BLK_F_MQ.
const QUEUE: u16 = 0;

/// A reset without the driver (§4.1.4.3.1).
const RESET: Reset = Reset {
    register: common::DEVICE_STATUS,
    value: 0,
    answer: common::DEVICE_STATUS,
    busy: 0xff,
    width: Width::Byte,
};

/// The registers of a block device on PCI.
pub struct ModernPci {
    common: Mmio,
    device: Mmio,
    device_bytes: usize,
    /// The doorbell of [`QUEUE`].
    doorbell: Mmio,
}

/// Where a structure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Structure {
    bar: usize,
    offset: usize,
    bytes: usize,
}

/// The structures that this driver uses. Interrupts are not among them.
#[derive(Debug, PartialEq, Eq)]
struct Structures {
    common: Structure,
    notify: Structure,
    notify_multiplier: usize,
    device: Structure,
}

impl ModernPci {
    /// Finds and maps the structures of a device that is awake.
    pub fn find(platform: &dyn Platform, endpoint: &Endpoint) -> Result<Self, Cause> {
        let found = Structures::find(platform, endpoint)?;
        if found.common.bytes < common::BYTES {
            return Err(Cause::Protocol("its common configuration is too short"));
        }
        let common = endpoint.map(found.common.bar, found.common.offset, common::BYTES)?;
        let device_bytes = found.device.bytes.min(DEVICE_CONFIG_BYTES);
        let device = endpoint.map(found.device.bar, found.device.offset, device_bytes)?;

        // §4.1.4.4: the doorbell's place is the device's to choose, per queue.
        common.write(common::QUEUE_SELECT, QUEUE);
        let steps = common.read::<u16>(common::QUEUE_NOTIFY_OFF).unwrap_or(u16::MAX);
        let place = usize::from(steps)
            .checked_mul(found.notify_multiplier)
            .filter(|place| place.is_multiple_of(2) && place + 2 <= found.notify.bytes)
            .ok_or(Cause::Protocol("its doorbell is not inside its structure"))?;
        let doorbell = endpoint.map(found.notify.bar, found.notify.offset + place, 2)?;
        last_resort::arm(&common, RESET);
        Ok(Self { common, device, device_bytes, doorbell })
    }

    fn select(&self, queue: u16) {
        self.common.write(common::QUEUE_SELECT, queue);
    }

    fn read_common<T: FromBytes>(&self, offset: usize) -> T {
        self.common.read(offset).unwrap_or_else(T::new_zeroed)
    }

    fn write_address(&self, offset: usize, address: PhysAddr) {
        self.common.write(offset, address as u32);
        self.common.write(offset + 4, (address >> 32) as u32);
    }
}

impl Structures {
    /// Walks the capabilities; the first of each kind counts (§4.1.4.1).
    fn find(platform: &dyn Platform, endpoint: &Endpoint) -> Result<Self, Cause> {
        let address = endpoint.function().address;
        let word = |offset| platform.pci_read(address, offset);
        let (mut common, mut notify, mut device) = (None, None, None);
        for (id, at) in capabilities(platform, address) {
            // The structure's description takes 16 bytes, the doorbells' 20.
            if id != CapabilityId::VENDOR || at > 256 - (cap::NOTIFY_MULTIPLIER + 4) {
                continue;
            }
            let kind = (word(at) >> 24) as u8;
            let structure = Structure {
                bar: usize::from(word(at + cap::BAR) as u8),
                offset: word(at + cap::OFFSET) as usize,
                bytes: word(at + cap::LENGTH) as usize,
            };
            match kind {
                COMMON_CONFIG => common = common.or(Some(structure)),
                DEVICE_CONFIG => device = device.or(Some(structure)),
                NOTIFY_CONFIG if notify.is_none() => {
                    notify = Some((structure, word(at + cap::NOTIFY_MULTIPLIER) as usize));
                }
                _ => {}
            }
        }
        let (Some(common), Some((notify, notify_multiplier)), Some(device)) =
            (common, notify, device)
        else {
            return Err(Cause::Unsupported("a virtio device that has the legacy interface only"));
        };
        Ok(Self { common, notify, notify_multiplier, device })
    }
}

impl Transport for ModernPci {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        let half = |index: u32| {
            self.common.write(common::DEVICE_FEATURE_SELECT, index);
            u64::from(self.read_common::<u32>(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        for (index, half) in [(0u32, features as u32), (1, (features >> 32) as u32)] {
            self.common.write(common::DRIVER_FEATURE_SELECT, index);
            self.common.write(common::DRIVER_FEATURE, half);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select(queue);
        u32::from(self.read_common::<u16>(common::QUEUE_SIZE))
    }

    fn notify(&mut self, queue: u16) {
        self.doorbell.write(0, queue);
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read_common::<u8>(common::DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common.write(common::DEVICE_STATUS, status.bits() as u8);
    }

    /// Only the legacy interface has one.
    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
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
        self.common.write(common::QUEUE_SIZE, size as u16);
        self.write_address(common::QUEUE_DESC, descriptors);
        self.write_address(common::QUEUE_DRIVER, driver_area);
        self.write_address(common::QUEUE_DEVICE, device_area);
        self.common.write(common::QUEUE_ENABLE, 1u16);
    }

    /// A queue is given up by resetting the device (§4.1.4.3.2).
    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        self.read_common::<u16>(common::QUEUE_ENABLE) == 1
    }

    /// The device was told to send none.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.read_common::<u8>(common::CONFIG_GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        if offset.checked_add(size_of::<T>()).is_none_or(|end| end > self.device_bytes) {
            return Err(Error::ConfigSpaceTooSmall);
        }
        self.device.read(offset).ok_or(Error::InvalidParam)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        if offset.checked_add(size_of::<T>()).is_none_or(|end| end > self.device_bytes) {
            return Err(Error::ConfigSpaceTooSmall);
        }
        self.device.write(offset, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{FakeMachine, at};

    const DEVICE: dormouse_handoff::plan::PciAddress = at(0, 4, 0);

    /// A machine with a virtio device whose capabilities are these: kind, BAR,
    /// offset, length, last word; the last one leads to `after`.
    fn endpoint(list: &[(u8, u32, u32, u32, u32)], after: u8) -> (&'static FakeMachine, Endpoint) {
        let machine = FakeMachine::new();
        machine.add_function(DEVICE, (0x1af4, 0x1042), (1, 0, 0), 0);
        machine.set_config(DEVICE, 0x04, 1 << 20);
        machine.set_config(DEVICE, 0x34, 0x40);
        for (i, &(kind, bar, offset, length, last)) in list.iter().enumerate() {
            let here = 0x40 + 0x14 * i as u16;
            let next = if i + 1 == list.len() { after } else { here as u8 + 0x14 };
            machine.set_config(DEVICE, here, u32::from_le_bytes([9, next, 20, kind]));
            for (i, word) in [bar, offset, length, last].into_iter().enumerate() {
                machine.set_config(DEVICE, here + 4 + 4 * i as u16, word);
            }
        }
        (machine, Endpoint::enable(machine, DEVICE).unwrap())
    }

    fn find(list: &[(u8, u32, u32, u32, u32)], after: u8) -> Result<Structures, Cause> {
        let (machine, endpoint) = endpoint(list, after);
        Structures::find(machine, &endpoint)
    }

    #[test]
    fn the_first_structure_of_each_kind_counts() {
        let list = [
            (1, 4, 0, 0x1000, 0),
            (3, 4, 0x1000, 0x1000, 0),
            (4, 4, 0x2000, 0x1000, 0),
            (2, 4, 0x3000, 0x1000, 4),
            (1, 5, 0, 8, 0),
        ];
        let found = find(&list, 0).unwrap();
        assert_eq!(found.common, Structure { bar: 4, offset: 0, bytes: 0x1000 });
        assert_eq!(found.notify, Structure { bar: 4, offset: 0x3000, bytes: 0x1000 });
        assert_eq!(found.notify_multiplier, 4);
    }

    #[test]
    fn a_list_that_goes_round_ends() {
        let list = [(1, 4, 0, 0x1000, 0), (5, 0, 0, 0, 0)];
        assert!(matches!(find(&list, 0x40), Err(Cause::Unsupported(_))));
    }

    #[test]
    fn structures_outside_their_bar_are_refused() {
        for (bar, offset, length) in [(6, 0, 64), (255, 0, 64), (0, u32::MAX, 64), (0, 0, 8)] {
            let list = [(1, bar, offset, length, 0), (4, 0, 0, 64, 0), (2, 0, 0, 64, 0)];
            let (machine, endpoint) = endpoint(&list, 0);
            machine.set_config(DEVICE, 0x10, 0xfebf_0000);
            let error = ModernPci::find(machine, &endpoint).err();
            assert!(matches!(error, Some(Cause::Protocol(_))), "BAR {bar}: {error:?}");
        }
    }
}
