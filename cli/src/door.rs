//! The kexec door: whether the kernel has it, and going through it.

use crate::error::{Error, Result};
use crate::guard::quoted;
use crate::system::System;
use dormouse_handoff::units::PhysAddr;
use rustix::io::Errno;
use rustix::system::{RebootCommand, reboot};
use std::ffi::c_ulong;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

// Linux include/uapi/linux/kexec.h.
const KEXEC_PRESERVE_CONTEXT: c_ulong = 0x2;
const KEXEC_ARCH_X86_64: c_ulong = 62 << 16;

/// What the kernel says about the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// It can be opened.
    Open,
    /// The kernel was built without CONFIG_KEXEC_JUMP.
    NoJump,
    /// The kernel was built without CONFIG_KEXEC.
    NoKexec,
    /// Not allowed: no privilege, lockdown, or switched off by sysctl.
    Forbidden,
    /// Something is loaded for kexec already, and asking would unload it.
    Taken,
    /// The kernel gave another answer.
    Odd(Errno),
}

impl Door {
    /// Asks the kernel.
    ///
    /// Loading nothing at all, but with the flag that only a kernel with
    /// CONFIG_KEXEC_JUMP knows, changes nothing as long as nothing is loaded.
    pub fn probe(system: &System) -> Self {
        match system.number("/sys/kernel/kexec_loaded") {
            Some(0) => {}
            Some(_) => return Self::Taken,
            None => return Self::NoKexec,
        }
        match load_nothing() {
            Ok(()) => Self::Open,
            Err(Errno::INVAL) => Self::NoJump,
            Err(Errno::PERM | Errno::ACCESS) => Self::Forbidden,
            Err(Errno::NOSYS) => Self::NoKexec,
            Err(errno) => Self::Odd(errno),
        }
    }
}

/// `kexec_load` without a segment: unloads what is loaded.
fn load_nothing() -> std::result::Result<(), Errno> {
    let flags = KEXEC_PRESERVE_CONTEXT | KEXEC_ARCH_X86_64;
    let none: *const libc::c_void = std::ptr::null();
    // SAFETY: with a count of zero the kernel reads no segment.
    let result =
        unsafe { libc::syscall(libc::SYS_kexec_load, 0 as c_ulong, 0 as c_ulong, none, flags) };
    if result == 0 {
        return Ok(());
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Err(Errno::from_raw_os_error(errno))
}

/// Where the program `kexec` is.
pub fn kexec_program(system: &System) -> Option<PathBuf> {
    ["/usr/sbin/kexec", "/sbin/kexec", "/usr/bin/kexec", "/usr/local/sbin/kexec"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| system.exists(path))
}

/// A writer that the kernel holds ready; unloaded when this goes.
#[derive(Debug)]
pub struct Loaded(());

impl Loaded {
    /// Loads a stamped writer into its window.
    ///
    /// # Errors
    /// [`Error::NoKexec`], [`Error::KexecLoad`].
    pub fn new(system: &System, file: &Path, window: PhysAddr, window_bytes: u64) -> Result<Self> {
        let program = kexec_program(system).ok_or(Error::NoKexec)?;
        let last = window.0 + (window_bytes - 1);
        let output = Command::new(&program)
            .arg("--kexec-syscall") // The file-based call knows no way back.
            .arg("-l")
            .arg("--load-preserve-context")
            // Its Multiboot2 header would be tried first, which knows no way back.
            .arg("--type=elf-x86_64")
            .arg("--args-none")
            .arg(format!("--mem-min={:#x}", window.0))
            .arg(format!("--mem-max={last:#x}"))
            .arg(file)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Io { doing: "run", path: program, source })?;
        if output.status.success() {
            return Ok(Self(()));
        }
        let said = [output.stderr, output.stdout].concat();
        Err(Error::KexecLoad(String::from_utf8_lossy(&said).trim().to_owned()))
    }

    /// The command that unloads it.
    pub fn undo(system: &System) -> Option<String> {
        let program = kexec_program(system)?;
        Some(format!("{} --kexec-syscall -u", quoted(program.display())))
    }

    /// Jumps, and comes back once the old kernel runs again: at once where the
    /// writer could not do its work, after the wake-up where it could.
    ///
    /// The jump is made here and not by `kexec -e`: that takes the network down
    /// first, and after the return it takes its coming back for a failure.
    ///
    /// # Errors
    /// The kernel's reason for not jumping.
    pub fn jump(&self) -> std::result::Result<(), Errno> {
        reboot(RebootCommand::Kexec)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = load_nothing();
    }
}
