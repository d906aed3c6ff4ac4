//! `cargo xtask unsafe`: every use of `unsafe` in the project with its reason,
//! as `docs/unsafe.md`.

use crate::error::Error;
use crate::{paths, shell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

/// List every use of `unsafe` with its reason, in docs/unsafe.md
#[derive(clap::Args)]
pub struct Unsafe {}

impl Unsafe {
    pub fn run(self) -> Result<(), Error> {
        let path = paths::root().join("docs/unsafe.md");
        fs::write(&path, document()?).map_err(Error::file("writing", path))
    }
}

/// Whether the document is that of the code.
pub fn is_current() -> Result<(), Error> {
    let path = paths::root().join("docs/unsafe.md");
    let written = fs::read_to_string(&path).map_err(Error::file("reading", &path))?;
    if written == document()? { Ok(()) } else { Err(Error::UnsafeListOld) }
}

/// The file that has the word in strings of several lines.
const THIS: &str = "xtask/src/unsafe_list.rs";

/// A use of `unsafe`.
#[derive(Debug, PartialEq, Eq)]
struct Use {
    /// What it is: `block`, or the first words of an item.
    what: String,
    /// The words of its SAFETY comment or `# Safety` section.
    reason: String,
}

fn document() -> Result<String, Error> {
    let mut crates: BTreeMap<String, Vec<(String, Vec<Use>)>> = BTreeMap::new();
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]);
    let files = shell::output(git.current_dir(paths::root()))?;
    for file in files.lines() {
        let path = paths::root().join(file);
        // A file that was removed is still in the index; this one speaks of it in
        // the text of its tests.
        if !path.exists() || file == THIS {
            continue;
        }
        let source = fs::read_to_string(&path).map_err(Error::file("reading", &path))?;
        let found = uses(&source);
        if let Some(missing) = found.iter().find(|found| found.reason.is_empty()) {
            return Err(Error::NoReason(file.into(), missing.what.clone()));
        }
        if !found.is_empty() {
            let name = file.split('/').next().unwrap_or(file);
            crates.entry(name.into()).or_default().push((file.into(), found));
        }
    }
    Ok(written(&crates))
}

fn written(crates: &BTreeMap<String, Vec<(String, Vec<Use>)>>) -> String {
    let mut document = String::from(
        "# Unsafe code\n\nEvery use of `unsafe` and why it is sound, taken from the code by\n\
         `cargo xtask unsafe`. `cargo xtask test` fails where this page is out of date.\n\n\
         | Folder | Uses |\n| --- | ---: |\n",
    );
    let count = |files: &[(String, Vec<Use>)]| files.iter().map(|file| file.1.len()).sum::<usize>();
    // A string takes all that is written to it.
    for (name, files) in crates {
        let _ = writeln!(document, "| `{name}/` | {} |", count(files));
    }
    let total: usize = crates.values().map(|files| count(files)).sum();
    let _ = writeln!(document, "| all | {total} |");
    for (name, files) in crates {
        let _ = writeln!(document, "\n## {name}");
        for (file, uses) in files {
            let _ = writeln!(document, "\n`{file}`\n");
            for Use { what, reason } in uses {
                let _ = writeln!(document, "- {what}: {reason}");
            }
        }
    }
    document
}

/// The uses in a source file, in order.
fn uses(source: &str) -> Vec<Use> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let code = code_of(line);
        for at in occurrences(&code) {
            let rest = code[at + "unsafe".len()..].trim_start();
            let what = match rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next() {
                Some("fn" | "impl" | "trait" | "extern") => {
                    let words = code[at..].split(['{', ';']).next().unwrap_or_default();
                    // With its strings: they were hidden at equal length.
                    let words = line.get(at..at + words.len()).unwrap_or(words);
                    format!("`{}`", words.trim_end().trim_end_matches('(').trim())
                }
                _ if rest.starts_with('(') => format!("attribute `{}`", code.trim()),
                _ => "block".into(),
            };
            // The type of a function pointer does nothing.
            if code[at..].starts_with("unsafe extern")
                && rest.contains("fn(")
                && !rest.contains("fn ")
            {
                continue;
            }
            let mut reason = reason(&lines, i);
            if reason.is_empty() && rest.starts_with("fn") && line.starts_with(' ') {
                // A method of a trait is documented where the trait is.
                reason = "as the trait demands".into();
            } else if reason.is_empty() && rest.starts_with("extern") && !rest.contains("fn ") {
                reason = "names that assembly or the linker script defines".into();
            } else if reason.is_empty() && rest.starts_with('(') {
                reason = "the one item of a name that assembly or the compiler asks for".into();
            }
            found.push(Use { what, reason });
        }
    }
    found
}

/// The line without comments and strings, as long as it was up to there.
fn code_of(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let mut in_string = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
                code.push_str("  ");
            }
            '"' => {
                in_string = !in_string;
                code.push('"');
            }
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            // Offsets are bytes: what is hidden keeps its length.
            hidden if in_string => code.extend(std::iter::repeat_n(' ', hidden.len_utf8())),
            shown => code.push(shown),
        }
    }
    code
}

/// Where the word stands in a line of code.
fn occurrences(code: &str) -> impl Iterator<Item = usize> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    code.match_indices("unsafe").map(|(at, _)| at).filter(move |at| {
        !is_word(code[..*at].chars().next_back()) && !is_word(code[at + 6..].chars().next())
    })
}

/// The reason above a line: the comment from `SAFETY:` on, or the section of
/// the documentation from `# Safety` on.
fn reason(lines: &[&str], line: usize) -> String {
    let mut words: Vec<&str> = Vec::new();
    // A statement may begin a few lines above its `unsafe`.
    let mut passed = 0;
    for above in lines[..line].iter().rev().map(|line| line.trim()) {
        let comment = above.strip_prefix("///").or_else(|| above.strip_prefix("//"));
        match comment.map(str::trim) {
            Some("# Safety") => break,
            Some(text) if text.starts_with("SAFETY:") => {
                words.push(text.trim_start_matches("SAFETY:").trim());
                break;
            }
            Some(text) => words.push(text),
            None if above.starts_with("#[") && words.is_empty() => {}
            None if words.is_empty() && passed < 6 && !above.is_empty() => passed += 1,
            None => return String::new(),
        }
    }
    words.reverse();
    let text = words.join(" ");
    // A list stays one line here.
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_found_with_their_reasons() {
        let source = "\
/// Does it.
///
/// # Safety
///
/// Nobody else
/// does.
pub unsafe fn does(x: u8) {
    // SAFETY: in bounds.
    let y = unsafe { *at(x) };
    // Because.
    // SAFETY: both are
    // aligned.
    let z = y
        .then(|| unsafe { go() });
    \"unsafe { }\"; // unsafe { }
}
#![forbid(unsafe_code)]
// SAFETY: no state.
unsafe impl Send for A {}
";
        let found: Vec<_> =
            uses(source).into_iter().map(|found| (found.what, found.reason)).collect();
        let expected = [
            ("`unsafe fn does(x: u8)`", "Nobody else does"),
            ("block", "in bounds"),
            ("block", "both are aligned"),
            ("`unsafe impl Send for A`", "no state"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(what, why)| ((*what).to_owned(), (*why).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_use_without_a_reason_is_noticed() {
        assert_eq!(uses("fn a() {\n    unsafe { b() }\n}\n")[0].reason, "");
    }
}
