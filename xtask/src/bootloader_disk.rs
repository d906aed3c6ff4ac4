//! `cargo xtask bootloader-disk`: disks that start the reader by the loader of
//! the `bootloader` crate, on a BIOS and on UEFI. See docs/doors.md.

use crate::build::{self, cargo};
use crate::error::Error;
use crate::{host, nightly, paths, shell};
use std::fs;
use std::path::PathBuf;

/// The workspace of the two programs that it takes.
pub const MANIFEST: &str = "bootloader-disk/Cargo.toml";

/// Make disks that start the reader by the `bootloader` crate's loader
///
/// target/writer.bios.img is for a BIOS with a VGA, target/writer.uefi.img for
/// UEFI; target/bootloader-files has the files of both, for disks that are made
/// otherwise. Building that loader takes a nightly compiler, which is brought where it
/// is missing and used for nothing else.
#[derive(clap::Args)]
pub struct BootloaderDisk {}

impl BootloaderDisk {
    pub fn run(self) -> Result<(), Error> {
        build::all()?;
        make()
    }
}

/// Makes them from the `writer.bzimage` that was built.
pub fn make() -> Result<(), Error> {
    nightly::ensure()?;
    host::ensure_target(host::BARE_TARGET)?;
    let folder = paths::target().join("bootloader");
    let mut stub = cargo("build");
    stub.args(["--manifest-path", MANIFEST, "-p", "dormouse-bootloader-stub", "--release"]);
    shell::run(
        stub.args(["--target", host::BARE_TARGET, "--target-dir"]).arg(folder.join("stub")),
    )?;

    let mut builder = nightly::cargo("run");
    builder.args(["--manifest-path", MANIFEST, "-p", "dormouse-bootloader-disk", "--release"]);
    builder.arg("--target-dir").arg(folder.join("builder")).arg("--");
    builder
        .arg(folder.join("stub").join(host::BARE_TARGET).join("release/dormouse-bootloader-stub"));
    builder.arg(paths::target().join("writer.bzimage"));
    fs::create_dir_all(files()).map_err(Error::file("making", files()))?;
    shell::run(builder.args(disks()).arg(files()))
}

/// Makes them where the compiler is, or can be had; else says that it does not,
/// and leaves none of an earlier build.
pub fn where_possible() -> Result<(), Error> {
    let Err(error) = nightly::ensure() else { return make() };
    eprintln!(
        "skipped: the bootloader crate's loader needs {}, which cannot be had here ({error})",
        nightly::NIGHTLY
    );
    for disk in disks().into_iter().filter(|disk| disk.exists()) {
        fs::remove_file(&disk).map_err(Error::file("removing", disk))?;
    }
    if files().exists() {
        fs::remove_dir_all(files()).map_err(Error::file("removing", files()))?;
    }
    Ok(())
}

/// Where an appliance's disk gets the loader from.
fn files() -> PathBuf {
    paths::target().join("bootloader-files")
}

/// For a BIOS, and for UEFI.
fn disks() -> [PathBuf; 2] {
    ["writer.bios.img", "writer.uefi.img"].map(|name| paths::target().join(name))
}
