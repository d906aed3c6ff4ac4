//! A system that is started anew while another sleeps on its disks: Debian's
//! kernel, with the initramfs that `mkinitramfs` makes with the hook of
//! contrib/initramfs-tools, gives up what sleeps before it mounts anything.

use dormouse_tests::host_program;
use dormouse_tests::qemu::Boot;
use dormouse_tests::{Artefacts, Error, Failure, Fill, Life, Options, SECOND_DISK, scenario};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What Debian's initramfs takes of modules: the disks, and the root's file
/// system. The rest is as small and quick as it can be.
const MODULES: &str = "nvme\nvirtio_pci\nvirtio_blk\next4\n";
const SETTINGS: &str = "MODULES=list\nBUSYBOX=auto\nKEYMAP=n\nCOMPRESS=gzip\nDEVICE=\n\
    NFSROOT=auto\nRUNSIZE=10%\nFSTYPE=ext4\n";

/// The root is the disk whose file system the sleeping guest has mounted.
const COMMAND_LINE: &str = "console=ttyS0,115200 panic=-1 random.trust_cpu=on no_timer_check \
    root=/dev/vda rw rootfstype=ext4";

/// What a root needs for the agent to be its first process. It mounts for itself
/// what the initramfs has mounted already.
const A_ROOT: &str = "busybox mkdir -p bin sbin proc sys dev run tmp \
    && busybox cp /bin/busybox bin/busybox && busybox cp /init sbin/agent \
    && busybox ln -s ../bin/busybox sbin/ifconfig \
    && echo '#!/bin/busybox sh' > sbin/init \
    && echo '/bin/busybox umount -l /run /dev /sys /proc' >> sbin/init \
    && echo 'exec /sbin/agent' >> sbin/init \
    && busybox chmod 755 sbin/init && busybox sync";

#[test]
fn debians_initramfs_gives_up_what_sleeps_before_it_mounts() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let kernel = artefacts.distribution_kernel()?;
    let mut life = Life::begin(&artefacts, "fresh-start", Options::default())?;
    let initramfs = initramfs(&artefacts, &kernel, &life.folder)?;
    let made = life.guest.run(&["sh", "-c", &format!("cd {SECOND_DISK} && {A_ROOT}")])?;
    life.logged(|_| scenario::said(&made, 0, &[]))?;
    life.fill(&Fill::light())?;
    scenario::sleep(&mut life, &[])?;

    let before = life.serial_log()?.len();
    let command_line = COMMAND_LINE.into();
    let initramfs = Some(initramfs);
    let fresh = life.setup.booting(Boot::Linux { kernel, initramfs, command_line });
    let facts = life.beside_on(&fresh, |guest| guest.facts())?;
    assert!(facts.kernel_release.contains("cloud-amd64"), "{}", facts.kernel_release);
    let log = life.serial_log()?.split_off(before);
    let mut at = |words: &str| {
        let missing = || Error::verdict(format!("{words:?} is not on the console"));
        log.find(words).ok_or_else(missing).map_err(|error| life.with_log(error))
    };
    let given_up = at("the sleeping system is given up")?;
    let mounted = at("EXT4-fs (vda): mounted filesystem")?;
    assert!(given_up < mounted, "it was mounted first:\n{log}");

    let reader = life.reader();
    life.be_refused(&reader, "the image is discarded, not valid")?;
    Ok(life.abandon()?)
}

/// Has `mkinitramfs` make an initramfs with the hook as README.md installs it,
/// and makes sure that the hook is in there, and first of those before the mount.
fn initramfs(artefacts: &Artefacts, kernel: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let settings = folder.join("initramfs-tools");
    let made = fs::create_dir_all(settings.join("conf.d"))
        .and_then(|()| fs::write(settings.join("initramfs.conf"), SETTINGS))
        .and_then(|()| fs::write(settings.join("modules"), MODULES));
    made.map_err(Error::host("writing the settings of initramfs-tools"))?;
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/initramfs-tools/.");
    host_program::run(Command::new("cp").arg("-r").arg(contrib).arg(&settings))?;

    let file = folder.join("debian.initramfs");
    let name = kernel.file_name().unwrap_or_default().to_string_lossy();
    let release = name.strip_prefix("vmlinuz-").unwrap_or(&name);
    let mut make = Command::new("/usr/sbin/mkinitramfs");
    make.env("DORMOUSE", artefacts.cli());
    host_program::run(make.arg("-d").arg(&settings).arg("-o").arg(&file).arg(release))?;

    let list = host_program::run(Command::new("lsinitramfs").arg(&file))?;
    for there in ["scripts/local-premount/dormouse", "sbin/dormouse"] {
        assert!(list.lines().any(|line| line.ends_with(there)), "no {there}:\n{list}");
    }
    let unpacked = folder.join("unpacked");
    host_program::run(Command::new("unmkinitramfs").arg(&file).arg(&unpacked))?;
    let order = fs::read_to_string(unpacked.join("scripts/local-premount/ORDER"));
    let order = order.map_err(Error::host("reading the order of the scripts"))?;
    let first = order.lines().find(|line| line.starts_with("/scripts/"));
    assert!(first.is_some_and(|line| line.contains("/local-premount/dormouse")), "{order}");
    Ok(file)
}
