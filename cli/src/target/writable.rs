//! Which block devices this system may write to: a system that is woken more
//! than once must not, for it would not know what it wrote the other times.

use crate::linux::mounts::{self, Mount};
use crate::linux::swaps;
use crate::preflight::Finding;
use crate::system::System;
use rustix::fs::{major, minor, stat};
use std::collections::HashSet;
use std::path::PathBuf;

/// File systems with disks of their own that need not name one: `/dev/root`, a pool,
/// a list of devices, flash.
const WITHOUT_A_NAME: [&str; 4] = ["btrfs", "bcachefs", "zfs", "ubifs"];

/// One finding for each block device that is written to, those in `allowed`
/// left out.
pub fn findings(system: &System, allowed: &[PathBuf]) -> Vec<Finding> {
    let number = |path: &str| number_of(system, path);
    let allowed: Vec<(u32, u32)> =
        allowed.iter().filter_map(|path| number(&path.to_string_lossy())).collect();
    let is_allowed = |device: (u32, u32)| allowed.contains(&device) || in_memory(system, device);
    let mut findings = Vec::new();
    let mut seen = HashSet::new();
    for (process, mount) in mounts::of_all_processes(system) {
        // File systems without a block device have numbers of major 0; those of
        // btrfs as well, but its source tells.
        let device = match (number(&mount.source), mount.device) {
            (None, (0, _)) if WITHOUT_A_NAME.contains(&mount.kind.as_str()) => None,
            (None, (0, _)) => continue,
            (Some(device), _) | (None, device) => Some(device),
        };
        if !mount.writable || device.is_some_and(is_allowed) {
            continue;
        }
        if seen.insert(device.ok_or_else(|| mount.source.clone())) {
            findings.push(mounted(&mount, process, device.is_some()));
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

/// What stands against a reusable image because of this mount, seen by `process`.
fn mounted(mount: &Mount, process: Option<u32>, can_be_allowed: bool) -> Finding {
    let Mount { source, point, .. } = mount;
    let place = match process {
        None => point.clone(),
        Some(process) => format!("{point} in the mount namespace of process {process}"),
    };
    let what = format!(
        "{source} is mounted for writing at {place}: woken a second time, this system would \
         destroy what it wrote the first time"
    );
    let remount = match process {
        None => format!("mount -o remount,ro {point}"),
        Some(process) => format!("end process {process} and what else is in that namespace"),
    };
    let allow = match can_be_allowed {
        true => "; or name it with --allow, if nobody minds what becomes of it",
        false => "",
    };
    Finding::refused("mounted-for-writing", what, format!("{remount}{allow}"))
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

    #[test]
    fn mounts_in_other_namespaces_count() {
        let (root, system) = system();
        let process = |number: u32, namespace: u32, mounts: &str| {
            let folder = root.path().join(format!("proc/{number}"));
            fs::create_dir_all(folder.join("ns")).unwrap();
            symlink(format!("mnt:[{namespace}]"), folder.join("ns/mnt")).unwrap();
            fs::write(folder.join("mountinfo"), mounts).unwrap();
        };
        process(1, 7, MOUNTS);
        process(50, 8, "60 1 259:9 / /data rw - xfs /dev/nvme0n1p9 rw\n");
        let found = findings(&system, &[]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[2].text.contains("nvme0n1p9 is mounted"), "{found:?}");
        assert!(found[2].text.contains("at /data in the mount namespace of process 50"));
    }

    #[test]
    fn file_systems_that_name_no_device_count() {
        let (root, system) = system();
        let mounts = "\
25 1 0:20 / / rw - btrfs /dev/root rw
26 1 0:21 / /tank rw - zfs tank rw
27 1 0:22 / /tank/old ro - zfs tank/old ro
28 1 0:23 / /dev/shm rw - tmpfs tmpfs rw
";
        fs::write(root.path().join("proc/self/mountinfo"), mounts).unwrap();
        let found = findings(&system, &[]);
        let texts: Vec<&str> = found.iter().map(|finding| finding.text.as_str()).collect();
        assert!(
            matches!(texts[..], [one, two] if one.starts_with("/dev/root") && two.starts_with("tank is")),
            "{texts:?}"
        );
        assert!(!found[1].advice.as_ref().unwrap().contains("--allow"));
    }
}
