//! The file that describes an appliance: docs/appliance-file.md.

use super::fault::{Fault, Why};
use super::size::Size;
use crate::error::{Error, Result};
use dormouse_boot::bzimage::{HEAD, Kernel};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Most targets on one disk.
const MOST_IMAGES: u64 = 8;

/// What the machine's firmware starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// UEFI firmware finds the reader on the boot partition.
    Efi,
    /// The machine is given `writer.elf` from outside.
    Pvh,
    /// A BIOS starts GRUB from the disk, which starts the reader.
    Grub,
    /// A BIOS or UEFI firmware starts the loader of the `bootloader` crate, which
    /// starts the reader.
    Bootloader,
}

impl Boot {
    /// Whether UEFI firmware looks for something on the boot partition.
    pub fn by_uefi(self) -> bool {
        matches!(self, Self::Efi | Self::Bootloader)
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    boot: Boot,
    kernel: Spanned<PathBuf>,
    initrd: Option<Spanned<PathBuf>>,
    command_line: Spanned<String>,
    guid_seed: Option<String>,
    #[serde(default)]
    boot_partition: BootPartition,
    image: Spanned<Image>,
    root: Option<Spanned<FromFile>>,
    data: Option<Spanned<FromFile>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BootPartition {
    size: Option<Spanned<Size>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    memory: Option<Spanned<Size>>,
    size: Option<Spanned<Size>>,
    count: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromFile {
    from: Option<Spanned<PathBuf>>,
    size: Option<Spanned<Size>>,
}

/// A partition that is filled from a file, or left empty.
#[derive(Clone, Debug)]
pub struct Filled {
    /// What is copied there.
    pub from: Option<PathBuf>,
    /// Its size.
    pub bytes: u64,
}

/// An appliance, as far as its description can be checked.
#[derive(Clone, Debug)]
pub struct Description {
    /// What the machine's firmware starts.
    pub boot: Boot,
    /// The kernel, which the reader can start.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: Option<PathBuf>,
    /// The command line, with names of partitions in braces.
    pub command_line: String,
    /// What GUIDs are made of; random ones where there is nothing.
    pub guid_seed: Option<String>,
    /// Bytes of the boot partition, which its files fit.
    pub boot_bytes: u64,
    /// Bytes of each target.
    pub image_bytes: u64,
    /// How many targets there are.
    pub images: usize,
    /// The root file system.
    pub root: Option<Filled>,
    /// What else there is.
    pub data: Option<Filled>,
    file: PathBuf,
    command_line_line: usize,
}

/// The file, to speak of its lines.
struct Lines<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    fn fault<T>(&self, span: &Range<usize>, field: &'static str, why: Why) -> Result<T> {
        let line = self.line(span);
        Err(Error::Appliance(Fault::Field { file: self.file.into(), line, field, why }))
    }

    /// The file that a field names, from the description's folder on, and its
    /// length, which is not 0.
    fn named(&self, name: &Spanned<PathBuf>, field: &'static str) -> Result<(PathBuf, u64)> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let file = folder.join(name.get_ref());
        match fs::metadata(&file) {
            Ok(found) if found.len() > 0 => Ok((file, found.len())),
            Ok(_) => self.fault(&name.span(), field, Why::Empty),
            Err(error) => {
                self.fault(&name.span(), field, Why::Unreadable { file, words: error.to_string() })
            }
        }
    }

    fn filled(
        &self,
        part: Option<Spanned<FromFile>>,
        [from_field, size_field]: [&'static str; 2],
    ) -> Result<Option<Filled>> {
        let Some(part) = part else { return Ok(None) };
        let span = part.span();
        let FromFile { from, size } = part.into_inner();
        let from = from.map(|from| self.named(&from, from_field)).transpose()?;
        let needed = from.as_ref().map_or(0, |(_, bytes)| *bytes);
        let bytes = match &size {
            Some(size) if size.get_ref().0 < needed => {
                return self.fault(&size.span(), size_field, Why::TooSmall { needed });
            }
            Some(size) => size.get_ref().0,
            None if from.is_some() => needed,
            None => return self.fault(&span, size_field, Why::OneOf("from", "size")),
        };
        Ok(Some(Filled { from: from.map(|(file, _)| file), bytes }))
    }
}

impl Description {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// [`Error::Appliance`] with the line, [`Error::Io`].
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).map_err(|source| Error::read(file, source))?;
        Self::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<Self> {
        let written: Written = toml::from_str(text).map_err(|error| {
            Error::Appliance(Fault::Syntax { file: file.into(), words: error.to_string() })
        })?;
        let lines = Lines { file, text };
        let (kernel, kernel_bytes) = lines.named(&written.kernel, "kernel")?;
        let header = match header(&kernel, kernel_bytes) {
            Ok(header) => header,
            Err(why) => return lines.fault(&written.kernel.span(), "kernel", why),
        };
        let initrd =
            written.initrd.as_ref().map(|initrd| lines.named(initrd, "initrd")).transpose()?;
        if initrd.is_none() && written.root.is_none() {
            return lines.fault(&written.kernel.span(), "initrd", Why::NoRoot);
        }
        let line = written.command_line.get_ref();
        // A name in braces becomes 45 letters, `noinitrd` may be added.
        let bytes = line.len() + 45 * line.matches('{').count() + " noinitrd".len();
        if bytes > header.command_line as usize {
            let why = Why::LongLine { bytes, most: header.command_line };
            return lines.fault(&written.command_line.span(), "command-line", why);
        }

        let files = kernel_bytes + initrd.as_ref().map_or(0, |(_, bytes)| *bytes);
        // The reader twice, the table, and room for another kernel of the kind.
        let needed = files + (8 << 20);
        let boot_bytes = match &written.boot_partition.size {
            Some(size) if size.get_ref().0 < needed.max(MIN_BOOT) => {
                let why = Why::TooSmall { needed: needed.max(MIN_BOOT) };
                return lines.fault(&size.span(), "boot-partition.size", why);
            }
            Some(size) => size.get_ref().0,
            None => (2 * needed).max(64 << 20),
        };
        let (image_bytes, images) = image(&lines, &written.image)?;
        Ok(Self {
            boot: written.boot,
            kernel,
            initrd: initrd.map(|(file, _)| file),
            command_line: line.split_whitespace().collect::<Vec<_>>().join(" "),
            guid_seed: written.guid_seed,
            boot_bytes,
            image_bytes,
            images,
            root: lines.filled(written.root, ["root.from", "root.size"])?,
            data: lines.filled(written.data, ["data.from", "data.size"])?,
            file: file.into(),
            command_line_line: lines.line(&written.command_line.span()),
        })
    }

    /// A name in the command line's braces that is none.
    pub(super) fn unknown_placeholder(&self, name: &str) -> Error {
        Error::Appliance(Fault::Field {
            file: self.file.clone(),
            line: self.command_line_line,
            field: "command-line",
            why: Why::Placeholder(name.into()),
        })
    }
}

/// What firmware and other tools take for FAT32 without asking.
const MIN_BOOT: u64 = 34 << 20;

/// The kernel's own header.
fn header(kernel: &Path, bytes: u64) -> std::result::Result<Kernel, Why> {
    let mut head = [0; HEAD];
    let read = File::open(kernel).and_then(|mut file| {
        let take = head.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        file.read_exact(&mut head[..take])
    });
    read.map_err(|error| Why::Unreadable { file: kernel.into(), words: error.to_string() })?;
    Kernel::parse(&head, bytes).map_err(Why::Kernel)
}

/// Bytes of each target, and how many there are.
fn image(lines: &Lines<'_>, image: &Spanned<Image>) -> Result<(u64, usize)> {
    use dormouse_handoff::image::Layout;
    use dormouse_handoff::units::PAGE_SIZE;
    const FIELD: &str = "image";
    let Image { memory, size, count } = image.get_ref();
    let bytes = match (memory, size) {
        (Some(memory), None) => Layout::for_pages(memory.get_ref().0 / PAGE_SIZE).total(),
        (None, Some(size)) => size.get_ref().0,
        _ => return lines.fault(&image.span(), FIELD, Why::OneOf("memory", "size")),
    };
    let count = match count {
        Some(count) if !(1..=MOST_IMAGES).contains(count.get_ref()) => {
            return lines.fault(&count.span(), "image.count", Why::Range(1, MOST_IMAGES));
        }
        Some(count) => *count.get_ref() as usize,
        None => 1,
    };
    Ok((bytes, count))
}
