//! The nightly compiler that Miri and fuzzing need. Nothing that is shipped is
//! built by it; the project's own is the stable one of `rust-toolchain.toml`.

use crate::error::Error;
use crate::shell;
use std::process::Command;

/// The one place for its date.
pub const NIGHTLY: &str = "nightly-2026-08-01";

/// The release of cargo-fuzz that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";

/// Brings the compiler with Miri and the standard library's sources where it is
/// missing.
pub fn ensure() -> Result<(), Error> {
    let installed = shell::output(Command::new("rustup").args([
        "component",
        "list",
        "--installed",
        "--toolchain",
        NIGHTLY,
    ]))
    .unwrap_or_default();
    if installed.contains("miri") && installed.contains("rust-src") {
        return Ok(());
    }
    let components = ["--profile", "minimal", "-c", "miri", "-c", "rust-src"];
    shell::run(Command::new("rustup").args(["toolchain", "install", NIGHTLY]).args(components))
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
