//! What a crash kernel's userland does: write the crashed kernel's memory to a
//! disk with makedumpfile, as distributions' kdump does, and power off.

use crate::error::Error;
use crate::system;
use std::path::Path;

/// The crashed kernel's memory; only a crash kernel has it.
const MEMORY: &str = "/proc/vmcore";

/// The disk with an ext4 file system that takes the dump.
const DISK: &str = "/dev/nvme0n1";

const DIRECTORY: &str = "/dump";

/// Whether this is a crash kernel with an old kernel's memory to write.
pub fn is_asked_for() -> bool {
    Path::new(MEMORY).exists()
}

/// Dumps all but free pages (`-d 16`), as they are.
pub fn run() -> Result<(), Error> {
    system::mount_ext4(DISK, DIRECTORY)?;
    let file = format!("{DIRECTORY}/vmcore");
    println!("dump begins");
    let argv = ["makedumpfile", "--message-level", "1", "-d", "16", MEMORY, &file];
    let ran = system::run(&argv.map(String::from))?;
    if ran.code != Some(0) {
        return Err(Error::Lost(format!("makedumpfile: {}{}", ran.stdout, ran.stderr)));
    }
    system::unmount(DIRECTORY)?;
    println!("dump ends");
    system::power_off()
}
