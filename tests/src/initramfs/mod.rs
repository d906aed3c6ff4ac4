//! The guest's first root: a few static programs, kexec-tools and what they
//! load.

mod cpio;

use crate::artefacts::Artefacts;
use crate::error::Error;
use cpio::Archive;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that Busybox plays.
const APPLETS: [&str; 12] = [
    "cat", "dmesg", "ifconfig", "ls", "mkswap", "mount", "ps", "sh", "swapoff", "swapon", "sync",
    "umount",
];

/// Programs of the host and the libraries that they load, at the same paths.
const FROM_HOST: [&str; 1] = ["/sbin/kexec"];

/// Writes the initramfs to `file`.
pub fn write(artefacts: &Artefacts, file: &Path) -> Result<(), Error> {
    let mut root = Root::default();
    root.archive.directory("dev");
    root.directories.insert("dev".into());
    // The first process's standard streams, before devtmpfs is mounted.
    root.archive.character_device("dev/console", (5, 1));
    root.add(Path::new("/init"), artefacts.guest())?;
    root.add(Path::new("/usr/bin/dormouse"), artefacts.cli())?;
    root.add(Path::new("/usr/lib/dormouse/writer.elf"), artefacts.writer())?;
    root.add(Path::new("/usr/lib/dormouse/writer.bzimage"), artefacts.writer_bzimage())?;
    root.add(Path::new("/bin/busybox"), Path::new("/bin/busybox"))?;
    for applet in APPLETS {
        root.archive.link(&format!("bin/{applet}"), "busybox");
    }
    for program in FROM_HOST.map(Path::new) {
        root.add(program, program)?;
        for library in libraries_of(program)? {
            root.add(&library, &library)?;
        }
    }
    fs::write(file, root.archive.finish())
        .map_err(Error::host(format!("writing {}", file.display())))
}

#[derive(Default)]
struct Root {
    archive: Archive,
    directories: BTreeSet<PathBuf>,
}

impl Root {
    /// Adds the host's file `from` as `path`, with the directories above it.
    fn add(&mut self, path: &Path, from: &Path) -> Result<(), Error> {
        let contents =
            fs::read(from).map_err(Error::host(format!("reading {}", from.display())))?;
        let path = path.strip_prefix("/").unwrap_or(path);
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        for directory in above.into_iter().filter(|d| !d.as_os_str().is_empty()) {
            if self.directories.insert(directory.into()) {
                self.archive.directory(&directory.display().to_string());
            }
        }
        self.archive.program(&path.display().to_string(), &contents);
        Ok(())
    }
}

/// What the dynamic loader would load with `program`, itself included.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>, Error> {
    let command = format!("ldd {}", program.display());
    let output = Command::new("ldd").arg(program).output().map_err(Error::host(&*command))?;
    if !output.status.success() {
        let outcome = String::from_utf8_lossy(&output.stderr).trim().into();
        return Err(Error::Program { command, outcome });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}
