//! Raw disk images: made, formatted, checked.

mod gpt;
mod mbr;
pub mod medium;

pub use gpt::PARTITION_START;

use crate::error::Error;
use crate::host_program;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DEBUGFS: &str = "/sbin/debugfs";

/// What names a disk's only partition, which is the same in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A GUID partition table.
    Gpt,
    /// A master boot record with an extended partition.
    Extended,
}

impl Table {
    /// Writes it to a disk image: the partition takes all but the first and the last
    /// MiB.
    pub fn write(self, file: &Path) -> Result<(), Error> {
        match self {
            Self::Gpt => gpt::write_one_partition(file),
            Self::Extended => mbr::write_one_logical_partition(file),
        }
    }

    /// The partition's number in Linux, which keeps four for those that are in no
    /// extended one.
    pub const fn number(self) -> u32 {
        match self {
            Self::Gpt => 1,
            Self::Extended => 5,
        }
    }
}

/// Makes an empty disk of this many bytes.
pub fn blank(file: &Path, bytes: u64) -> Result<(), Error> {
    let made = File::create(file).and_then(|disk| disk.set_len(bytes));
    made.map_err(Error::host(format!("making {}", file.display())))
}

/// Gives a disk all its blocks, as a real one has them: otherwise the host looks for
/// a place for each while the guest writes it for the first time.
///
/// What is there is written once more: where the file is in memory, `fallocate` gives it
/// pages that nobody has touched yet.
pub fn allocate(file: &Path) -> Result<(), Error> {
    let write_all = || -> std::io::Result<()> {
        let disk = File::options().read(true).write(true).open(file)?;
        let bytes = disk.metadata()?.len();
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < bytes {
            let part = buffer.len().min((bytes - at) as usize);
            disk.read_exact_at(&mut buffer[..part], at)?;
            disk.write_all_at(&buffer[..part], at)?;
            at += part as u64;
        }
        Ok(())
    };
    write_all().map_err(Error::host(format!("allocating {}", file.display())))
}

/// Makes a disk of this many bytes with an ext4 file system on it.
pub fn ext4(file: &Path, bytes: u64) -> Result<(), Error> {
    blank(file, bytes)?;
    format_ext4(file)
}

/// Makes an ext4 file system on a disk that nobody uses.
pub fn format_ext4(file: &Path) -> Result<(), Error> {
    // Nothing left for the guest to initialise in the background.
    let options = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    host_program::run(Command::new("/sbin/mkfs.ext4").args(options).arg(file)).map(drop)
}

/// Checks the ext4 file system on a disk; an error unless it is clean.
pub fn check_ext4(file: &Path) -> Result<(), Error> {
    host_program::run(Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(file)).map(drop)
}

/// Copies a file out of the ext4 file system on a disk that nobody uses.
pub fn extract_ext4(disk: &Path, name: &str, to: &Path) -> Result<(), Error> {
    let request = format!("dump /{name} {}", to.display());
    host_program::run(Command::new(DEBUGFS).args(["-R", &request]).arg(disk))?;
    // debugfs ends well even where there is no such file.
    if to.exists() { Ok(()) } else { Err(Error::verdict(format!("no {name} on the disk"))) }
}

/// Puts files and symbolic links of the host into the ext4 file system on a disk that
/// nobody uses, over those of the same name, owned by root: paths there, and where
/// they are from.
pub fn put_into_ext4(disk: &Path, files: &[(PathBuf, PathBuf)]) -> Result<(), Error> {
    let mut commands = String::new();
    for (path, from) in files {
        // It takes names only in the folder that it is in.
        commands += "cd /\n";
        for folder in path.parent().into_iter().flat_map(Path::iter).skip(1) {
            let folder = folder.display();
            commands += &format!("mkdir {folder}\ncd {folder}\n");
        }
        let name = path.file_name().map(Path::new).unwrap_or(path).display();
        commands += &match std::fs::read_link(from) {
            Ok(to) => format!("rm {name}\nsymlink {name} {}\n", to.display()),
            Err(_) => format!("rm {name}\nwrite {} {name}\n", from.display()),
        };
    }
    let script = disk.with_extension("debugfs");
    let tried = || format!("{DEBUGFS} -w -f {} {}", script.display(), disk.display());
    std::fs::write(&script, commands).map_err(Error::host(tried()))?;
    let mut debugfs = Command::new(DEBUGFS);
    debugfs.args(["-w", "-f"]).arg(&script).arg(disk).stdin(Stdio::null());
    let ran = debugfs.output().map_err(Error::host(tried()))?;
    // It ends well whatever happened, and complains of folders that are there and
    // of files that are not.
    let words = String::from_utf8_lossy(&ran.stderr).into_owned();
    let expected = ["debugfs ", "ext2fs_mkdir: ", "mkdir: ", "rm: "];
    match words.lines().find(|line| !expected.iter().any(|begin| line.starts_with(begin))) {
        None if ran.status.success() => Ok(()),
        line => Err(Error::Program { command: tried(), outcome: line.unwrap_or("failed").into() }),
    }
}
