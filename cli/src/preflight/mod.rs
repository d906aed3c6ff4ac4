//! Can this machine do it? Everything is looked at, nothing is changed, and
//! each finding is one line with what to do about it.

mod finding;
mod kernel;
mod machine;
mod target;

pub use finding::{Finding, Verdict};
pub use target::SurveyedTarget;

use crate::acpi;
use crate::error::{Error, Result};
use crate::machine as this_machine;
use crate::old_kernel::OldKernel;
use crate::planner::Circumstances;
use crate::reloaded;
use crate::screen;
use crate::stamp::WriterElf;
use crate::system::System;
use crate::target::asleep;
use dormouse_handoff::checksum::Nonce;
use dormouse_handoff::plan::{Methods, PowerFacts};
use dormouse_handoff::screen::Framebuffer;
use std::path::PathBuf;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Question {
    /// The target, where one is named.
    pub target: Option<PathBuf>,
    /// The writer.
    pub writer: PathBuf,
    /// Whether the machine has to be able to suspend to RAM.
    pub suspend: bool,
    /// Whether a system that sleeps elsewhere is in the way.
    pub sleeps: bool,
    /// The snapshot on the target that is to be replaced.
    pub replaces: Option<Nonce>,
}

/// Everything that was found.
#[derive(Debug)]
pub struct Survey {
    /// One entry a reason, in the order in which to act on them.
    pub findings: Vec<Finding>,
    kernel: Option<OldKernel>,
    power: Option<PowerFacts>,
    methods: Methods,
    screen: Option<Framebuffer>,
    writer: Option<WriterElf>,
    target: Option<SurveyedTarget>,
}

/// What a hibernation needs to know, once nothing stands in its way.
#[derive(Debug)]
pub struct Ready {
    /// What goes into the plan.
    pub circumstances: Circumstances,
    /// The writer.
    pub writer: WriterElf,
    /// What lies on the target and who uses it, where one was named.
    pub target: Option<SurveyedTarget>,
}

impl Survey {
    /// Looks at everything.
    pub fn take(system: &System, question: &Question) -> Self {
        let mut findings = vec![kernel::privilege()];
        if findings[0].verdict == Verdict::Refused {
            // Without privilege nearly every other look would be a guess.
            return Self {
                findings,
                kernel: None,
                power: None,
                methods: Methods::default(),
                screen: None,
                writer: None,
                target: None,
            };
        }
        // The kernel takes its time over its symbols: the rest is looked at meanwhile.
        let (kernel, power, writer, target) = std::thread::scope(|scope| {
            let kernel = scope.spawn(|| OldKernel::look(system));
            findings.extend(kernel::findings(system));
            findings.extend(machine::findings(system));
            let power = keep(&mut findings, machine::power(acpi::power_facts(system)));
            let writer = kernel::writer(&question.writer);
            let look = |path: &PathBuf| SurveyedTarget::look(system, path);
            let target = question.target.as_ref().map(look);
            let kernel = kernel.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (kernel, power, writer, target)
        });
        if question.suspend {
            findings.extend(power.as_ref().map(machine::suspend));
        }
        let kernel = keep(&mut findings, machine::memory(kernel));
        if question.suspend {
            let finding = |kernel: &OldKernel| reloaded::finding(system, &kernel.memory);
            findings.extend(kernel.as_ref().map(finding));
        }
        let writer = keep(&mut findings, writer);
        findings.extend(kernel.as_ref().map(machine::free_pages));
        let methods = kernel.as_ref().and_then(|kernel| {
            let methods = acpi::methods(system, &kernel.memory).ok()?;
            keep(&mut findings, machine::methods(&methods))
        });
        let methods = methods.unwrap_or_default();
        let screen = kernel
            .as_ref()
            .and_then(|kernel| keep(&mut findings, screen::look(system, &kernel.memory)));
        if let (Some(kernel), Some(writer)) = (&kernel, &writer) {
            findings.push(machine::window(system, &kernel.memory, writer));
        }
        findings.push(machine::mailbox());
        let target = target.and_then(|looked| {
            let pages = kernel.as_ref().map(|kernel| kernel.memory.pages());
            let (target, found) = target::findings(looked, pages, question.replaces);
            findings.extend(found);
            target
        });
        if question.sleeps {
            let number = target.as_ref().map(|target| target.device.number);
            findings.extend(target::other_images(&asleep::elsewhere(system, number)));
        }
        Self { findings, kernel, power, methods, screen, writer, target }
    }

    /// Whether nothing stands in the way.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Refused)
    }

    /// What a hibernation needs to know.
    ///
    /// # Errors
    /// [`Error::Refused`] with every reason.
    pub fn ready(self, system: &System) -> Result<Ready> {
        let Self { findings, kernel, power, methods, screen, writer, target } = self;
        let refused: Vec<Finding> =
            findings.into_iter().filter(|f| f.verdict == Verdict::Refused).collect();
        // A target that was named and could not be looked at is a finding.
        match (kernel, power, writer) {
            (Some(kernel), Some(power), Some(writer)) if refused.is_empty() => {
                let circumstances = Circumstances {
                    kernel,
                    kernel_release: this_machine::kernel_release(),
                    power,
                    machine: this_machine::facts(system),
                    rsdp: acpi::rsdp(system),
                    framebuffer: screen,
                    methods,
                    ecam: acpi::ecam(system),
                    iommus: acpi::iommus(system),
                    device: target.as_ref().map(|target| target.device.clone()),
                };
                Ok(Ready { circumstances, writer, target })
            }
            _ => Err(Error::Refused(refused)),
        }
    }
}

/// A look that gives something to go on with, and what to say about it.
type Look<T> = (Option<T>, Finding);

fn keep<T>(findings: &mut Vec<Finding>, (value, finding): Look<T>) -> Option<T> {
    findings.push(finding);
    value
}
