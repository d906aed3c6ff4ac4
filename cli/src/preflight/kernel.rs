//! Looking at the kernel: does it have the door, and may we use it?

use super::{Finding, Look};
use crate::door::{Door, kexec_program};
use crate::first_gdt::needs_none;
use crate::linux::kernel_config::{self, Setting, setting};
use crate::machine::kernel_release;
use crate::old_kernel::tells_first_gdt;
use crate::stamp::WriterElf;
use crate::system::System;
use crate::writer_file;
use std::path::Path;

/// Everything that depends on the kernel and its policy alone.
pub fn findings(system: &System) -> Vec<Finding> {
    vec![door(system), lockdown(system), hibernation(system), kexec_tools(system)]
}

/// Whether we are root.
pub fn privilege() -> Finding {
    let subject = "privilege";
    if rustix::process::geteuid().is_root() {
        Finding::good(subject, "running as root")
    } else {
        Finding::refused(subject, "not running as root", "run it again as root (sudo)")
    }
}

fn door(system: &System) -> Finding {
    let subject = "kexec-jump";
    let release = kernel_release();
    match Door::probe(system) {
        Door::Open if !needs_none(&release) && !tells_first_gdt(system) => Finding::refused(
            subject,
            format!(
                "kernel {release} can jump, but could not return: it does not tell where its GDT is"
            ),
            "boot a kernel with CONFIG_KALLSYMS_ALL=y, or another than 6.2 to 6.13",
        ),
        Door::Open => Finding::good(subject, format!("kernel {release} can jump and return")),
        Door::NoJump => Finding::refused(
            subject,
            format!("kernel {release} cannot jump and return{}", configured(system)),
            "boot a kernel built with CONFIG_KEXEC_JUMP=y",
        ),
        Door::NoKexec => Finding::refused(
            subject,
            format!("kernel {release} has no kexec"),
            "boot a kernel built with CONFIG_KEXEC=y and CONFIG_KEXEC_JUMP=y",
        ),
        Door::Forbidden => Finding::refused(
            subject,
            "the kernel does not allow kexec_load",
            "see `lockdown` below, and sysctl kernel.kexec_load_disabled",
        ),
        Door::Taken => Finding::refused(
            subject,
            "something is loaded for kexec already",
            "unload it with `kexec -u`",
        ),
        Door::Odd(errno) => Finding::refused(
            subject,
            format!("the kernel's answer to kexec_load is not understood: {errno}"),
            "boot another kernel",
        ),
    }
}

/// What the kernel's own configuration says, to make the refusal clearer.
fn configured(system: &System) -> &'static str {
    match kernel_config::text(system).map(|text| setting(&text, "CONFIG_KEXEC_JUMP")) {
        Some(Setting::Off) => " (its configuration has CONFIG_KEXEC_JUMP off)",
        _ => "",
    }
}

fn lockdown(system: &System) -> Finding {
    let subject = "lockdown";
    let text = system.line("/sys/kernel/security/lockdown").unwrap_or_default();
    let level = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    match level {
        None | Some(("none", _)) => Finding::good(subject, "the kernel is not locked down"),
        Some((level, _)) => Finding::refused(
            subject,
            format!("the kernel is locked down ({level}), which forbids kexec_load"),
            "switch Secure Boot off, or boot without lockdown=",
        ),
    }
}

fn hibernation(system: &System) -> Finding {
    let subject = "hibernation";
    match system.line("/sys/power/disk") {
        Some(text) if text.contains("[disabled]") => Finding::refused(
            subject,
            "the kernel says that this system must not hibernate (/sys/power/disk: disabled)",
            "the reason may be lockdown, a program with secret memory, or CXL memory",
        ),
        Some(_) => Finding::good(subject, "the kernel knows no reason against it"),
        None => {
            Finding::note(subject, "the kernel cannot tell whether something speaks against it")
        }
    }
}

fn kexec_tools(system: &System) -> Finding {
    let subject = "kexec-tools";
    match kexec_program(system) {
        Some(path) => Finding::good(subject, format!("{} is there", path.display())),
        None => Finding::refused(subject, "the program kexec is missing", "install kexec-tools"),
    }
}

/// Looks at the writer.
pub fn writer(path: &Path) -> Look<WriterElf> {
    let subject = "writer";
    match writer_file::load(path) {
        Ok(writer) => {
            let size = writer.window_bytes() >> 20;
            let text = format!("{} needs a window of {size} MiB", path.display());
            (Some(writer), Finding::good(subject, text))
        }
        Err(error) => {
            let advice = error.advice().unwrap_or("name another one with --writer".into());
            (None, Finding::refused(subject, error.to_string(), advice))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Verdict;
    use std::fs;

    fn system_with(path: &str, text: &str) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        let system = System::below(root.path());
        (root, system)
    }

    #[test]
    fn lockdown_is_a_reason_against_it() {
        let (_root, system) =
            system_with("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        let finding = lockdown(&system);
        assert_eq!(finding.verdict, Verdict::Refused);
        assert!(finding.text.contains("integrity"));
        let (_root, system) =
            system_with("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
        assert_eq!(lockdown(&system).verdict, Verdict::Good);
    }

    #[test]
    fn a_kernel_that_forbids_hibernation_is_obeyed() {
        let (_root, system) = system_with("sys/power/disk", "[disabled]\n");
        assert_eq!(hibernation(&system).verdict, Verdict::Refused);
        let (_root, system) = system_with("sys/power/disk", "[platform] shutdown reboot\n");
        assert_eq!(hibernation(&system).verdict, Verdict::Good);
    }

    #[test]
    fn a_kernel_without_kexec_has_no_door() {
        let (_root, system) = system_with("nothing", "");
        assert_eq!(Door::probe(&system), Door::NoKexec);
        let (_root, system) = system_with("sys/kernel/kexec_loaded", "1\n");
        assert_eq!(Door::probe(&system), Door::Taken);
    }
}
