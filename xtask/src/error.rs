//! Why a command of xtask did not do its work.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a command did not do its work.
#[derive(Debug)]
pub enum Error {
    /// A file could not be read, written or moved.
    File {
        /// What was tried, as in "making".
        tried: &'static str,
        /// The file.
        path: PathBuf,
        /// What came back.
        cause: io::Error,
    },
    /// A program could not be started.
    NotStarted {
        /// Its command line.
        command: String,
        /// What came back.
        cause: io::Error,
    },
    /// A program failed; its own words are on the terminal.
    Failed {
        /// Its command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// Debian packages are missing and cannot be installed from here.
    Missing(Vec<&'static str>),
    /// The kernel's configuration did not take these lines.
    Configuration(Vec<String>),
    /// `writer.elf` is not what it must be.
    Writer(String),
    /// There is no fuzz target of that name; those that there are.
    NoSuchTarget(String, String),
    /// Fuzz targets broke; the folder has their own words.
    Broken(Vec<String>, PathBuf),
    /// docs/guarantees.md has no place for the table of attacks.
    NoPlaceForTable,
    /// docs/unsafe.md is not what the code says.
    UnsafeListOld,
    /// A use of `unsafe` without a reason: in which file, what it is.
    NoReason(String, String),
    /// Several checks failed; their words are on the terminal.
    Checks(Vec<&'static str>),
    /// Parts of the measurements failed; each in its own words.
    Bench(Vec<String>),
    /// A machine that cannot do what it was asked for: why, and what to ask for.
    Impossible(&'static str),
    /// The main job found something wrong; the report has been printed.
    MainJob(String),
    /// A campaign found something wrong; the report has been printed.
    Torture(PathBuf),
    /// The end-to-end harness found something wrong.
    Harness(dormouse_tests::Error),
}

impl Error {
    /// Wraps what came of `tried` on a file.
    pub fn file(tried: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::File { tried, path: path.into(), cause }
    }
}

impl From<dormouse_tests::Error> for Error {
    fn from(error: dormouse_tests::Error) -> Self {
        Self::Harness(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { tried, path, cause } => write!(f, "{tried} {}: {cause}", path.display()),
            Self::NotStarted { command, cause } => write!(f, "`{command}`: {cause}"),
            Self::Failed { command, status } => write!(f, "`{command}`: {status}"),
            Self::Missing(packages) => write!(
                f,
                "Debian packages are missing; as root, type\n    apt-get install {}",
                packages.join(" ")
            ),
            Self::Configuration(lines) => write!(
                f,
                "the kernel's configuration does not take these lines of tests/kernel/config:\n    {}",
                lines.join("\n    ")
            ),
            Self::Writer(what) => write!(f, "writer.elf: {what}"),
            Self::NoSuchTarget(name, all) => {
                write!(f, "there is no fuzz target {name}; there are {all}")
            }
            Self::Broken(names, folder) => write!(
                f,
                "broken: {}; their words are in {}, what broke them in fuzz/artifacts",
                names.join(", "),
                folder.display()
            ),
            Self::NoPlaceForTable => {
                write!(f, "docs/guarantees.md has no place for the table of attacks")
            }
            Self::UnsafeListOld => {
                write!(f, "docs/unsafe.md is out of date: run `cargo xtask unsafe`")
            }
            Self::NoReason(file, what) => {
                write!(f, "{file}: {what}: no reason given for `unsafe` above it")
            }
            Self::Checks(names) => write!(f, "failed: {}", names.join(", ")),
            Self::Bench(words) => write!(f, "{}", words.join("\n")),
            Self::Impossible(why) => write!(f, "{why}"),
            Self::MainJob(error) => write!(f, "{error}"),
            Self::Torture(report) => {
                write!(f, "something went wrong; each case is in {}", report.display())
            }
            Self::Harness(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}
