//! What process 1 does: the mounts and settings that a userland needs, then
//! the agent, for ever.

use crate::agent;
use crate::dump;
use crate::error::Error;
use crate::serial;
use crate::system;
use rustix::mount::MountFlags;
use std::process::Command;

/// Type, place and options of what is mounted.
const MOUNTS: [(&str, &str, &std::ffi::CStr); 5] = [
    ("proc", "/proc", c""),
    ("sysfs", "/sys", c""),
    ("devtmpfs", "/dev", c""),
    ("tmpfs", "/run", c"mode=0755"),
    // The tmpfs workload's place: it may take more than the usual half of RAM.
    ("tmpfs", "/tmp", c"size=90%"),
];

/// The serial port that leads to the host (the second one; the first is the
/// console).
const AGENT_PORT: &str = "/dev/ttyS1";

/// Sets the guest up and serves the host. Returns only with an error, upon
/// which the kernel panics, which the host sees.
pub fn run() -> Result<(), Error> {
    for (kind, place, options) in MOUNTS {
        system::mount(kind, kind, place, MountFlags::empty(), options)?;
    }
    // SAFETY: process 1 has one thread so far.
    unsafe { std::env::set_var("PATH", "/usr/sbin:/usr/bin:/sbin:/bin") };
    if dump::is_asked_for() {
        return dump::run();
    }
    rustix::system::sethostname(b"dormouse-guest").map_err(Error::refused("sethostname"))?;
    let up = Command::new("ifconfig").args(["lo", "127.0.0.1", "up"]).status();
    up.map_err(Error::refused("ifconfig lo"))?;
    let port = serial::open_raw(AGENT_PORT)?;
    agent::serve(&port)
}
