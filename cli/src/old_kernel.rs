//! What the plan must tell about the kernel that is put to sleep.

use crate::error::{Error, Result};
use crate::first_gdt;
use crate::free_pages::FreePages;
use crate::linux::consoles::{self, SerialConsole};
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
    let memory = iomem::parse(&system.text("/proc/iomem")?).map_err(Error::Iomem)?;
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
