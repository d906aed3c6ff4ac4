//! Mounts, programs, facts and power.

use crate::error::Error;
use dormouse_guest::protocol::{Facts, Ran};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::system::RebootCommand;
use std::ffi::{CStr, CString};
use std::process::Command;

/// Mounts a file system at `place`, which is made if it is missing.
pub fn mount(
    source: &str,
    kind: &str,
    place: &str,
    flags: MountFlags,
    options: &CStr,
) -> Result<(), Error> {
    let tried = || format!("mounting {source} at {place}");
    std::fs::create_dir_all(place).map_err(Error::refused(tried()))?;
    rustix::mount::mount(source, place, kind, flags, options).map_err(Error::refused(tried()))
}

/// Mounts an ext4 file system that answers errors with a panic, so that none
/// goes unseen.
pub fn mount_ext4(device: &str, directory: &str) -> Result<(), Error> {
    mount(device, "ext4", directory, MountFlags::NOATIME, c"errors=panic")
}

/// Unmounts, once nobody uses it any more.
pub fn unmount(directory: &str) -> Result<(), Error> {
    rustix::mount::unmount(directory, UnmountFlags::empty())
        .map_err(Error::refused(format!("unmounting {directory}")))
}

/// Swaps to `device` with a priority of one's own, which busybox's `swapon` cannot.
pub fn swap_on(device: &str, priority: u16) -> Result<(), Error> {
    /// A priority is asked for (Linux include/linux/swap.h).
    const PREFER: i32 = 0x8000;
    let tried = || format!("swapping to {device}");
    let path =
        CString::new(device).map_err(|e| Error::refused(tried())(std::io::Error::from(e)))?;
    // SAFETY: the argument is a C string that lives through the call.
    match unsafe { libc::swapon(path.as_ptr(), PREFER | i32::from(priority & 0x7fff)) } {
        0 => Ok(()),
        _ => Err(Error::refused(tried())(std::io::Error::last_os_error())),
    }
}

/// Runs a program to its end.
pub fn run(argv: &[String]) -> Result<Ran, Error> {
    let [program, arguments @ ..] = argv else {
        return Err(Error::NoSuch { wanted: "program in an empty command line".into() });
    };
    let output = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(Error::refused(format!("running {program}")))?;
    Ok(Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into(),
        stderr: String::from_utf8_lossy(&output.stderr).into(),
    })
}

/// Clock, processors, memory.
pub fn facts() -> Result<Facts, Error> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .map_err(Error::refused(path))
    };
    let meminfo = read("/proc/meminfo")?;
    let memory = |name: &str| {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = value.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map(|kib| kib << 10)
            .ok_or_else(|| Error::NoSuch { wanted: format!("{name} in meminfo") })
    };
    Ok(Facts {
        realtime_ns: now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64,
        cpus_online: read("/sys/devices/system/cpu/online")?,
        cpus_present: read("/sys/devices/system/cpu/present")?,
        memory_total: memory("MemTotal")?,
        memory_available: memory("MemAvailable")?,
        kernel_release: rustix::system::uname().release().to_string_lossy().into(),
    })
}

/// Syncs and powers off.
pub fn power_off() -> Result<(), Error> {
    rustix::fs::sync();
    rustix::system::reboot(RebootCommand::PowerOff).map_err(Error::refused("powering off"))
}
