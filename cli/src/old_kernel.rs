//! What the plan must tell about the kernel that is put to sleep.

use crate::error::{Error, Result};
use crate::first_gdt;
use crate::free_pages::FreePages;
use crate::linux::consoles::{self, SerialConsole};
use crate::linux::e820;
use crate::linux::iomem::{self, MemoryMap};
use crate::linux::kcore::{self, Segments};
use crate::linux::page_flags::PageFlags;
use crate::system::System;
use crate::window::PageFlagsSource;
use dormouse_handoff::plan::MAX_MEMORY_RANGES;
use dormouse_handoff::units::{PAGE_SIZE, PageRange};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Memory and symbols of the running kernel.
#[derive(Clone, Debug)]
pub struct OldKernel {
    /// What lies where in physical memory.
    pub memory: MemoryMap,
    /// Linear address at which the kernel maps physical address 0.
    pub direct_map: u64,
    /// Linear address of the first processor's GDT; 0 where the kernel does not
    /// tell.
    pub gdt: u64,
    /// VMCOREINFO; empty where it is not to be had.
    pub vmcoreinfo: Vec<u8>,
    /// What the kernel relies on finding in free pages.
    pub free_pages: FreePages,
}

impl OldKernel {
    /// Looks at the running kernel.
    ///
    /// # Errors
    /// [`Error::Iomem`], [`Error::TooManyRanges`], [`Error::NoDirectMap`], and
    /// [`Error::Io`].
    pub fn look(system: &System) -> Result<Self> {
        let memory = memory_map(system)?;
        let kcore = Kcore::open(system)?;
        let direct_map = kcore.segments.direct_map().ok_or(Error::NoDirectMap)?;
        let vmcoreinfo = kcore.vmcoreinfo(system).unwrap_or_default();
        // Once for both: the kernel spends a hundred thousand lines on it.
        let symbols = symbols(system).unwrap_or_default();
        let gdt = kcore.first_gdt(&symbols).unwrap_or(0);
        let free_pages = kcore.free_pages(system, &symbols);
        Ok(Self { memory, direct_map, gdt, vmcoreinfo, free_pages })
    }

    /// Makes sure that memory is what it was: what was plugged in since would be missing
    /// in the image.
    ///
    /// # Errors
    /// [`Error::MemoryChanged`], and those of [`memory_map`].
    pub fn has_the_same_memory(&self, system: &System) -> Result<()> {
        let now = memory_map(system)?;
        let same = now.saved == self.memory.saved && now.added == self.memory.added;
        if same { Ok(()) } else { Err(Error::MemoryChanged) }
    }
}

/// Whether the kernel's first GDT can be found.
pub fn tells_first_gdt(system: &System) -> bool {
    let Ok(symbols) = symbols(system) else { return false };
    Kcore::open(system).is_ok_and(|kcore| kcore.first_gdt(&symbols).is_some())
}

/// The kernel's symbols, as [`kallsyms`](crate::linux::kallsyms) reads them.
fn symbols(system: &System) -> Result<String> {
    system.text("/proc/kallsyms")
}

/// The memory map, if a plan can hold it.
///
/// # Errors
/// [`Error::Iomem`], [`Error::TooManyRanges`], [`Error::Io`].
pub fn memory_map(system: &System) -> Result<MemoryMap> {
    let mut memory = iomem::parse(&system.text("/proc/iomem")?).map_err(Error::Iomem)?;
    let params = system.bytes("/sys/kernel/boot_params/data").unwrap_or_default();
    if let Some(firmware) = e820::ram(&params) {
        // Memory that was plugged in as ACPI tells it is listed like any other.
        let added = memory.ram().filter(|ram| !firmware.iter().any(|told| told.covers(ram)));
        let added: Vec<String> = added.map(|ram| format!("System RAM at {ram}")).collect();
        memory.added.extend(added);
    }
    match memory.saved.len() {
        0..=MAX_MEMORY_RANGES => Ok(memory),
        n => Err(Error::TooManyRanges(n)),
    }
}

/// The serial line that the kernel's console is on, if there is one at an I/O
/// port.
pub fn serial_console(system: &System) -> Option<SerialConsole> {
    let active = system.line("/sys/class/tty/console/active")?;
    let name = consoles::first_serial(&active)?;
    let port = consoles::port(&system.line(format!("/sys/class/tty/{name}/port"))?)?;
    let command_line = system.text("/proc/cmdline").unwrap_or_default();
    Some(SerialConsole { port, rate: consoles::rate(&command_line, name) })
}

/// `/proc/kcore`, opened.
struct Kcore {
    file: File,
    segments: Segments,
}

impl Kcore {
    const PATH: &str = "/proc/kcore";

    fn open(system: &System) -> Result<Self> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Error::NoDirectMap,
            _ => Error::read(Self::PATH, source),
        };
        let file = File::open(system.path(Self::PATH)).map_err(failed)?;
        let header = read(&file, 0..kcore::FILE_HEADER_BYTES).map_err(failed)?;
        let headers = kcore::program_headers_range(&header).map_err(|_| Error::NoDirectMap)?;
        let segments = Segments::parse(&read(&file, headers).map_err(failed)?);
        Ok(Self { file, segments })
    }

    fn first_gdt(&self, symbols: &str) -> Option<u64> {
        first_gdt::find(symbols, |address, bytes| self.linear(address, bytes))
    }

    fn free_pages(&self, system: &System, symbols: &str) -> FreePages {
        FreePages::look(system, symbols, |address, bytes| self.linear(address, bytes))
    }

    /// `bytes` bytes of the kernel's memory at a linear address.
    fn linear(&self, address: u64, bytes: usize) -> Option<Vec<u8>> {
        let start = usize::try_from(self.segments.linear(address, bytes as u64)?).ok()?;
        read(&self.file, start..start.checked_add(bytes)?).ok()
    }

    /// VMCOREINFO: among the file's own notes, or, on older kernels, at the
    /// physical address that the kernel tells.
    fn vmcoreinfo(&self, system: &System) -> Option<Vec<u8>> {
        let notes = self.segments.notes().and_then(|range| read(&self.file, range).ok());
        if let Some(text) = notes.as_deref().and_then(kcore::vmcoreinfo) {
            return Some(text.to_vec());
        }
        let place = system.line("/sys/kernel/vmcoreinfo")?;
        let (address, size) = kcore::vmcoreinfo_place(&place)?;
        let start = usize::try_from(self.segments.physical(address)?.start).ok()?;
        let note = read(&self.file, start..start.checked_add(size)?).ok()?;
        kcore::vmcoreinfo(&note).map(<[u8]>::to_vec)
    }
}

fn read(file: &File, range: Range<usize>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; range.len()];
    file.read_exact_at(&mut bytes, range.start as u64)?;
    Ok(bytes)
}

/// `/proc/kpageflags`, opened.
pub struct KernelPageFlags(File);

impl KernelPageFlags {
    /// Opens the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(system: &System) -> Result<Self> {
        let path = system.path("/proc/kpageflags");
        File::open(&path).map(Self).map_err(|source| Error::read(path, source))
    }
}

impl PageFlagsSource for KernelPageFlags {
    fn flags(&mut self, range: PageRange) -> Option<Vec<PageFlags>> {
        const MOST: u64 = (1 << 30) / PAGE_SIZE;
        let start = usize::try_from(range.start.0).ok()?.checked_mul(8)?;
        let bytes = usize::try_from(range.pages.min(MOST)).ok()? * 8;
        let bytes = read(&self.0, start..start + bytes).ok()?;
        let (flags, _) = bytes.as_chunks::<8>();
        Some(flags.iter().map(|entry| PageFlags(u64::from_le_bytes(*entry))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A machine that was started with so many bytes from 1 MiB on.
    fn started_with(bytes: u64) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        let mut params = vec![0; 4096];
        params[0x1e8] = 1;
        params[0x2d0..0x2d8].copy_from_slice(&(1u64 << 20).to_le_bytes());
        params[0x2d8..0x2e0].copy_from_slice(&bytes.to_le_bytes());
        params[0x2e0] = 1;
        for (path, contents) in [
            ("proc/iomem", &b"00100000-3fffffff : System RAM\n"[..]),
            ("sys/kernel/boot_params/data", &params),
        ] {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, contents).unwrap();
        }
        let system = System::below(root.path());
        (root, system)
    }

    /// Linux lists what ACPI told it of later as `System RAM`, like the rest.
    #[test]
    fn memory_that_the_firmware_did_not_tell_of_is_named() {
        let (_root, all) = started_with(0x3ff0_0000);
        assert_eq!(memory_map(&all).unwrap().added, [""; 0]);
        let (_root, less) = started_with(0x1ff0_0000);
        assert_eq!(memory_map(&less).unwrap().added, ["System RAM at 0x100000-0x3fffffff"]);
    }

    #[test]
    fn memory_that_is_plugged_in_meanwhile_is_noticed() {
        let (root, system) = started_with(0x3ff0_0000);
        let memory = memory_map(&system).unwrap();
        let (vmcoreinfo, free_pages) = (Vec::new(), FreePages::Anything);
        let kernel = OldKernel { memory, direct_map: 0, gdt: 0, vmcoreinfo, free_pages };
        kernel.has_the_same_memory(&system).unwrap();
        let more = "00100000-3fffffff : System RAM\n100000000-13fffffff : System RAM\n";
        fs::write(root.path().join("proc/iomem"), more).unwrap();
        let error = kernel.has_the_same_memory(&system).unwrap_err();
        assert!(matches!(error, Error::MemoryChanged), "{error}");
    }
}
