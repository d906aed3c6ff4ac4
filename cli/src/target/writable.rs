//! Which block devices this system may write to: a system that is woken more
//! than once must not, for it would not know what it wrote the other times.

use crate::linux::{mounts, swaps};
use crate::preflight::Finding;
use crate::system::System;
use rustix::fs::{major, minor, stat};
use std::path::PathBuf;

/// One finding for each block device that is written to, those in `allowed`
/// left out.
pub fn findings(system: &System, allowed: &[PathBuf]) -> Vec<Finding> {
    let number = |path: &str| number_of(system, path);
    let allowed: Vec<(u32, u32)> =
        allowed.iter().filter_map(|path| number(&path.to_string_lossy())).collect();
    let is_allowed = |device: (u32, u32)| allowed.contains(&device) || in_memory(system, device);
    let advice = "; or name it with --allow, if nobody minds what becomes of it";
    let mut findings = Vec::new();
    for mount in mounts::parse(&system.text("/proc/self/mountinfo").unwrap_or_default()) {
        // File systems without a block device have numbers of major 0; those of
        // btrfs as well, but its source tells.
        let device = match (number(&mount.source), mount.device) {
            (Some(device), _) => device,
            (None, (0, _)) => continue,
            (None, device) => device,
        };
        if mount.writable && !is_allowed(device) {
            findings.push(Finding::refused(
                "mounted-for-writing",
                format!(
                    "{} is mounted for writing at {}: woken a second time, this system would \
                     destroy what it wrote the first time",
                    mount.source, mount.point
                ),
                format!("mount -o remount,ro {}{advice}", mount.point),
            ));
        }
    }
    for swap in swaps::parse(&system.text("/proc/swaps").unwrap_or_default()) {
        // A swap file lies on a file system that is mounted for writing.
        if let Some(device) = number(&swap.path).filter(|device| !is_allowed(*device)) {
            let (major, minor) = device;
            findings.push(Finding::refused(
                "swapped-to",
                format!("{} ({major}:{minor}) is swapped to: what is there changes", swap.path),
                format!("swapoff {}", swap.path),
            ));
        }
    }
    findings
}

/// Whether the device is memory, and so part of the image.
fn in_memory(system: &System, (major, minor): (u32, u32)) -> bool {
    let name = system.link_name(format!("/sys/dev/block/{major}:{minor}")).unwrap_or_default();
    let number = |prefix: &str| name.strip_prefix(prefix).is_some_and(|n| n.parse::<u32>().is_ok());
    number("zram") || number("ram")
}

/// The numbers of the block device at `path`; `None` where it is none.
fn number_of(system: &System, path: &str) -> Option<(u32, u32)> {
    use rustix::fs::FileType;
    if !path.starts_with('/') {
        return None;
    }
    let stat = stat(system.path(path)).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice)
        .then(|| (major(stat.st_rdev), minor(stat.st_rdev)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const MOUNTS: &str = "\
25 1 259:2 / / ro,relatime - ext4 /dev/nvme0n1p2 ro
26 1 259:3 / /srv rw,relatime - ext4 /dev/nvme0n1p3 rw
27 1 0:5 / /dev rw - devtmpfs udev rw
28 1 252:0 / /scratch rw - ext4 /dev/zram0 rw
29 1 259:4 / /bind ro,relatime - ext4 /dev/nvme0n1p4 rw
";

    fn system() -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::create_dir_all(root.path().join("sys/dev/block")).unwrap();
        symlink("../../devices/zram0", root.path().join("sys/dev/block/252:0")).unwrap();
        fs::write(root.path().join("proc/self/mountinfo"), MOUNTS).unwrap();
        let system = System::below(root.path());
        (root, system)
    }

    #[test]
    fn what_is_mounted_for_writing_is_named_and_memory_is_not() {
        let (_root, system) = system();
        let found = findings(&system, &[]);
        let points: Vec<bool> = found.iter().map(|f| f.text.contains(" at /srv:")).collect();
        // The bind mount is read-only, but the file system below it is not.
        assert_eq!(points, [true, false], "{found:?}");
        assert!(found[1].text.contains(" at /bind:"));
        assert!(found[0].advice.as_ref().unwrap().contains("--allow"));
    }
}
