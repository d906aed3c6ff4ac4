//! Who uses a device, by what the kernel tells.

use super::device::Device;
use crate::linux::{mounts, swaps};
use crate::system::System;
use rustix::fs::{major, minor, stat};
use std::path::Path;

/// A use that stands in an image's way, or one that can be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// Mounted at this place.
    Mounted(String),
    /// Part of this other device (LVM, RAID, dm-crypt).
    Held(String),
    /// The whole disk is asked for, but this partition of it is in use.
    Partition(String),
    /// Swapped to: can be switched off.
    Swap(swaps::Swap),
}

/// All uses of `device`.
pub fn uses(system: &System, device: &Device) -> Vec<Use> {
    let folder = Path::new("/sys/class/block").join(&device.name);
    let mut uses: Vec<Use> =
        system.names(folder.join("holders")).into_iter().map(Use::Held).collect();

    let mut others = Vec::new();
    if !device.is_partition() {
        for name in system.names(&folder) {
            let partition = folder.join(&name);
            if !system.exists(partition.join("partition")) {
                continue;
            }
            if !system.names(partition.join("holders")).is_empty() {
                uses.push(Use::Partition(name.clone()));
            }
            let number = system.line(partition.join("dev")).and_then(|text| parse_number(&text));
            others.extend(number.map(|number| (number, name)));
        }
    }
    for mount in mounts::parse(&system.text("/proc/self/mountinfo").unwrap_or_default()) {
        let source = number_of(system, &mount.source);
        let is = |number| mount.device == number || source == Some(number);
        if is(device.number) {
            uses.push(Use::Mounted(mount.point));
        } else if let Some((_, name)) = others.iter().find(|(number, _)| is(*number)) {
            uses.push(Use::Partition(name.clone()));
        }
    }
    for swap in swaps::parse(&system.text("/proc/swaps").unwrap_or_default()) {
        let number = number_of(system, &swap.path);
        if number == Some(device.number) {
            uses.push(Use::Swap(swap));
        } else if let Some((_, name)) = others.iter().find(|(n, _)| number == Some(*n)) {
            uses.push(Use::Partition(name.clone()));
        }
    }
    uses.dedup();
    uses
}

/// The swap area on `device`, if it is in use.
pub fn active_swap(uses: &[Use]) -> Option<&swaps::Swap> {
    uses.iter().find_map(|one| match one {
        Use::Swap(swap) => Some(swap),
        _ => None,
    })
}

fn parse_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The numbers of the device file at `path`.
fn number_of(system: &System, path: &str) -> Option<(u32, u32)> {
    if !path.starts_with('/') {
        return None;
    }
    let stat = stat(system.path(path)).ok()?;
    (stat.st_rdev != 0).then(|| (major(stat.st_rdev), minor(stat.st_rdev)))
}
