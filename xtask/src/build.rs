//! `cargo xtask build`: `writer.elf` and `writer.bzimage`, and the programs
//! that run in guests.

use crate::error::Error;
use crate::writer_file::Writer;
use crate::{host, paths, shell};
use dormouse_handoff::plan::MAX_WINDOW;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What everything is built for.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The writer runs without an operating system: no start files, no red zone,
/// and one virtual address in the top 2 GiB. See docs/dependencies.md for why
/// it is not built for a bare-metal target.
const WRITER_FLAGS: [&str; 11] = [
    "-C linker=ld",
    "-C linker-flavor=ld",
    "-C link-arg=-nostdlib",
    "-C relocation-model=static",
    "-C code-model=kernel",
    "-C no-redzone=yes",
    "-C target-feature=+crt-static",
    "-C force-frame-pointers=no",
    // Two lanes of a checksum in a vector register gain nothing on a processor
    // and cost much under emulation.
    "-C no-vectorize-slp",
    // SHA-256 for the seed of random numbers: once a wake-up, so small.
    "--cfg sha2_backend=\"soft\"",
    "--cfg sha2_backend_soft=\"compact\"",
];

/// Build writer.elf and writer.bzimage, and the static programs that run in guests
#[derive(clap::Args)]
pub struct Build {}

impl Build {
    pub fn run(self) -> Result<(), Error> {
        all()
    }
}

/// Builds everything into the target folder.
pub fn all() -> Result<(), Error> {
    host::ensure(host::FOR_BUILDING)?;
    writer()?;
    static_programs()
}

fn writer() -> Result<(), Error> {
    let script = paths::root().join("writer-kernel/link.ld");
    let flags = format!("{} -C link-arg=-T{}", WRITER_FLAGS.join(" "), script.display());
    let folder = paths::target().join("kernel");
    let options = ["-p", "dormouse-writer", "--profile", "kernel"];
    shell::run(cargo("build").args(options).target(&folder).env("RUSTFLAGS", flags))?;
    let elf = keep(&folder.join(TARGET).join("kernel/writer"), "writer.elf")?;
    let bytes = fs::read(&elf).map_err(Error::file("reading", &elf))?;
    let file = Writer::parse(&bytes)?;
    let window = file.window_bytes()?;
    if window > MAX_WINDOW {
        let words = format!("takes {window} bytes of memory, a window has {MAX_WINDOW}");
        return Err(Error::Writer(words));
    }
    eprintln!("{}: {} KiB of memory", elf.display(), window >> 10);
    let path = paths::target().join("writer.bzimage");
    fs::write(&path, file.bzimage()?).map_err(Error::file("writing", path))
}

fn static_programs() -> Result<(), Error> {
    let folder = paths::target().join("static");
    let options = ["--release", "-p", "dormouse-cli", "-p", "dormouse-guest"];
    let flags = "-C target-feature=+crt-static";
    shell::run(cargo("build").args(options).target(&folder).env("RUSTFLAGS", flags))?;
    for program in ["dormouse", "dormouse-guest"] {
        keep(&folder.join(TARGET).join("release").join(program), &format!("guest/{program}"))?;
    }
    Ok(())
}

/// Cargo, in the project's root.
pub fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.arg(command).current_dir(paths::root());
    cargo
}

/// Programs with linker flags of their own have target folders of their own,
/// so that Cargo does not build everything anew whenever the flags change; and
/// the target is named so that build scripts do not get these flags.
trait WithTarget {
    fn target(&mut self, folder: &Path) -> &mut Self;
}

impl WithTarget for Command {
    fn target(&mut self, folder: &Path) -> &mut Self {
        self.args(["--target", TARGET, "--target-dir"]).arg(folder)
    }
}

/// Copies a built file to its stable name below the target folder.
fn keep(built: &Path, name: &str) -> Result<PathBuf, Error> {
    let kept = paths::target().join(name);
    let folder = kept.parent().unwrap_or(&kept);
    fs::create_dir_all(folder).map_err(Error::file("making", folder))?;
    fs::copy(built, &kept).map_err(Error::file("copying", built))?;
    Ok(kept)
}
