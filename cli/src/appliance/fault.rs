//! Why an appliance cannot be built.

use dormouse_boot::bzimage::KernelError;
use std::fmt;
use std::path::PathBuf;

/// What is wrong, and where it is said.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The file is no description; in the words of the parser, which name the
    /// line.
    Syntax {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// A field asks for what cannot be.
    Field {
        /// The file.
        file: PathBuf,
        /// The field's line.
        line: usize,
        /// The field.
        field: &'static str,
        /// Why.
        why: Why,
    },
    /// This file of the `bootloader` crate's loader is not there.
    NoBootloader(PathBuf),
    /// This is no such file of the `bootloader` crate's loader.
    OddBootloader(PathBuf),
    /// A program is missing, or failed.
    Tool {
        /// The program or the file that is needed.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
        /// What it said; empty where it is missing.
        words: String,
    },
}

/// What is wrong with a field.
#[derive(Clone, Debug)]
pub enum Why {
    /// The file that it names cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        words: String,
    },
    /// The file that it names is empty.
    Empty,
    /// The kernel cannot be started by the reader.
    Kernel(KernelError),
    /// The command line is longer than the kernel takes.
    LongLine {
        /// Bytes that it is.
        bytes: usize,
        /// Bytes that the kernel takes.
        most: u32,
    },
    /// A name in braces that there is not.
    Placeholder(String),
    /// Neither of two fields is there, or both.
    OneOf(&'static str, &'static str),
    /// Nothing would be there to boot from.
    NoRoot,
    /// It is smaller than what belongs there.
    TooSmall {
        /// Bytes that are needed.
        needed: u64,
    },
    /// A number that is out of its range.
    Range(u64, u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { file, words } => write!(f, "{}: {}", file.display(), words.trim_end()),
            Self::Field { file, line, field, why } => {
                write!(f, "{}: line {line}: {field}: {why}", file.display())
            }
            Self::NoBootloader(file) => write!(
                f,
                "{} is missing: `cargo xtask bootloader-disk` makes it, or choose boot = \"efi\" \
                 or \"grub\"",
                file.display()
            ),
            Self::OddBootloader(file) => write!(
                f,
                "{} is none of the bootloader crate's files: `cargo xtask bootloader-disk` \
                 makes it anew",
                file.display()
            ),
            Self::Tool { program, package, words } if words.is_empty() => {
                write!(f, "{program} is not installed: it is in Debian's package {package}")
            }
            Self::Tool { program, words, .. } => write!(f, "{program} failed: {words}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, words } => write!(f, "{}: {words}", file.display()),
            Self::Empty => write!(f, "the file is empty"),
            Self::Kernel(error) => write!(f, "the reader could not start it: {error}"),
            Self::LongLine { bytes, most } => {
                write!(f, "it has {bytes} bytes, and the kernel takes {most}")
            }
            Self::Placeholder(name) => {
                write!(f, "there is no partition {{{name}}}: {{image}}, {{root}} or {{data}}")
            }
            Self::OneOf(one, other) => write!(f, "one of {one} and {other}, and not both"),
            Self::NoRoot => write!(f, "an initrd, a [root], or both are needed"),
            Self::TooSmall { needed } => {
                write!(f, "{} MiB are needed", needed.div_ceil(1 << 20))
            }
            Self::Range(least, most) => write!(f, "between {least} and {most}"),
        }
    }
}
