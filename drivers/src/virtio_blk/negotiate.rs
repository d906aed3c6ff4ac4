//! From a device in whatever state to one that waits for its queue
//! (virtio 1.2, §3.1.1).

use super::queue::LEGACY_ALIGNMENT;
use super::shape::Config;
use super::spec::{Features, config};
use crate::platform::Platform;
use crate::queue::Cause;
use crate::wait::wait_until;
use virtio_drivers::transport::{DeviceStatus, Transport};

/// Time that a device may take to reset. The specification names none; devices
/// in hardware need part of a second.
const RESET_LIMIT_MS: u64 = 5_000;
/// Times that the configuration may change while it is read.
const CONFIG_ATTEMPTS: usize = 16;

/// What a device gets if it offers it.
const WANTED: Features = Features::SIZE_MAX
    .union(Features::SEG_MAX)
    .union(Features::RO)
    .union(Features::BLK_SIZE)
    .union(Features::FLUSH)
    .union(Features::CONFIG_WCE)
    .union(Features::INDIRECT_DESC)
    .union(Features::VERSION_1);

/// Resets the device: when this returns it has forgotten its queues and reaches
/// no memory (§2.4.2).
pub fn reset(platform: &dyn Platform, transport: &mut impl Transport) -> Result<(), Cause> {
    transport.set_status(DeviceStatus::empty());
    let done = wait_until(platform, RESET_LIMIT_MS, || transport.get_status().is_empty());
    done.map_err(|_| trouble(transport).unwrap_or(Cause::Timeout(RESET_LIMIT_MS)))
}

/// Agrees on features with a device that was just reset.
pub fn agree(transport: &mut impl Transport) -> Result<Features, Cause> {
    let mut status = DeviceStatus::ACKNOWLEDGE;
    transport.set_status(status);
    status |= DeviceStatus::DRIVER;
    transport.set_status(status);

    let offered = Features::from_bits_truncate(transport.read_device_features());
    if transport.requires_legacy_layout() {
        // §3.1.2: nothing is confirmed there.
        let agreed = offered & WANTED & Features::LEGACY;
        transport.write_driver_features(agreed.bits());
        transport.set_guest_page_size(LEGACY_ALIGNMENT as u32);
        return Ok(agreed);
    }
    if !offered.contains(Features::VERSION_1) {
        return Err(Cause::Unsupported("a virtio device that has the legacy interface only"));
    }
    let agreed = offered & WANTED;
    transport.write_driver_features(agreed.bits());
    status |= DeviceStatus::FEATURES_OK;
    transport.set_status(status);
    if transport.get_status().contains(DeviceStatus::FEATURES_OK) {
        return Ok(agreed);
    }
    Err(trouble(transport).unwrap_or(match offered.contains(Features::ACCESS_PLATFORM) {
        true => Cause::Unsupported("a virtio device behind an IOMMU (VIRTIO_F_ACCESS_PLATFORM)"),
        false => Cause::Protocol("it refuses a part of the features that it offers"),
    }))
}

/// Tells the device that its queue is ready.
pub fn go(transport: &mut impl Transport) {
    transport.set_status(transport.get_status() | DeviceStatus::DRIVER_OK);
}

/// Why the device as a whole is of no use any more, if it says so.
pub fn trouble(transport: &impl Transport) -> Option<Cause> {
    let status = transport.get_status();
    if status.bits() == u32::from(u8::MAX) {
        Some(Cause::Dead("the device is gone from the bus"))
    } else if status.contains(DeviceStatus::DEVICE_NEEDS_RESET) {
        Some(Cause::Dead("the device has failed and needs a reset"))
    } else {
        None
    }
}

/// Reads the configuration, all of it of one moment.
pub fn read_config(transport: &impl Transport, features: Features) -> Result<Config, Cause> {
    for _ in 0..CONFIG_ATTEMPTS {
        let generation = transport.read_config_generation();
        let config = read_fields(transport, features).map_err(|_| {
            Cause::Protocol("its configuration lacks fields that its features name")
        })?;
        if transport.read_config_generation() == generation {
            return Ok(config);
        }
    }
    Err(Cause::Protocol("its configuration changes without end"))
}

fn read_fields(
    transport: &impl Transport,
    features: Features,
) -> Result<Config, virtio_drivers::Error> {
    let word = |offset| transport.read_config_space::<u32>(offset);
    let word_if = |feature, offset| match features.contains(feature) {
        true => word(offset),
        false => Ok(0),
    };
    let capacity =
        u64::from(word(config::CAPACITY)?) | u64::from(word(config::CAPACITY + 4)?) << 32;
    let writeback = match features.contains(Features::CONFIG_WCE) {
        true => transport.read_config_space::<u8>(config::WRITEBACK)? != 0,
        // §5.2.5.2: who cannot flush has nothing to flush.
        false => features.contains(Features::FLUSH),
    };
    Ok(Config {
        capacity,
        size_max: word_if(Features::SIZE_MAX, config::SIZE_MAX)?,
        seg_max: word_if(Features::SEG_MAX, config::SEG_MAX)?,
        blk_size: word_if(Features::BLK_SIZE, config::BLK_SIZE)?,
        writeback,
    })
}
