//! How commands speak: lines for people, or one JSON object for programs.

use crate::error::Error;
use crate::preflight::Finding;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

/// Where output goes.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

/// An error as `--json` prints it.
#[derive(Serialize)]
struct ErrorObject<'a> {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<&'a [Finding]>,
}

impl Output {
    /// Lines, or JSON.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line for people; nothing with `--json`.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.json {
            write_line(&mut std::io::stdout(), line.as_ref());
        }
    }

    /// Something that went wrong on the side, for people: with `--json` too, as not all
    /// of it has a place in the object.
    pub fn warn(&self, line: impl AsRef<str>) {
        write_line(&mut std::io::stderr(), &format!("warning: {}", line.as_ref()));
    }

    /// Where programs that are started print: with `--json` nothing but the object
    /// goes to the standard output.
    pub fn of_programs(&self) -> Stdio {
        if self.json { std::io::stderr().into() } else { Stdio::inherit() }
    }

    /// The command's result, with `--json`.
    pub fn object(&self, value: &impl Serialize) {
        if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(text) => write_line(&mut std::io::stdout(), &text),
                Err(error) => write_line(&mut std::io::stderr(), &format!("error: {error}")),
            }
        }
    }

    /// A command's failure.
    pub fn error(&self, error: &Error) {
        let findings = match error {
            Error::Refused(findings) => Some(findings.as_slice()),
            _ => None,
        };
        if self.json {
            self.object(&ErrorObject {
                error: error.to_string(),
                advice: error.advice(),
                findings,
            });
            return;
        }
        let mut stderr = std::io::stderr();
        for finding in findings.unwrap_or_default() {
            write_line(&mut stderr, &finding.line());
        }
        if findings.is_none() {
            write_line(&mut stderr, &format!("error: {error}"));
        }
        if let Some(advice) = error.advice() {
            write_line(&mut stderr, &format!("  {advice}"));
        }
    }

    /// Whether a progress bar would be seen.
    pub fn wants_progress(&self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }
}

/// Writes a line; a reader that has gone away is no reason to die halfway.
fn write_line(to: &mut impl Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

/// Bytes in the unit that fits: `375.2 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64 / 1000.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if count < 1000 { format!("{count} bytes") } else { format!("{value:.1} {unit}") }
}

/// Seconds since 1970 as a date and time: `2026-11-24 06:05:00 UTC`.
pub fn date(seconds: u64) -> String {
    // Years of five digits are damage, and more than humantime prints.
    const YEAR_10000: u64 = 253_402_300_800;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    match time.filter(|_| seconds < YEAR_10000) {
        Some(time) => {
            let text = humantime::format_rfc3339_seconds(time).to_string();
            text.replace('T', " ").replace('Z', " UTC")
        }
        None => "an unknown time".to_owned(),
    }
}

/// A time span in words: `3 h 12 min`.
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} days {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_readable() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(375_200_000), "375.2 MB");
        assert_eq!(bytes(999_960_000), "1.0 GB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
        assert_eq!(date(1_795_500_300), "2026-11-24 06:05:00 UTC");
        assert_eq!(date(u64::MAX), "an unknown time");
        assert_eq!(span(2.04), "2.0 s");
        assert_eq!(span(-1.0), "-1.0 s");
        assert_eq!(span(11_520.0), "3 h 12 min");
        assert_eq!(span(1e6), "11 days 13 h");
    }
}
