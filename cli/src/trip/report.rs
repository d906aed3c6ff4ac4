//! What became of an attempt.

use super::Purpose;
use crate::entropy::Worth;
use crate::error::Error;
use crate::exit::Exit;
use crate::mailbox::Mail;
use crate::output::{self, Output};
use dormouse_handoff::image::Counts;
use dormouse_handoff::mailbox::{self, Statistics};
use dormouse_handoff::plan::Stage;
use dormouse_handoff::units::PAGE_SIZE;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Lines of the writer's log that are shown after a failure.
const LOG_LINES: usize = 20;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The machine slept and was woken from its image.
    Woken,
    /// The machine was suspended to RAM and was woken from there.
    WokenFromRam,
    /// What was asked for is done; there was no sleep.
    Done,
    /// The writer came back with an error.
    Returned,
    /// The kernel did not jump, or nobody left word in the mailbox.
    NotEntered,
    /// It never came to the jump.
    Failed,
}

/// What became of an attempt, as `--json` prints and `/run/dormouse/last.json`
/// keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it was for.
    pub purpose: Purpose,
    /// How it ended.
    pub outcome: Outcome,
    /// The target; empty where there was none.
    pub target: String,
    /// When it ended, in seconds since 1970.
    pub ended: u64,
    /// Seconds between the jump and the return, by the clock on the wall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asleep_seconds: Option<f64>,
    /// The stage that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Why it did not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The writer's pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Pass>,
    /// The reader's pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Pass>,
    /// What became of the pages, or would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
    /// What a hibernation would take, after a rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// How good the random numbers are that the woken kernel was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<Worth>,
    /// By how many seconds the system's clock was put right, where that of the
    /// machine had moved otherwise than Linux thought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_corrected_seconds: Option<i64>,
    /// Wake-ups from this image before this one.
    #[serde(default)]
    pub woken_before: u64,
    /// After a wake-up from a disk, why the machine must not be suspended to RAM, by
    /// Linux's own means either, where that would lose some of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_suspend: Option<String>,
    /// The last lines of the writer's log, after a failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// What went wrong on the side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One pass over the image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// Bytes of pages that went over the device.
    pub data_bytes: u64,
    /// Bytes of everything else.
    pub meta_bytes: u64,
    /// Seconds from entry to the first data command.
    pub first_data_seconds: f64,
    /// Seconds from the first data command to the last completion.
    pub data_seconds: f64,
    /// Seconds from there to the end of the pass.
    pub finish_seconds: f64,
    /// Bytes of pages a second, while they went.
    pub bytes_per_second: f64,
}

/// What a hibernation of the memory as it is now would take on this disk.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Bytes that would be stored.
    pub stored_bytes: u64,
    /// Seconds from the jump to the power-off; not known where nothing was
    /// written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_seconds: Option<f64>,
    /// Seconds of reading at the wake-up.
    pub read_seconds: f64,
}

impl Estimate {
    fn of(report: &Report) -> Self {
        let stored_bytes = report.pages.map_or(0, |pages| pages.stored * PAGE_SIZE);
        let read_seconds = report.read.map_or(0.0, |pass| {
            let seconds = stored_bytes as f64 / pass.bytes_per_second;
            if seconds.is_finite() { seconds } else { 0.0 }
        });
        let write_seconds = report
            .write
            .map(|pass| pass.first_data_seconds + pass.data_seconds + pass.finish_seconds);
        Self { stored_bytes, write_seconds, read_seconds }
    }

    fn line(&self) -> String {
        let write = match self.write_seconds {
            Some(seconds) => format!("about {seconds:.1} s to write"),
            None => "an unknown time to write".to_owned(),
        };
        format!(
            "  a hibernation now would store {}: {write}, {:.1} s to read",
            output::bytes(self.stored_bytes),
            self.read_seconds
        )
    }
}

/// What became of the old kernel's pages.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pages {
    /// Stored.
    pub stored: u64,
    /// Of zeros: noted, not stored.
    pub zero: u64,
    /// Free: left out.
    pub free: u64,
    /// Left out because they must not be touched: broken, or not there.
    pub excluded: u64,
    /// Of the window.
    pub window: u64,
    /// Seconds for finding out which are free.
    pub walk_seconds: f64,
}

impl Pages {
    fn of(counts: &Counts, write: &Statistics) -> Self {
        let Counts { stored, zero, free, excluded, window } = *counts;
        let walk_seconds = write.walk_us as f64 / 1e6;
        Self { stored, zero, free, excluded, window, walk_seconds }
    }

    fn line(&self) -> String {
        let bytes = |pages| output::bytes(pages * PAGE_SIZE);
        let untouchable = match self.excluded {
            0 => String::new(),
            pages => format!(", {} that must not be touched", bytes(pages)),
        };
        format!(
            "  left out {} free, {} of zeros{untouchable}; found out in {:.0} ms",
            bytes(self.free),
            bytes(self.zero),
            self.walk_seconds * 1e3,
        )
    }
}

impl Pass {
    fn of(statistics: &Statistics) -> Self {
        let seconds = |us: u64| us as f64 / 1e6;
        let data_seconds = seconds(statistics.data_us);
        let rate = statistics.data_bytes as f64 / data_seconds;
        Self {
            data_bytes: statistics.data_bytes,
            meta_bytes: statistics.meta_bytes,
            first_data_seconds: seconds(statistics.first_data_us),
            data_seconds,
            finish_seconds: seconds(statistics.finish_us),
            bytes_per_second: if rate.is_finite() { rate } else { 0.0 },
        }
    }

    fn line(&self, verb: &str) -> String {
        format!(
            "  {verb} {} in {:.2} s ({}/s); {:.0} ms before, {:.0} ms after",
            output::bytes(self.data_bytes),
            self.data_seconds,
            output::bytes(self.bytes_per_second as u64),
            self.first_data_seconds * 1e3,
            self.finish_seconds * 1e3,
        )
    }
}

impl Outcome {
    /// Its name in `--json` and in hooks' environment.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Woken => "woken",
            Self::WokenFromRam => "woken-from-ram",
            Self::Done => "done",
            Self::Returned => "returned",
            Self::NotEntered => "not-entered",
            Self::Failed => "failed",
        }
    }
}

impl Report {
    /// The report after the kernel has come back from the jump, or not made it.
    pub fn new(
        purpose: Purpose,
        target: Option<&Path>,
        away: Duration,
        jumped: Result<(), Errno>,
        mail: Option<&Mail>,
    ) -> Self {
        let mut report = Self::blank(purpose, target);
        let Some(mail) = mail else {
            report.message = Some("the mailbox is gone: its pages were moved".to_owned());
            return report;
        };
        report.stage = Stage::from_number(mail.head.stage).map(|stage| stage.name().to_owned());
        match mailbox::Outcome::from_number(mail.head.outcome) {
            Some(mailbox::Outcome::Woken) => {
                report.outcome = Outcome::Woken;
                report.woken_before = mail.head.woken_before;
                // Of newer snapshots that could not be woken.
                report.message = Some(mail.message()).filter(|message| !message.is_empty());
                report.asleep_seconds = Some(away.as_secs_f64());
                report.take_passes(mail);
            }
            Some(mailbox::Outcome::WokenFromRam) => {
                report.outcome = Outcome::WokenFromRam;
                report.asleep_seconds = Some(away.as_secs_f64());
                report.take_passes(mail);
            }
            Some(mailbox::Outcome::Done) => {
                report.outcome = Outcome::Done;
                report.take_passes(mail);
                if matches!(purpose, Purpose::Rehearse { .. }) {
                    report.estimate = Some(Estimate::of(&report));
                }
            }
            Some(mailbox::Outcome::Returned) => {
                report.outcome = Outcome::Returned;
                report.message = Some(mail.message());
                report.log = mail.log_tail(LOG_LINES).into_iter().map(str::to_owned).collect();
            }
            _ => {
                report.message = Some(match jumped {
                    Err(errno) => {
                        let error = Error::Jump(errno);
                        let advice = error.advice().unwrap_or_default();
                        format!("{error}; {advice}")
                    }
                    Ok(()) => "the writer left no word: it never ran, or could not read its plan"
                        .to_owned(),
                });
            }
        }
        report
    }

    /// The report of an attempt that never came to the jump.
    pub fn failed(purpose: Purpose, target: Option<&Path>, error: &Error) -> Self {
        let message = Some(error.to_string());
        Self { outcome: Outcome::Failed, message, ..Self::blank(purpose, target) }
    }

    fn take_passes(&mut self, mail: &Mail) {
        let pass = |of: &Statistics| (of.data_us > 0).then(|| Pass::of(of));
        self.write = pass(&mail.head.write);
        self.read = pass(&mail.head.read);
        let pages = Pages::of(&mail.head.counts, &mail.head.write);
        self.pages = (mail.head.counts.total() > 0).then_some(pages);
    }

    fn blank(purpose: Purpose, target: Option<&Path>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            purpose,
            outcome: Outcome::NotEntered,
            target: target.map_or_else(String::new, |path| path.display().to_string()),
            ended: since.map_or(0, |since| since.as_secs()),
            asleep_seconds: None,
            stage: None,
            message: None,
            write: None,
            read: None,
            pages: None,
            estimate: None,
            entropy: None,
            clock_corrected_seconds: None,
            woken_before: 0,
            no_suspend: None,
            log: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The exit status that goes with it.
    pub fn exit(&self) -> Exit {
        match self.outcome {
            Outcome::Woken | Outcome::WokenFromRam | Outcome::Done => Exit::Done,
            Outcome::Returned | Outcome::NotEntered | Outcome::Failed => Exit::Failed,
        }
    }

    /// Shows it.
    pub fn print(&self, output: Output) {
        for line in self.lines() {
            output.say(line);
        }
        for warning in &self.warnings {
            output.warn(warning);
        }
        output.object(self);
    }

    fn done_lines(&self) -> Vec<String> {
        let target = &self.target;
        match self.purpose {
            Purpose::Snapshot { reusable: true } => vec![
                format!("a reusable snapshot is on {target}; this system goes on"),
                "  every start of the reader wakes it, until `dormouse discard`".to_owned(),
            ],
            Purpose::Snapshot { reusable: false } => vec![
                format!("a snapshot for inspection is on {target}; this system goes on"),
                format!("  it is never woken: `dormouse inspect {target}`"),
            ],
            Purpose::Rehearse { write: true } => vec![
                "the rehearsal went well: written, read back, and every page the same".to_owned(),
                format!("  {target} is as it was, and so is this system"),
            ],
            _ => vec!["the way there and back works; nothing was written".to_owned()],
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let at = |stage: &Option<String>| {
            stage.as_ref().map(|stage| format!(" at stage `{stage}`")).unwrap_or_default()
        };
        match self.outcome {
            Outcome::Woken => lines.push(format!(
                "woken from {} after {}",
                self.target,
                output::span(self.asleep_seconds.unwrap_or(0.0))
            )),
            Outcome::WokenFromRam => lines.push(format!(
                "woken from RAM after {}",
                output::span(self.asleep_seconds.unwrap_or(0.0))
            )),
            Outcome::Done => lines.extend(self.done_lines()),
            Outcome::Returned => lines.push(format!(
                "the writer came back{}; this system goes on as before",
                at(&self.stage)
            )),
            Outcome::NotEntered | Outcome::Failed => {
                lines.push("no sleep; this system goes on as before".to_owned());
            }
        }
        lines.extend(self.message.as_ref().map(|message| format!("  {message}")));
        lines.extend(self.write.map(|pass| pass.line("written")));
        lines.extend(self.pages.as_ref().map(Pages::line));
        lines.extend(self.read.map(|pass| pass.line("read")));
        lines.extend(self.estimate.as_ref().map(Estimate::line));
        lines.extend(self.no_suspend.as_ref().map(|why| {
            format!("  do not suspend this system to RAM, by Linux's own means either: {why}")
        }));
        if !self.log.is_empty() {
            lines.push("its log ends so:".to_owned());
            lines.extend(self.log.iter().map(|line| format!("  | {line}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_handoff::mailbox::{Head, blank_page};
    use zerocopy::FromBytes;

    fn mail(outcome: mailbox::Outcome) -> Mail {
        let mut head = Head::read_from_prefix(&blank_page(&[1; 16], 0)).unwrap().0;
        head.outcome = outcome as u32;
        head.stage = Stage::Write as u32;
        head.message_length = 9;
        head.message[..9].copy_from_slice(b"nvme died");
        head.write =
            Statistics { data_bytes: 400_000_000, data_us: 2_000_000, ..Statistics::default() };
        head.write.walk_us = 7_000;
        head.counts = Counts { stored: 1000, zero: 500, free: 250_000, ..Counts::default() };
        Mail { head, log: "one\ntwo\n".to_owned() }
    }

    fn report(jumped: Result<(), Errno>, mail: Option<Mail>) -> Report {
        report_of(Purpose::Hibernate { reboot: false }, jumped, mail)
    }

    fn report_of(purpose: Purpose, jumped: Result<(), Errno>, mail: Option<Mail>) -> Report {
        let (target, away) = (Some(Path::new("/dev/x")), Duration::from_secs(11_520));
        Report::new(purpose, target, away, jumped, mail.as_ref())
    }

    #[test]
    fn a_wake_up_tells_rates_and_how_long_it_took() {
        let report = report(Ok(()), Some(mail(mailbox::Outcome::Woken)));
        assert_eq!(report.exit(), Exit::Done);
        assert_eq!(report.lines()[0], "woken from /dev/x after 3 h 12 min");
        assert_eq!(report.write.unwrap().bytes_per_second, 2e8);
        assert_eq!(report.read, None, "nothing read is no pass");
        let left_out = "  left out 1.0 GB free, 2.0 MB of zeros; found out in 7 ms";
        assert!(report.lines().iter().any(|line| line == left_out), "{:?}", report.lines());
    }

    #[test]
    fn a_rehearsal_tells_what_a_hibernation_would_take() {
        let mut mail = mail(mailbox::Outcome::Done);
        mail.head.read =
            Statistics { data_bytes: 4_096_000, data_us: 10_000, ..Statistics::default() };
        let report = report_of(Purpose::Rehearse { write: true }, Ok(()), Some(mail));
        assert_eq!(report.exit(), Exit::Done);
        let text = report.lines().join("\n");
        assert!(text.contains("every page the same"), "{text}");
        let estimate = "would store 4.1 MB: about 2.0 s to write, 0.0 s to read";
        assert!(text.contains(estimate), "{text}");
    }

    #[test]
    fn a_wake_up_from_ram_is_told_from_one_from_the_disk() {
        let mail = mail(mailbox::Outcome::WokenFromRam);
        let report = report_of(Purpose::Both, Ok(()), Some(mail));
        assert_eq!(report.exit(), Exit::Done);
        assert_eq!(report.lines()[0], "woken from RAM after 3 h 12 min");
    }

    #[test]
    fn a_return_tells_the_writers_own_message() {
        let report = report(Ok(()), Some(mail(mailbox::Outcome::Returned)));
        assert_eq!(report.exit(), Exit::Failed);
        let text = report.lines().join("\n");
        assert!(text.contains("at stage `write`") && text.contains("nvme died"), "{text}");
        assert!(text.ends_with("  | one\n  | two"), "{text}");
    }

    #[test]
    fn a_kernel_that_does_not_jump_is_told_from_a_writer_that_says_nothing() {
        let pending = || Some(mail(mailbox::Outcome::Pending));
        let refused = report(Err(Errno::BUSY), pending());
        let message = refused.message.unwrap();
        assert!(message.contains("did not jump"));
        assert!(message.ends_with("some process would not freeze: `dmesg` names it"), "{message}");
        let silent = report(Ok(()), pending());
        assert!(silent.message.unwrap().contains("left no word"));
        assert_eq!(report(Ok(()), None).outcome, Outcome::NotEntered);
    }

    #[test]
    fn a_record_can_be_read_again() {
        let report = report(Ok(()), Some(mail(mailbox::Outcome::Woken)));
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
