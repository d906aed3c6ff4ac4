//! What this machine needs: Debian packages, found by a file that each has.

use crate::error::Error;
use crate::shell;
use std::path::Path;
use std::process::Command;

/// To build with Cargo: a linker and a C library.
pub const FOR_BUILDING: &[Need] =
    &[Need("gcc", "/usr/bin/gcc"), Need("libc6-dev", "/usr/include/stdio.h")];

/// To build the test kernel, beside its source.
pub const FOR_THE_KERNEL: &[Need] = &[
    Need("bc", "/usr/bin/bc"),
    Need("bison", "/usr/bin/bison"),
    Need("flex", "/usr/bin/flex"),
    Need("gcc", "/usr/bin/gcc"),
    Need("libc6-dev", "/usr/include/stdio.h"),
    Need("libelf-dev", "/usr/include/libelf.h"),
    Need("make", "/usr/bin/make"),
    Need("xz-utils", "/usr/bin/xz"),
];

/// To run guests.
pub const FOR_GUESTS: &[Need] = &[
    Need("busybox-static", "/bin/busybox"),
    Need("e2fsprogs", "/sbin/mkfs.ext4"),
    Need("grub-common", "/usr/bin/grub-mkrescue"),
    Need("grub-efi-amd64-bin", "/usr/lib/grub/x86_64-efi/multiboot2.mod"),
    Need("grub-pc-bin", "/usr/lib/grub/i386-pc/multiboot2.mod"),
    Need("initramfs-tools", "/usr/sbin/mkinitramfs"),
    Need("kexec-tools", "/sbin/kexec"),
    // A kernel without the door; its package's links.
    Need("linux-image-cloud-amd64", "/usr/share/doc/linux-image-cloud-amd64"),
    Need("mtools", "/usr/bin/mformat"),
    Need("ovmf", "/usr/share/OVMF/OVMF_CODE_4M.fd"),
    Need("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    Need("qemu-utils", "/usr/bin/qemu-img"),
    Need("u-boot-qemu", "/usr/lib/u-boot/qemu-x86/u-boot.rom"),
    Need("u-boot-tools", "/usr/bin/mkimage"),
    Need("xorriso", "/usr/bin/xorriso"),
];

/// To build the disks of appliances with `boot = "grub"`.
pub const FOR_APPLIANCES: &[Need] = &[
    Need("grub-common", "/usr/bin/grub-mkimage"),
    Need("grub-pc-bin", "/usr/lib/grub/i386-pc/boot.img"),
];

/// To make a minimal Debian.
pub const FOR_DEBIAN: &[Need] = &[
    Need("debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    Need("e2fsprogs", "/sbin/mke2fs"),
    Need("mmdebstrap", "/usr/bin/mmdebstrap"),
];

/// To measure and to draw what was measured.
pub const FOR_BENCHMARKS: &[Need] = &[
    Need("fonts-dejavu-core", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"),
    Need("librsvg2-bin", "/usr/bin/rsvg-convert"),
    // The other ways to the same end: its crash kernel is the one for guests.
    Need("makedumpfile", "/usr/bin/makedumpfile"),
];

/// To have an image judged by others.
pub const FOR_CORES: &[Need] = &[
    Need("crash", "/usr/bin/crash"),
    Need("gdb", "/usr/bin/gdb"),
    Need("makedumpfile", "/usr/bin/makedumpfile"),
];

/// A Debian package, and a file that shows that it is installed.
pub struct Need(pub &'static str, pub &'static str);

/// A target without an operating system.
pub const BARE_TARGET: &str = "x86_64-unknown-none";

/// The standard library for a target; rustup brings it where it is missing.
pub fn ensure_target(target: &str) -> Result<(), Error> {
    let libraries = shell::output(Command::new("rustc").args([
        "--print",
        "target-libdir",
        "--target",
        target,
    ]))?;
    if Path::new(&libraries).exists() {
        return Ok(());
    }
    shell::run(Command::new("rustup").args(["target", "add", target]))
}

/// How often packages are installed: one of another origin may have to go for
/// the first ones (Debian's QEMU removes newer QEMU tools), and is missing then.
const ROUNDS: usize = 2;

/// Installs what is missing if this is root on a Debian system, or says what
/// to type.
pub fn ensure(needs: &[Need]) -> Result<(), Error> {
    for _ in 0..ROUNDS {
        let packages = missing(needs);
        if packages.is_empty() {
            return Ok(());
        }
        let root = shell::output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
        if !root || !Path::new("/usr/bin/apt-get").exists() {
            return Err(Error::Missing(packages));
        }
        shell::run(apt().arg("update"))?;
        shell::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&packages))?;
    }
    match missing(needs) {
        packages if packages.is_empty() => Ok(()),
        packages => Err(Error::Missing(packages)),
    }
}

fn missing(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().filter(|need| !Path::new(need.1).exists()).map(|need| need.0).collect()
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
