//! The nightly compiler that Miri, fuzzing and the `bootloader` crate need. Nothing
//! of the project's own that is shipped is built by it; its compiler is the stable
//! one of `rust-toolchain.toml`.

use crate::error::Error;
use crate::shell;
use std::process::Command;

/// The one place for its date.
pub const NIGHTLY: &str = "nightly-2026-08-01";

/// What of it is needed: the interpreter, the standard library's sources, and what
/// the `bootloader` crate takes its programs apart with.
const COMPONENTS: [&str; 3] = ["miri", "rust-src", "llvm-tools"];

/// The release of cargo-fuzz that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";

/// Brings the compiler with its components where it is missing.
pub fn ensure() -> Result<(), Error> {
    let installed = shell::output(Command::new("rustup").args([
        "component",
        "list",
        "--installed",
        "--toolchain",
        NIGHTLY,
    ]))
    .unwrap_or_default();
    if COMPONENTS.iter().all(|component| installed.contains(component)) {
        return Ok(());
    }
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]);
    shell::run(install.args(COMPONENTS.iter().flat_map(|component| ["-c", component])))
}

/// Brings cargo-fuzz where it is missing.
pub fn ensure_cargo_fuzz() -> Result<(), Error> {
    if shell::output(Command::new("cargo").args(["fuzz", "--version"])).is_ok() {
        return Ok(());
    }
    let version = ["cargo-fuzz", "--locked", "--version", CARGO_FUZZ];
    shell::run(Command::new("cargo").arg("install").args(version))
}

/// Cargo of that compiler. Through `rustup run`, because the environment of
/// `cargo xtask` names the project's own compiler.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", NIGHTLY, "cargo", subcommand]);
    command.current_dir(crate::paths::root());
    for variable in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}
