//! `/proc/self/mountinfo`: what is mounted where (Linux
//! Documentation/filesystems/proc.rst §3.5).

use super::swaps::unescape;
use crate::system::System;
use std::collections::HashSet;

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the file system's device.
    pub device: (u32, u32),
    /// Where it is mounted.
    pub point: String,
    /// What is mounted, mostly a device's path: btrfs shows device numbers of
    /// its own, but the path is right.
    pub source: String,
    /// The kind of file system.
    pub kind: String,
    /// Whether the file system takes writes: it may, although this mount of it
    /// does not.
    pub writable: bool,
}

/// Reads the file; lines that mean nothing are passed over.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// What is mounted in each mount namespace that some process is in: containers have
/// their own, and so have services. With the process, where it is not this one's.
pub fn of_all_processes(system: &System) -> Vec<(Option<u32>, Mount)> {
    let of = |process: &str| {
        parse(&system.text(format!("/proc/{process}/mountinfo")).unwrap_or_default())
    };
    let namespace = |process: &str| system.link_name(format!("/proc/{process}/ns/mnt"));
    let mut seen: HashSet<String> = namespace("self").into_iter().collect();
    let mut mounts: Vec<_> = of("self").into_iter().map(|mount| (None, mount)).collect();
    for name in system.names("/proc") {
        let Ok(process) = name.parse() else { continue };
        if namespace(&name).is_some_and(|namespace| seen.insert(namespace)) {
            mounts.extend(of(&name).into_iter().map(|mount| (Some(process), mount)));
        }
    }
    mounts
}

fn line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let mut right = right.split(' ');
    let kind = right.next()?.to_owned();
    let (source, options) = (right.next()?, right.next().unwrap_or_default());
    let (major, minor) = left.nth(2)?.split_once(':')?;
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        point: unescape(left.nth(1)?),
        source: unescape(source),
        kind,
        writable: options.split(',').any(|option| option == "rw"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_devices() {
        let text = "\
25 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 25 0:25 /@home /home\\040two rw - btrfs /dev/sdb1 rw,space_cache
31 25 0:5 / /dev rw - devtmpfs udev rw
nonsense
";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[0].device, (259, 2));
        assert_eq!(mounts[0].point, "/");
        assert_eq!(mounts[1].point, "/home two");
        assert_eq!(mounts[1].source, "/dev/sdb1");
        assert_eq!(mounts[1].kind, "btrfs");
    }
}
