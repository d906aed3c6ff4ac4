//! What is on a kiosk's disk: the files of `examples/kiosk`, as its own
//! descriptions of appliances put them together.

use super::Model;
use crate::appliance::{self, Layout};
use crate::artefacts::Artefacts;
use crate::disk;
use crate::error::Error;
use crate::initramfs;
use crate::qemu::{self, Chipset};
use std::fs;
use std::path::{Path, PathBuf};

/// What a kiosk runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// A busybox in an initramfs.
    Busybox,
    /// A minimal Debian: its root as an ext4 file system, with nothing of the kiosk
    /// in it yet.
    Debian(PathBuf),
}

/// Files of both systems, and their names in `examples/kiosk`.
const FILES: [(&str, &str); 4] = [
    ("/usr/lib/kiosk/once", "once"),
    ("/etc/dormouse/wake.d/50-moment", "wake.d/50-moment"),
    ("/srv/www/index.html", "www/index.html"),
    ("/srv/www/cgi-bin/moment", "www/cgi-bin/moment"),
];

/// The folder of files that Debian has besides, at the same paths.
const OVER_DEBIAN: &str = "debian";

/// A disk, and how its Linux is started by others than the reader.
pub(super) struct Built {
    /// Memory of the machine that it is for.
    pub memory_mib: u64,
    /// The kernel's command line.
    pub command_line: String,
    /// The initramfs, where there is one.
    pub initramfs: Option<PathBuf>,
    /// Its partitions.
    pub layout: Layout,
}

impl System {
    /// Its name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Debian(_) => "Debian",
        }
    }

    fn description(&self) -> &'static str {
        match self {
            Self::Busybox => "busybox.toml",
            Self::Debian(_) => "debian.toml",
        }
    }

    /// Builds the disk for this machine; everything that it is made of goes into
    /// `folder`.
    pub(super) fn build(
        &self,
        artefacts: &Artefacts,
        model: Model,
        folder: &Path,
        disk: &Path,
    ) -> Result<Built, Error> {
        copy(artefacts.kernel(), &folder.join("bzImage"))?;
        let initramfs = match self {
            Self::Busybox => {
                let root = folder.join("initrd.img");
                initramfs::write_kiosk(&source().join("busybox/init"), &files(artefacts), &root)?;
                Some(root)
            }
            Self::Debian(base) => {
                let root = folder.join("root.ext4");
                copy(base, &root)?;
                let mut all = files(artefacts);
                let over = source().join(OVER_DEBIAN);
                files_below(&over, &over, &mut all)?;
                disk::put_into_ext4(&root, &all)?;
                None
            }
        };
        let written = source().join(self.description());
        let text = fs::read_to_string(&written)
            .map_err(Error::host(format!("reading {}", written.display())))?;
        let text = for_machine(&text, model);
        let description = folder.join(self.description());
        fs::write(&description, &text)
            .map_err(Error::host(format!("writing {}", description.display())))?;
        let layout = appliance::build(artefacts, &description, disk)?;
        let command_line = field(&text, "command-line")?.to_owned();
        let command_line = match self {
            Self::Busybox => command_line,
            Self::Debian(_) => command_line.replace("{root}", &layout.for_linux("root")?),
        };
        let memory = field(&text, "memory")?;
        let memory_mib = memory.strip_suffix('M').and_then(|digits| digits.parse().ok());
        let memory_mib = memory_mib.ok_or_else(|| Error::verdict(format!("memory {memory}")))?;
        Ok(Built { memory_mib, command_line, initramfs, layout })
    }
}

/// The description as it is for this machine.
fn for_machine(text: &str, model: Model) -> String {
    let text = text.replace("boot = \"pvh\"", &format!("boot = \"{}\"", model.appliance));
    match model.chipset {
        // Without KVM's clock Linux finds nothing on a microvm to measure by.
        Chipset::Microvm => {
            let clock = format!("tsc=reliable tsc_early_khz={}", qemu::host_tsc_khz());
            text.replace("command-line = \"", &format!("command-line = \"{clock} "))
        }
        Chipset::Pc | Chipset::Q35 => text,
    }
}

/// What stands between quotes after a field's name.
fn field<'a>(text: &'a str, name: &str) -> Result<&'a str, Error> {
    let begin = format!("{name} = \"");
    let value = text.lines().find_map(|line| line.strip_prefix(&*begin)?.strip_suffix('"'));
    value.ok_or_else(|| Error::verdict(format!("the kiosk's description has no {name}")))
}

/// Paths on the kiosk, and the host's files that belong there.
fn files(artefacts: &Artefacts) -> Vec<(PathBuf, PathBuf)> {
    let own = FILES.map(|(path, name)| (path.into(), source().join(name)));
    let mut all = vec![
        (PathBuf::from("/usr/bin/dormouse"), artefacts.cli().to_owned()),
        (PathBuf::from("/usr/lib/dormouse/writer.elf"), artefacts.writer().to_owned()),
    ];
    all.extend(own);
    all
}

/// Adds every file and link below `folder`, at its path below `top`.
fn files_below(top: &Path, folder: &Path, all: &mut Vec<(PathBuf, PathBuf)>) -> Result<(), Error> {
    let tried = || format!("listing {}", folder.display());
    for entry in fs::read_dir(folder).map_err(Error::host(tried()))? {
        let entry = entry.map_err(Error::host(tried()))?;
        let path = entry.path();
        if entry.file_type().map_err(Error::host(tried()))?.is_dir() {
            files_below(top, &path, all)?;
        } else {
            let below = path.strip_prefix(top).unwrap_or(&path);
            all.push((Path::new("/").join(below), path));
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let tried = || format!("copying {} to {}", from.display(), to.display());
    fs::copy(from, to).map(drop).map_err(Error::host(tried()))
}

/// The example's own files.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kiosk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_have_what_is_changed_and_taken() {
        for system in [System::Busybox, System::Debian(PathBuf::new())] {
            let text = fs::read_to_string(source().join(system.description())).unwrap();
            for model in Model::ALL {
                let text = for_machine(&text, model);
                assert!(text.contains(&format!("\nboot = \"{}\"\n", model.appliance)));
                let line = field(&text, "command-line").unwrap();
                assert_eq!(line.starts_with("tsc="), model.chipset == Chipset::Microvm);
                assert!(field(&text, "memory").unwrap().ends_with('M'));
            }
        }
    }
}
