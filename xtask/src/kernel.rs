//! `cargo xtask kernel`: the test kernel, from Debian's source package and
//! `tests/kernel/config`, built once and cached outside the tree.

use crate::error::Error;
use crate::host::Need;
use crate::{host, paths, shell};
use clap::ValueEnum;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Build the test kernel (a few minutes, once) and print where it is
#[derive(clap::Args)]
pub struct Kernel {
    /// Which Linux: that of the tests, or a newer one for `cargo xtask qemu
    /// --kernel`
    #[arg(long, value_enum, default_value = "6.1")]
    linux: Linux,
}

impl Kernel {
    pub fn run(self) -> Result<(), Error> {
        println!("{}", ensure(self.linux)?.display());
        Ok(())
    }
}

/// What Debian 12 has a source package of.
#[derive(Clone, Copy, ValueEnum)]
pub enum Linux {
    #[value(name = "6.1")]
    OfTheTests,
    #[value(name = "6.12")]
    Newer,
}

impl Linux {
    fn package(self) -> Need {
        match self {
            Self::OfTheTests => Need("linux-source-6.1", "/usr/src/linux-source-6.1.tar.xz"),
            Self::Newer => Need("linux-source-6.12", "/usr/src/linux-source-6.12.tar.xz"),
        }
    }
}

/// The test kernel's bzImage, built if it is not in the cache.
pub fn ensure(linux: Linux) -> Result<PathBuf, Error> {
    let config = paths::root().join("tests/kernel/config");
    let wanted = fs::read_to_string(&config).map_err(Error::file("reading", &config))?;
    host::ensure(host::FOR_THE_KERNEL)?;
    let package = linux.package();
    host::ensure(std::slice::from_ref(&package))?;
    let Need(name, source) = package;
    let version = shell::output(Command::new("dpkg-query").args(["-W", "-f", "${Version}", name]))?;
    let hash = xxhash_rust::xxh64::xxh64(wanted.as_bytes(), 0);
    let folder = paths::cache().join("kernel").join(format!("{version}-{hash:016x}"));
    let image = folder.join("bzImage");
    if !image.exists() {
        build(source, &config, &wanted, &folder)?;
    }
    Ok(image)
}

/// Builds in a folder of this process's own and moves the result into place
/// last, so that neither an interruption nor a second build leaves half a
/// kernel.
fn build(source: &str, config: &Path, wanted: &str, folder: &Path) -> Result<(), Error> {
    eprintln!("building the test kernel (5 to 8 minutes on two cores, once)");
    let mut tree = folder.as_os_str().to_owned();
    tree.push(format!(".building-{}", std::process::id()));
    let tree = PathBuf::from(tree);
    fs::create_dir_all(&tree).map_err(Error::file("making", &tree))?;
    let built = build_in(&tree, source, config, wanted, folder);
    let removed = fs::remove_dir_all(&tree).map_err(Error::file("removing", &tree));
    built.and(removed)
}

fn build_in(
    tree: &Path,
    source: &str,
    config: &Path,
    wanted: &str,
    folder: &Path,
) -> Result<(), Error> {
    shell::run(Command::new("tar").args(["-xf", source, "--strip-components=1", "-C"]).arg(tree))?;
    let make = || {
        let mut command = Command::new("make");
        command.arg("-s").current_dir(tree);
        command
    };
    shell::run(make().arg("tinyconfig").stdout(Stdio::null()))?;
    shell::run(
        Command::new("scripts/kconfig/merge_config.sh")
            .args(["-m", ".config"])
            .arg(config)
            .stdout(Stdio::null())
            .current_dir(tree),
    )?;
    shell::run(make().arg("olddefconfig"))?;
    let taken = tree.join(".config");
    let taken = fs::read_to_string(&taken).map_err(Error::file("reading", taken))?;
    let refused = not_taken(wanted, &taken);
    if !refused.is_empty() {
        return Err(Error::Configuration(refused));
    }
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    shell::run(make().arg(format!("-j{jobs}")).arg("bzImage"))?;
    fs::create_dir_all(folder).map_err(Error::file("making", folder))?;
    // bzImage last: whoever finds it finds the others.
    for (built, name) in [
        (".config", "config"),
        ("System.map", "System.map"),
        ("vmlinux", "vmlinux"),
        ("arch/x86/boot/bzImage", "bzImage"),
    ] {
        let (built, kept) = (tree.join(built), folder.join(name));
        fs::rename(&built, &kept).map_err(Error::file("moving", built))?;
    }
    Ok(())
}

/// The lines of `wanted` that the configuration `taken` does not have.
fn not_taken(wanted: &str, taken: &str) -> Vec<String> {
    let lines = wanted.lines().filter(|line| line.starts_with("CONFIG_"));
    lines.filter(|line| !taken.lines().any(|other| other == *line)).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_the_kernel_ignored_is_named() {
        let wanted = "# why\nCONFIG_A=y\nCONFIG_B=y\n";
        let taken = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_BB=y\n";
        assert_eq!(not_taken(wanted, taken), ["CONFIG_B=y"]);
    }
}
