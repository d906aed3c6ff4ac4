//! Taking all processors but one offline before the jump, where Linux would hang
//! on its way if it did so itself.
//!
//! On its way to a kexec jump Linux freezes programs but not its own threads,
//! suspends the disks, and then takes the processors offline. virtio-blk holds back
//! what a thread of the kernel gives it after it was suspended, and the last
//! processor of a queue waits until the queue is empty: for ever (Linux 6.1
//! `kernel_kexec`, `virtblk_freeze`, `blk_mq_hctx_notify_offline`). With dirty
//! pages about this is no rare chance. While the disks still work nothing waits
//! for long; the one processor that is left has no queue that loses its last.

use crate::affinities::Affinities;
use crate::error::{Error, Result};
use crate::guard::{Guard, quoted};
use crate::linux::cpu_list;
use crate::output::Output;
use crate::system::System;
use std::io;
use std::path::PathBuf;

/// The processors, and which are online (Linux
/// Documentation/ABI/testing/sysfs-devices-system-cpu).
const FOLDER: &str = "/sys/devices/system/cpu";

/// How Linux is told to give each disk of virtio-blk one queue, which makes all
/// of this needless.
pub const ONE_QUEUE: &str = "boot with virtio_blk.num_request_queues=1";

/// The first disk for which this has to be done: one of virtio-blk with more than
/// one queue, on a machine with more than one processor.
pub fn disk_in_need(system: &System) -> Option<String> {
    let several = |disk: &String| {
        let folder = format!("/sys/block/{disk}");
        system.link_name(format!("{folder}/device/driver")).as_deref() == Some("virtio_blk")
            && system.names(format!("{folder}/mq")).len() > 1
    };
    if online(system).len() < 2 {
        return None;
    }
    system.names("/sys/block").into_iter().find(several)
}

/// Whether groups of processes are bound to processors by control groups of
/// version 1, which forget a processor that goes offline.
///
/// Linux Documentation/admin-guide/cgroup-v1/cpusets.rst; in `/proc/cgroups` a
/// controller of version 2 has the hierarchy 0.
pub fn are_in_old_cpusets(system: &System) -> bool {
    let text = system.text("/proc/cgroups").unwrap_or_default();
    text.lines().any(|line| {
        let mut fields = line.split_whitespace();
        let number = |field: Option<&str>| field.and_then(|field| field.parse::<u64>().ok());
        fields.next() == Some("cpuset")
            && number(fields.next()).is_some_and(|hierarchy| hierarchy != 0)
            && number(fields.next()).is_some_and(|groups| groups > 1)
    })
}

/// The processors that are offline because of the sleep.
#[derive(Debug)]
#[must_use = "the processors stay offline until they are put back"]
pub struct Offline<'a> {
    system: &'a System,
    numbers: Vec<u32>,
    affinities: Affinities,
}

impl<'a> Offline<'a> {
    /// Takes them offline, where it has to be done.
    ///
    /// # Errors
    /// [`Error::Processor`] where one cannot be; all are online again then.
    pub fn where_needed(
        system: &'a System,
        guard: &mut Guard,
        output: Output,
    ) -> Result<Option<Self>> {
        if disk_in_need(system).is_none() {
            return Ok(None);
        }
        // The first is the one that Linux keeps itself.
        let [first, others @ ..] = &online(system)[..] else { return Ok(None) };
        let affinities = Affinities::of_all(system);
        affinities.widen_to(*first);
        let mut offline = Self { system, numbers: Vec::new(), affinities };
        for number in others.iter().copied() {
            guard.note(format!("echo 1 > {}", quoted(file(system, number).display())));
            if let Err(source) = switch(system, number, false) {
                offline.put_back().iter().for_each(|failed| output.warn(failed));
                return Err(Error::Processor { number, source });
            }
            offline.numbers.push(number);
        }
        Ok(Some(offline))
    }

    /// Takes them online again and binds each thread to what it was bound to; what
    /// did not work.
    pub fn put_back(self) -> Vec<String> {
        let mut failed = Vec::new();
        for number in self.numbers {
            if let Err(error) = switch(self.system, number, true) {
                failed.push(format!("processor {number} stays offline: {error}"));
            }
        }
        match self.affinities.restore(self.system) {
            0 => {}
            threads => failed.push(format!(
                "{threads} threads may run on other processors than before the sleep"
            )),
        }
        failed
    }
}

/// The numbers of the processors that are online, the lowest first.
fn online(system: &System) -> Vec<u32> {
    let list = system.line(format!("{FOLDER}/online"));
    list.and_then(|list| cpu_list::parse(&list)).unwrap_or_default()
}

fn switch(system: &System, number: u32, on: bool) -> io::Result<()> {
    std::fs::write(file(system, number), if on { "1" } else { "0" })
}

fn file(system: &System, number: u32) -> PathBuf {
    system.path(format!("{FOLDER}/cpu{number}/online"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// A machine with a disk of virtio-blk.
    fn machine(online: &str, queues: u32) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        let below = |path: &str| root.path().join(path);
        let disk = below("sys/block/vda");
        fs::create_dir_all(disk.join("device")).unwrap();
        symlink("/drivers/virtio_blk", disk.join("device/driver")).unwrap();
        for queue in 0..queues {
            fs::create_dir_all(disk.join(format!("mq/{queue}"))).unwrap();
        }
        let folder = below(&FOLDER[1..]);
        for number in cpu_list::parse(online).unwrap().into_iter().skip(1) {
            fs::create_dir_all(folder.join(format!("cpu{number}"))).unwrap();
            fs::write(folder.join(format!("cpu{number}/online")), "1").unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("online"), online).unwrap();
        let system = System::below(root.path());
        (root, system)
    }

    fn state(root: &Path, number: u32) -> String {
        fs::read_to_string(root.join(&FOLDER[1..]).join(format!("cpu{number}/online"))).unwrap()
    }

    #[test]
    fn it_is_done_for_several_queues_and_processors_only() {
        let needed = |online, queues| {
            let (_root, system) = machine(online, queues);
            disk_in_need(&system)
        };
        assert_eq!(needed("0-3", 4).as_deref(), Some("vda"));
        assert_eq!(needed("0-3", 1), None);
        assert_eq!(needed("0", 4), None);
        let (root, system) = machine("0-1", 2);
        fs::remove_file(root.path().join("sys/block/vda/device/driver")).unwrap();
        assert_eq!(disk_in_need(&system), None);
    }

    #[test]
    fn all_but_the_first_go_offline_and_come_back() {
        let (root, system) = machine("0,2-3", 3);
        let offline =
            Offline::where_needed(&system, &mut Guard::set(), Output::new(false)).unwrap().unwrap();
        assert_eq!([2, 3].map(|number| state(root.path(), number)), ["0", "0"]);
        assert_eq!(offline.put_back(), Vec::<String>::new());
        assert_eq!([2, 3].map(|number| state(root.path(), number)), ["1", "1"]);
    }

    #[test]
    fn one_that_stays_is_named_and_the_others_come_back() {
        let (root, system) = machine("0-3", 4);
        fs::remove_dir_all(root.path().join(&FOLDER[1..]).join("cpu2")).unwrap();
        let error =
            Offline::where_needed(&system, &mut Guard::set(), Output::new(false)).unwrap_err();
        assert!(matches!(error, Error::Processor { number: 2, .. }), "{error}");
        assert_eq!(state(root.path(), 1), "1");
        assert_eq!(state(root.path(), 3), "1");
    }

    #[test]
    fn old_cpusets_are_seen() {
        let with = |line: &str| {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("proc")).unwrap();
            let text = format!("#subsys_name\thierarchy\tnum_cgroups\tenabled\n{line}\n");
            fs::write(root.path().join("proc/cgroups"), text).unwrap();
            are_in_old_cpusets(&System::below(root.path()))
        };
        assert!(with("cpuset\t3\t17\t1"));
        assert!(!with("cpuset\t0\t17\t1"));
        assert!(!with("cpuset\t3\t1\t1"));
        assert!(!with("cpu\t3\t17\t1"));
    }
}
