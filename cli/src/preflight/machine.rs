//! Looking at the machine: memory, firmware, and what would disturb the writer.

use super::{Finding, Look};
use crate::error::Result;
use crate::linux::iomem::MemoryMap;
use crate::linux::kernel_config::{self, Setting, setting};
use crate::mailbox::Mailbox;
use crate::old_kernel::{KernelPageFlags, OldKernel};
use crate::output;
use crate::processors;
use crate::stamp::WriterElf;
use crate::system::System;
use crate::window;
use dormouse_handoff::plan::{MAX_VMCOREINFO, Methods, PowerFacts, Steps};
use dormouse_handoff::units::PAGE_SIZE;
use dormouse_power::PowerError;
use dormouse_power::methods::Followed;

/// Everything that depends on the machine alone.
pub fn findings(system: &System) -> Vec<Finding> {
    let mut findings = vec![memory_encryption(system), watchdogs(system), processors(system)];
    findings.extend(iommu(system));
    findings
}

/// Physical memory must read as the kernel sees it.
fn memory_encryption(system: &System) -> Finding {
    let subject = "memory-encryption";
    let cpuinfo = system.text("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let refused = |what: &str, advice: &str| {
        Finding::refused(subject, format!("memory is encrypted ({what})"), advice)
    };
    if has("tdx_guest") {
        return refused("TDX", "use a virtual machine without TDX");
    }
    // On a host these flags say what it offers its guests, in a guest what it is.
    if has("hypervisor") && (has("sev") || has("sev_es") || has("sev_snp")) {
        return refused("SEV", "use a virtual machine without SEV");
    }
    if has("sme") && sme_is_on(system) {
        return refused("SME", "boot with mem_encrypt=off");
    }
    Finding::good(subject, "memory is not encrypted by the kernel")
}

fn sme_is_on(system: &System) -> bool {
    let command_line = system.text("/proc/cmdline").unwrap_or_default();
    let asked = command_line.split_whitespace().rev().find_map(|a| a.strip_prefix("mem_encrypt="));
    let by_default = || {
        let config = kernel_config::text(system).unwrap_or_default();
        setting(&config, "CONFIG_AMD_MEM_ENCRYPT_ACTIVE_BY_DEFAULT") == Setting::On
    };
    asked.map_or_else(by_default, |value| value == "on")
}

/// A watchdog that user space must feed would reset the machine while the
/// writer writes.
fn watchdogs(system: &System) -> Finding {
    let subject = "watchdog";
    let folder = "/sys/class/watchdog";
    let state = |name: String| (system.line(format!("{folder}/{name}/state")), name);
    let states: Vec<_> = system.names(folder).into_iter().map(state).collect();
    let in_state = |wanted| states.iter().find(|(state, _)| state.as_deref() == wanted);
    let Some((_, name)) = in_state(Some("active")) else {
        return match in_state(None) {
            None => Finding::good(subject, "no watchdog is running"),
            Some((_, name)) => Finding::note(
                subject,
                format!(
                    "the kernel does not tell whether {name} is running (it has no \
                     CONFIG_WATCHDOG_SYSFS): if it is, it resets the machine halfway"
                ),
            ),
        };
    };
    let timeout = system.number(format!("{folder}/{name}/timeout")).unwrap_or(0);
    Finding::refused(
        subject,
        format!("{name} resets the machine {timeout} s after it was fed last"),
        "stop the service that feeds it (systemd: RuntimeWatchdogSec=0)",
    )
}

/// Linux must come through its own suspend of processors.
fn processors(system: &System) -> Finding {
    let subject = "processors";
    let Some(disk) = processors::disk_in_need(system) else {
        return Finding::good(subject, "Linux takes them offline by itself");
    };
    let why = format!("{disk} (virtio-blk) has several queues, on which Linux could hang");
    if processors::are_in_old_cpusets(system) {
        let text = format!("{why}, and cpusets of cgroup v1 would lose processors taken offline");
        return Finding::refused(subject, text, processors::ONE_QUEUE);
    }
    Finding::note(subject, format!("all but one are offline around the sleep: {why}"))
}

fn iommu(system: &System) -> Option<Finding> {
    let units = system.names("/sys/class/iommu");
    (!units.is_empty()).then(|| {
        Finding::note(
            "iommu",
            format!(
                "{} in use: the writer looks whether the kernel has switched it off, and comes back if not",
                units.join(", ")
            ),
        )
    })
}

/// How to power off.
pub fn power(facts: std::result::Result<PowerFacts, PowerError>) -> Look<PowerFacts> {
    let subject = "power-off";
    match facts {
        Ok(facts) => (Some(facts), Finding::good(subject, "ACPI tells how to power off")),
        Err(error) => {
            (None, Finding::refused(subject, error.to_string(), "use a machine with working ACPI"))
        }
    }
}

/// Whether it can be suspended to RAM.
pub fn suspend(facts: &PowerFacts) -> Finding {
    let subject = "suspend-to-ram";
    if facts.s3_type_a == PowerFacts::UNKNOWN {
        return Finding::refused(
            subject,
            "ACPI has no S3 (its tables have no \\_S3)",
            "use `dormouse hibernate`; some firmware has a setting for S3",
        );
    }
    if facts.facs.0 == 0 {
        let text = "ACPI has no place for a waking vector (FACS)";
        return Finding::refused(subject, text, "use `dormouse hibernate`");
    }
    Finding::good(subject, "ACPI has S3")
}

/// What becomes of ACPI's methods around a sleep.
pub fn methods(followed: &[Followed; 3]) -> Look<Methods> {
    let subject = "acpi-methods";
    let steps = |followed: &Followed| match followed {
        Followed::Steps(steps) => **steps,
        Followed::None | Followed::Not(..) => Steps::default(),
    };
    let [off, suspend, wake] = followed;
    let methods =
        Methods { before_off: steps(off), before_suspend: steps(suspend), after_wake: steps(wake) };
    let moments = ["before power-off", "before a suspend to RAM", "after it"];
    let not = followed.iter().zip(moments).filter_map(|(followed, moment)| match followed {
        Followed::Not(name, why) => Some(format!("{name} {moment} is not run: {why}")),
        _ => None,
    });
    let not: Vec<String> = not.collect();
    if !not.is_empty() {
        return (Some(methods), Finding::note(subject, not.join("; ")));
    }
    let count = [off, suspend, wake].map(|followed| steps(followed).count);
    let text = match followed.iter().all(|followed| *followed == Followed::None) {
        true => "the firmware has none around a sleep (_PTS, _WAK)".to_owned(),
        false => format!(
            "_PTS and _WAK come to {} accesses before power-off, {} before a suspend, {} after it",
            count[0], count[1], count[2]
        ),
    };
    (Some(methods), Finding::good(subject, text))
}

/// The memory map and where the kernel maps it.
pub fn memory(kernel: Result<OldKernel>) -> Look<OldKernel> {
    let subject = "memory";
    let kernel = match kernel {
        Ok(kernel) => kernel,
        Err(error) => {
            let advice = error.advice().unwrap_or("boot another kernel".into());
            return (None, Finding::refused(subject, error.to_string(), advice));
        }
    };
    if let Some(added) = kernel.memory.added.first() {
        let text =
            format!("memory was added after the start ({added}), and is not there at a wake-up");
        let advice = "unplug that memory, or give it to the machine at its start";
        return (Some(kernel), Finding::refused(subject, text, advice));
    }
    let size = output::bytes(kernel.memory.pages() * PAGE_SIZE);
    let text = format!("{size} in {} ranges", kernel.memory.saved.len());
    (Some(kernel), Finding::good(subject, text))
}

/// What becomes of free pages.
pub fn free_pages(kernel: &OldKernel) -> Finding {
    let subject = "free-pages";
    let kept = |why: &str| Finding::note(subject, format!("they are kept in the image: {why}"));
    match kernel.vmcoreinfo.len() {
        0 => kept("the kernel's VMCOREINFO is not to be had"),
        1..=MAX_VMCOREINFO => match kernel.free_pages.why_kept() {
            Some(why) => kept(why),
            None => Finding::good(subject, "they are left out of the image"),
        },
        _ => kept("the kernel's VMCOREINFO is too long for a plan"),
    }
}

/// A place for the writer.
pub fn window(system: &System, memory: &MemoryMap, writer: &WriterElf) -> Finding {
    let subject = "window";
    let found = KernelPageFlags::open(system)
        .map(|mut flags| window::choose(memory, &[], writer.loaded(), &mut flags));
    match found {
        Ok(Some(address)) => Finding::good(subject, format!("for example at {address}")),
        Ok(None) => Finding::refused(
            subject,
            format!(
                "no {} MiB of memory are free of kernel structures",
                writer.window_bytes() >> 20
            ),
            "free some memory, for example by ending a program",
        ),
        Err(error) => Finding::refused(
            subject,
            error.to_string(),
            "boot a kernel built with CONFIG_PROC_PAGE_MONITOR=y",
        ),
    }
}

/// Pages that stay where they are.
pub fn mailbox() -> Finding {
    let subject = "mailbox";
    let looked = Mailbox::new().and_then(|mailbox| {
        mailbox.addresses()?;
        Ok(mailbox.is_pinned())
    });
    match looked {
        Ok(true) => Finding::good(subject, "pages can be pinned"),
        Ok(false) => Finding::note(subject, "io_uring is off, so that pages can only be locked"),
        Err(error) => {
            let advice = error.advice().unwrap_or("allow io_uring and locked memory".into());
            Finding::refused(subject, error.to_string(), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Verdict;
    use dormouse_power::methods::Obstacle;
    use std::fs;

    fn system_with(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let system = System::below(root.path());
        (root, system)
    }

    fn encryption(flags: &str, command_line: &str) -> Verdict {
        let cpuinfo = format!("processor\t: 0\nflags\t\t: fpu {flags}\n");
        let (_root, system) =
            system_with(&[("proc/cpuinfo", &cpuinfo), ("proc/cmdline", command_line)]);
        memory_encryption(&system).verdict
    }

    #[test]
    fn encrypted_memory_is_a_reason_against_it() {
        assert_eq!(encryption("sse2 tdx_guest", ""), Verdict::Refused);
        assert_eq!(encryption("hypervisor sev", ""), Verdict::Refused);
        assert_eq!(encryption("sme sev", "quiet mem_encrypt=on"), Verdict::Refused);
    }

    #[test]
    fn being_able_to_encrypt_is_none() {
        assert_eq!(encryption("sse2 hypervisor", ""), Verdict::Good);
        assert_eq!(encryption("sme sev sev_es", ""), Verdict::Good);
        assert_eq!(encryption("sme", "mem_encrypt=on mem_encrypt=off"), Verdict::Good);
    }

    #[test]
    fn methods_that_are_not_run_are_named_and_the_others_are() {
        let steps = Steps { count: 2, ..Steps::default() };
        let not = Followed::Not("_PTS", Obstacle::Space(3));
        let (kept, finding) = methods(&[not, Followed::None, Followed::Steps(Box::new(steps))]);
        assert_eq!(finding.verdict, Verdict::Note);
        let text = "_PTS before power-off is not run: it calls the embedded controller";
        assert_eq!(finding.text, text);
        let kept = kept.unwrap();
        assert_eq!((kept.before_off.count, kept.after_wake.count), (0, 2));
        let none = [Followed::None, Followed::None, Followed::None];
        assert_eq!(methods(&none).1.verdict, Verdict::Good);
    }

    #[test]
    fn a_running_watchdog_is_named() {
        let (_root, system) = system_with(&[
            ("sys/class/watchdog/watchdog0/state", "inactive\n"),
            ("sys/class/watchdog/watchdog1/state", "active\n"),
            ("sys/class/watchdog/watchdog1/timeout", "30\n"),
        ]);
        let finding = watchdogs(&system);
        assert_eq!(finding.verdict, Verdict::Refused);
        assert!(finding.text.starts_with("watchdog1 resets the machine 30 s"));
        let (_root, system) = system_with(&[("sys/class/watchdog/watchdog0/state", "inactive\n")]);
        assert_eq!(watchdogs(&system).verdict, Verdict::Good);
    }

    #[test]
    fn a_watchdog_of_which_the_kernel_tells_nothing_is_not_called_at_rest() {
        let (_root, system) = system_with(&[("sys/class/watchdog/watchdog0/dev", "10:130\n")]);
        let finding = watchdogs(&system);
        assert_eq!(finding.verdict, Verdict::Note);
        assert!(finding.text.contains("whether watchdog0 is running"), "{}", finding.text);
    }
}
