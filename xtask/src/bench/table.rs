//! The report as a person reads it on a terminal.

use dormouse_tests::bench::{Outcome, Report};
use std::fmt::Write;

/// The report's tables, one below the other.
pub fn of(report: &Report) -> String {
    let mut text = format!("{}, {}\n", report.date, report.machine);
    // Writing to a string cannot fail.
    let _ = tables(report, &mut text);
    text
}

fn tables(report: &Report, text: &mut String) -> std::fmt::Result {
    if !report.ceiling.is_empty() {
        writeln!(
            text,
            "\nAgainst the device (MB/s; % of the same buffers with no work on them)\n\
             {:<11} {:>6} | {:>6} {:>6} {:>7} {:>7} | {:>6} {:>6} {:>7} {:>7}",
            "driver", "limit", "write", "device", "Linux", "%", "read", "device", "Linux", "%"
        )?;
        for row in &report.ceiling {
            let limit = row.limit_mb_s.map_or("none".into(), |limit| limit.to_string());
            writeln!(
                text,
                "{:<11} {limit:>6} | {:>6.0} {:>6.0} {:>7.0} {:>7.1} | {:>6.0} {:>6.0} {:>7.0} \
                 {:>7.1}",
                row.driver,
                row.write_mb_s,
                row.device_write_mb_s,
                row.linux_write_mb_s,
                row.write_percent,
                row.read_mb_s,
                row.device_read_mb_s,
                row.linux_read_mb_s,
                row.read_percent,
            )?;
        }
    }
    if !report.peers.is_empty() {
        writeln!(
            text,
            "\nAgainst the peers (medians of so many hibernations; MB/s)\n\
             {:<18} {:>5} {:>3} {:>7} {:>9} {:>6} {:>13} {:>5} {:>7} {:>8} {:>8} {:>7}",
            "system",
            "MiB",
            "of",
            "stored",
            "1st write",
            "write",
            "of all",
            "read",
            "off",
            "userland",
            "reserved",
            "others"
        )?;
        for row in &report.peers {
            write!(text, "{:<18} {:>5} ", row.system, row.memory_mib)?;
            let figures = match &row.outcome {
                Outcome::Measured(figures) => figures,
                Outcome::Failed { failed } => {
                    writeln!(text, "{}", in_one_line(failed))?;
                    continue;
                }
            };
            let range =
                format!("{:.0} to {:.0}", figures.slowest_write_mb_s, figures.quickest_write_mb_s);
            let median = &figures.median;
            writeln!(
                text,
                "{:>3} {:>4} MB {:>6.0} ms {:>6.0} {range:>13} {:>5} {:>5.2} s {:>8} {:>4} MiB \
                 {:>5.0} %",
                figures.rounds,
                median.stored_bytes / 1_000_000,
                median.first_write_ms,
                median.write_mb_s,
                or_dash(median.read_mb_s, "", 0),
                median.trigger_to_off_s,
                or_dash(median.start_to_userland_s, " s", 2),
                median.reserved_mib,
                figures.others_percent,
            )?;
        }
    }
    if !report.scale.is_empty() {
        writeln!(
            text,
            "\nBy size\n{:>6} {:<8} {:>8} {:>9} {:>8} {:>8} {:>10} {:>10}",
            "MiB", "", "stored", "jump-off", "read", "walk", "zero test", "window"
        )?;
        for row in &report.scale {
            writeln!(
                text,
                "{:>6} {:<8} {:>5} MB {:>7.2} s {:>6.2} s {:>5.1} ms {:>7.1} ms {:>6} KiB",
                row.memory_mib,
                if row.full { "full" } else { "sparse" },
                row.stored_bytes / 1_000_000,
                row.seconds,
                row.read_s,
                row.walk_ms,
                row.zero_test_ms,
                row.window_kib,
            )?;
        }
    }
    if let Some(first) = report.suspend.first() {
        let rounds = first.rounds;
        writeln!(
            text,
            "\nSuspended to RAM (median of {rounds})\n{:<18} {:>14} {:>17} {:>17}",
            "system", "to the suspend", "wake to userland", "of all"
        )?;
    }
    for row in &report.suspend {
        let range = format!("{:.2} to {:.2} s", row.quickest_wake_s, row.slowest_wake_s);
        let (system, down, wake) = (&row.system, row.down_s, row.wake_s);
        writeln!(text, "{system:<18} {down:>12.2} s {wake:>15.2} s {range:>17}")?;
    }
    if !report.cpu.is_empty() {
        writeln!(text, "\nInstructions for each page")?;
    }
    for row in &report.cpu {
        let (stage, pages) = (&row.stage, row.pages);
        writeln!(text, "  {stage:<12} {:>8.1}  (of {pages} pages)", row.instructions_per_page)?;
    }
    if !report.native.is_empty() {
        writeln!(text, "\nOn one of the host's processors")?;
    }
    for row in &report.native {
        writeln!(text, "  {:<24} {:>7.2} GB/s", row.stage, row.gb_s)?;
    }
    if !report.starts.is_empty() {
        writeln!(
            text,
            "\nPower-on to the first answer of a web server (s)\n\
             {:<20} {:<7} {:<19} {:>6} | {:>8} {:>6} {:>7} {:>6} {:>7} | {:>8} {:>5}",
            "machine",
            "system",
            "",
            "total",
            "firmware",
            "reader",
            "reading",
            "Linux",
            "service",
            "read",
            "MB/s"
        )?;
    }
    for row in &report.starts {
        write!(text, "{:<20} {:<7} {:<19} ", row.machine, row.system, row.way)?;
        let figures = match &row.outcome {
            Outcome::Measured(figures) => figures,
            Outcome::Failed { failed } => {
                writeln!(text, "{}", in_one_line(failed))?;
                continue;
            }
        };
        writeln!(
            text,
            "{:>6.2} | {:>8.2} {:>6.3} {:>7.3} {:>6.2} {:>7.2} | {:>4} MiB {:>5}",
            figures.total_s,
            figures.firmware_s,
            figures.reader_s,
            figures.reading_s,
            figures.kernel_s,
            figures.service_s,
            figures.read_mib,
            or_dash(figures.read_mb_s, "", 0),
        )?;
    }
    writeln!(text)?;
    for goal in &report.goals {
        let mark = if goal.met { "✓" } else { "✗" };
        writeln!(text, "{mark} {}: {}", goal.what, goal.measured)?;
    }
    Ok(())
}

/// A figure with its unit; a dash where there is none.
fn or_dash(value: Option<f64>, unit: &str, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}{unit}"))
}

/// Why there are no figures, without what a log has to say of it.
fn in_one_line(reason: &str) -> String {
    format!("failed: {}", reason.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_tests::bench::Start;

    #[test]
    fn a_peer_that_failed_is_a_row_that_says_why() {
        let failed = "the resume failed\nand more of it".to_owned();
        let outcome = Outcome::Failed { failed };
        let (machine, system, way) = ("q35".into(), "Debian".into(), "swsusp".into());
        let starts = vec![Start { machine, system, way, limit_mb_s: None, outcome }];
        let mut report = Report { starts, ..Report::default() };
        report.judge();
        assert!(report.goals.is_empty());
        let text = of(&report);
        let row = text.lines().find(|line| line.starts_with("q35")).unwrap();
        assert!(row.ends_with("swsusp              failed: the resume failed"), "{row}");
        let json = report.json().unwrap();
        assert!(json.contains(r#""failed": "the resume failed"#), "{json}");
    }
}
