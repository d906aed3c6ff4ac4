//! What was built before anything runs.

use crate::error::Error;
use crate::qemu::Firmware;
use std::path::{Path, PathBuf};

/// The built programs and the kernel, and where logs and images go.
///
/// `cargo xtask` prepares them and names the folder of the former and the
/// kernel in the environment of what it runs.
#[derive(Clone, Debug)]
pub struct Artefacts {
    writer: PathBuf,
    writer_bzimage: PathBuf,
    cli: PathBuf,
    guest: PathBuf,
    kernel: PathBuf,
    runs: PathBuf,
}

impl Artefacts {
    /// Names the target folder.
    pub const TARGET: &str = "DORMOUSE_TARGET";
    /// Names the test kernel's bzImage.
    pub const KERNEL: &str = "DORMOUSE_KERNEL";

    /// The artefacts below the target folder `target`, with this kernel.
    pub fn new(target: &Path, kernel: &Path) -> Result<Self, Error> {
        let artefacts = Self {
            writer: target.join("writer.elf"),
            writer_bzimage: target.join("writer.bzimage"),
            cli: target.join("guest/dormouse"),
            guest: target.join("guest/dormouse-guest"),
            kernel: kernel.into(),
            runs: target.join("qemu"),
        };
        let built = "cargo xtask build";
        let made = [
            (&artefacts.writer, built),
            (&artefacts.writer_bzimage, built),
            (&artefacts.cli, built),
            (&artefacts.guest, built),
            (&artefacts.kernel, "cargo xtask kernel"),
        ];
        if let Some((path, made_by)) = made.into_iter().find(|(path, _)| !path.exists()) {
            return Err(Error::Artefact { path: path.clone(), made_by });
        }
        Ok(artefacts)
    }

    /// The artefacts that the environment names.
    pub fn from_environment() -> Result<Self, Error> {
        let path = |name: &str| {
            let value = std::env::var_os(name).map(PathBuf::from);
            let path = PathBuf::from(format!("${name}"));
            value.ok_or(Error::Artefact { path, made_by: "cargo xtask test" })
        };
        Self::new(&path(Self::TARGET)?, &path(Self::KERNEL)?)
    }

    /// `writer.elf`.
    pub fn writer(&self) -> &Path {
        &self.writer
    }

    /// `writer.bzimage`.
    pub fn writer_bzimage(&self) -> &Path {
        &self.writer_bzimage
    }

    /// The disk that starts the reader by the loader of the `bootloader` crate.
    pub fn bootloader_disk(&self, firmware: Firmware) -> Result<PathBuf, Error> {
        let kind = if firmware == Firmware::Ovmf { "uefi" } else { "bios" };
        let path = self.writer.with_file_name(format!("writer.{kind}.img"));
        if path.exists() {
            Ok(path)
        } else {
            Err(Error::Artefact { path, made_by: "cargo xtask bootloader-disk" })
        }
    }

    /// Whether that disk is there, and if not, says so: the build leaves it out where
    /// the compiler that it takes cannot be had.
    pub fn has_bootloader_disk(&self, firmware: Firmware) -> bool {
        let there = self.bootloader_disk(firmware).is_ok();
        if !there {
            eprintln!("skipped: there is no disk of the bootloader crate");
        }
        there
    }

    /// The static `dormouse`.
    pub fn cli(&self) -> &Path {
        &self.cli
    }

    /// The guest's userland.
    pub fn guest(&self) -> &Path {
        &self.guest
    }

    /// The test kernel.
    pub fn kernel(&self) -> &Path {
        &self.kernel
    }

    /// The test kernel with its symbols and types, for debuggers: the build
    /// leaves it beside the bzImage.
    pub fn kernel_with_symbols(&self) -> Result<PathBuf, Error> {
        let path = self.kernel.with_file_name("vmlinux");
        if path.exists() {
            Ok(path)
        } else {
            Err(Error::Artefact { path, made_by: "cargo xtask kernel" })
        }
    }

    /// A distribution's kernel, which has no KEXEC_JUMP: Debian's newest for
    /// virtual machines.
    pub fn distribution_kernel(&self) -> Result<PathBuf, Error> {
        const BOOT: &str = "/boot";
        let entries = std::fs::read_dir(BOOT).map_err(Error::host(BOOT))?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_kernel = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("vmlinuz-") && name.ends_with("-cloud-amd64")
        };
        let missing = Path::new(BOOT).join("vmlinuz-*-cloud-amd64");
        paths.filter(is_kernel).max().ok_or(Error::Artefact {
            path: missing,
            made_by: "apt-get install linux-image-cloud-amd64",
        })
    }

    /// The folder of the run `name`, whether it exists or not.
    pub fn run(&self, name: &str) -> PathBuf {
        self.runs.join(name)
    }

    /// The folder of the run `name`, made empty.
    pub fn fresh_run(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.run(name);
        let tried = || format!("making {} anew", folder.display());
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::host(tried())(e)),
            _ => std::fs::create_dir_all(&folder).map_err(Error::host(tried())),
        }?;
        Ok(folder)
    }
}
