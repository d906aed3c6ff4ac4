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
const APPLETS: [&str; 16] = [
    "cat", "dd", "dmesg", "ifconfig", "ls", "mkswap", "mount", "pidof", "ps", "rm", "sh",
    "swapoff", "swapon", "sync", "taskset", "umount",
];

/// Programs of the host and the libraries that they load, at the same paths.
const FROM_HOST: [&str; 1] = ["/sbin/kexec"];

/// Writes the initramfs to `file`, with `more` files of the host's.
pub fn write(artefacts: &Artefacts, more: &[(PathBuf, PathBuf)], file: &Path) -> Result<(), Error> {
    let mut root = Root::with_init(artefacts)?;
    root.add(Path::new("/usr/bin/dormouse"), artefacts.cli())?;
    root.add(Path::new("/usr/lib/dormouse/writer.elf"), artefacts.writer())?;
    root.add(Path::new("/usr/lib/dormouse/writer.bzimage"), artefacts.writer_bzimage())?;
    root.add(Path::new("/bin/busybox"), Path::new("/bin/busybox"))?;
    for applet in APPLETS {
        root.archive.link(&format!("bin/{applet}"), "busybox");
    }
    FROM_HOST.iter().try_for_each(|program| root.add_program(Path::new(program)))?;
    more.iter().try_for_each(|(path, from)| root.add(path, from))?;
    root.write(file)
}

/// Programs that it plays in the kiosk.
const KIOSK_APPLETS: [&str; 15] = [
    "cat", "date", "grep", "head", "httpd", "ifconfig", "mkdir", "mkswap", "mount", "printf", "sh",
    "sleep", "swapon", "tr", "wc",
];

/// Writes the kiosk's root: a busybox, the first process `init`, and `files` of the
/// host's.
pub fn write_kiosk(init: &Path, files: &[(PathBuf, PathBuf)], file: &Path) -> Result<(), Error> {
    let mut root = Root::with_console();
    root.add(Path::new("/init"), init)?;
    for directory in ["proc", "sys", "run", "srv"] {
        root.archive.directory(directory);
        root.directories.insert(directory.into());
    }
    root.add(Path::new("/bin/busybox"), Path::new("/bin/busybox"))?;
    for applet in KIOSK_APPLETS {
        root.archive.link(&format!("bin/{applet}"), "busybox");
    }
    FROM_HOST.iter().try_for_each(|program| root.add_program(Path::new(program)))?;
    files.iter().try_for_each(|(path, from)| root.add(path, from))?;
    root.write(file)
}

/// Writes the initramfs of a crash kernel to `file`.
pub fn write_for_dump(artefacts: &Artefacts, file: &Path) -> Result<(), Error> {
    let mut root = Root::with_init(artefacts)?;
    root.add_program(Path::new("/usr/bin/makedumpfile"))?;
    root.write(file)
}

/// Writes the initramfs of a Linux whose only purpose is to start the reader to
/// `file`. kexec-tools enters a bzImage by its 64-bit entry.
pub fn write_for_kexec(artefacts: &Artefacts, file: &Path) -> Result<(), Error> {
    let mut root = Root::with_console();
    root.add_program(Path::new("/sbin/kexec"))?;
    root.add(Path::new("/bin/busybox"), Path::new("/bin/busybox"))?;
    root.add(Path::new("/reader"), artefacts.writer_bzimage())?;
    for folder in ["proc", "sys"] {
        root.archive.directory(folder);
    }
    root.archive.program("init", KEXEC_INIT.as_bytes());
    root.write(file)
}

/// What that Linux does. `-x`: without taking a network down.
const KEXEC_INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/sbin/kexec -l /reader --command-line=fallback=poweroff && exec /sbin/kexec -e -x
";

#[derive(Default)]
struct Root {
    archive: Archive,
    directories: BTreeSet<PathBuf>,
}

impl Root {
    /// A root with nothing in it but its first process.
    fn with_init(artefacts: &Artefacts) -> Result<Self, Error> {
        let mut root = Self::with_console();
        root.add(Path::new("/init"), artefacts.guest())?;
        Ok(root)
    }

    /// A root with nothing in it.
    fn with_console() -> Self {
        let mut root = Self::default();
        root.archive.directory("dev");
        root.directories.insert("dev".into());
        // The first process's standard streams, before devtmpfs is mounted.
        root.archive.character_device("dev/console", (5, 1));
        root
    }

    /// Adds a program of the host, with the libraries that it loads, at the
    /// same paths.
    fn add_program(&mut self, program: &Path) -> Result<(), Error> {
        self.add(program, program)?;
        libraries_of(program)?.iter().try_for_each(|library| self.add(library, library))
    }

    fn write(self, file: &Path) -> Result<(), Error> {
        fs::write(file, self.archive.finish())
            .map_err(Error::host(format!("writing {}", file.display())))
    }

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
