//! `/proc/iomem`: what lies where in physical memory (Linux
//! Documentation/filesystems/proc.rst).

use dormouse_handoff::memory_map::{MapError, MemoryKind, MemoryRange, check};
use dormouse_handoff::plan::Ecam;
use dormouse_handoff::units::{PageRange, PhysAddr};
use std::fmt;

/// The parts of the map that matter for sleep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap {
    /// What the image must hold: ordered, disjoint, whole pages.
    pub saved: Vec<MemoryRange>,
    /// Where the kernel itself lies and where a crash kernel is reserved: no
    /// place for a window.
    pub kernel: Vec<PageRange>,
    /// Names of memory that a driver added after the start: firmware does not
    /// tell of it, so that it is not there when the machine wakes.
    pub added: Vec<String>,
}

impl MemoryMap {
    /// Pages that the image may have to hold.
    pub fn pages(&self) -> u64 {
        self.saved.iter().map(|entry| entry.range.pages).sum()
    }

    /// The ranges of RAM.
    pub fn ram(&self) -> impl Iterator<Item = PageRange> {
        self.saved.iter().filter(|e| e.kind == MemoryKind::Ram as u32).map(|e| e.range)
    }
}

/// Why `/proc/iomem` is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IomemError {
    /// The line with this number, from 1, is not `start-end : name`.
    Line(usize),
    /// All addresses are zero: the kernel hides them.
    Hidden,
    /// What it says is not a usable memory map.
    Map(MapError),
}

impl fmt::Display for IomemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "/proc/iomem: line {n} is not `start-end : name`"),
            Self::Hidden => write!(f, "/proc/iomem: the kernel hides the addresses"),
            Self::Map(error) => write!(f, "/proc/iomem: {error}"),
        }
    }
}

/// One line.
struct Resource<'a> {
    depth: usize,
    start: u64,
    /// The last byte.
    last: u64,
    name: &'a str,
}

impl<'a> Resource<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let text = line.trim_start_matches(' ');
        let (range, name) = text.split_once(" : ")?;
        let (start, last) = range.split_once('-')?;
        let start = u64::from_str_radix(start.trim(), 16).ok()?;
        let last = u64::from_str_radix(last.trim(), 16).ok()?;
        if last < start {
            return None;
        }
        Some(Self { depth: (line.len() - text.len()) / 2, start, last, name })
    }

    fn whole_pages(&self) -> PageRange {
        PageRange::inside(PhysAddr(self.start), PhysAddr(self.last.saturating_add(1)))
    }

    /// All pages that the resource touches.
    fn touched_pages(&self) -> PageRange {
        let page = dormouse_handoff::units::PAGE_SIZE;
        let start = self.start / page;
        PageRange::new(start, self.last / page - start + 1)
    }
}

/// Where the kernel reaches PCI's configuration space in memory, up to `regions`'
/// length; how many.
pub fn ecam(text: &str, regions: &mut [Ecam]) -> usize {
    let found = text.lines().filter_map(Resource::parse).filter_map(|resource| {
        // Linux arch/x86/pci/mmconfig-shared.c; ECAM from 6.9 on.
        let words = ["PCI MMCONFIG ", "PCI ECAM "];
        let name = words.iter().find_map(|words| resource.name.strip_prefix(words))?;
        let (segment, buses) = name.split_once(" [bus ")?;
        let (first, last) = buses.strip_suffix(']')?.split_once('-')?;
        let first_bus = u8::from_str_radix(first, 16).ok()?;
        let region = Ecam {
            base: PhysAddr(resource.start.checked_sub(u64::from(first_bus) << 20)?),
            segment: u16::from_str_radix(segment, 16).ok()?,
            first_bus,
            last_bus: u8::from_str_radix(last, 16).ok()?,
            reserved: 0,
        };
        region.is_usable().then_some(region)
    });
    found.zip(regions).map(|(region, room)| *room = region).count()
}

/// Reads the whole file.
pub fn parse(text: &str) -> Result<MemoryMap, IomemError> {
    let mut map = MemoryMap::default();
    let mut any_address = false;
    for (i, line) in text.lines().enumerate() {
        let resource = Resource::parse(line).ok_or(IomemError::Line(i + 1))?;
        any_address |= resource.last != 0;
        let kind = match (resource.depth, resource.name) {
            (0, "System RAM") => Some(MemoryKind::Ram),
            (0, "ACPI Non-volatile Storage") => Some(MemoryKind::AcpiNvs),
            _ => None,
        };
        if let Some(kind) = kind {
            let range = resource.whole_pages();
            if range.pages != 0 {
                map.saved.push(MemoryRange { range, kind: kind as u32, reserved: 0 });
            }
        } else if resource.name.starts_with("System RAM") {
            map.added.push(resource.name.to_owned());
        } else if is_kernel(resource.name) {
            map.kernel.push(resource.touched_pages());
        }
    }
    if !any_address {
        return Err(IomemError::Hidden);
    }
    map.saved.sort_by_key(|entry| entry.range.start);
    check(&map.saved).map_err(IomemError::Map)?;
    Ok(map)
}

/// Where the resources of the device with this name begin, if it has any.
pub fn start_of(text: &str, device: &str) -> Option<PhysAddr> {
    text.lines()
        .filter_map(Resource::parse)
        .find(|resource| resource.name.split(' ').any(|word| word == device))
        .map(|resource| PhysAddr(resource.start))
        .filter(|start| start.0 != 0)
}

fn is_kernel(name: &str) -> bool {
    matches!(name, "Kernel code" | "Kernel rodata" | "Kernel data" | "Kernel bss" | "Crash kernel")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QEMU_PC: &str = "\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
0009fc00-0009ffff : Reserved
000a0000-000bffff : PCI Bus 0000:00
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
00100000-3ffdffff : System RAM
  05200000-05a0010f : Kernel code
  05c00000-05d66fff : Kernel rodata
  05e00000-05ede07f : Kernel data
  05fca000-061fffff : Kernel bss
  30000000-33ffffff : Crash kernel
3ffe0000-3fffefff : ACPI Non-volatile Storage
3ffff000-3fffffff : Reserved
100000000-13fffffff : System RAM
";

    #[test]
    fn configuration_space_is_found_under_both_names() {
        let text = "80000000-bfffffff : PCI Bus 0000:00\n\
            e0000000-efffffff : PCI MMCONFIG 0000 [bus 00-ff]\n\
            \x20 e0000000-efffffff : reserved\n\
            8042000000-8043ffffff : PCI ECAM 1002 [bus 20-3f]\n\
            f0000000-f00fffff : PCI ECAM 0003 [bus 40-3f]\n\
            00100000-001fffff : PCI ECAM 0004 [bus 80-81]\n\
            f0000000-f00fffff : PCI ECAM x [bus 00-00]\n";
        let mut regions = [Ecam::default(); 4];
        assert_eq!(ecam(text, &mut regions), 2);
        assert_eq!((regions[0].base, regions[0].last_bus), (PhysAddr(0xe000_0000), 0xff));
        let Ecam { base, segment, first_bus, last_bus, .. } = regions[1];
        assert_eq!((base, segment), (PhysAddr(0x80_4000_0000), 0x1002));
        assert_eq!((first_bus, last_bus), (0x20, 0x3f));
        assert_eq!(ecam(text, &mut regions[..1]), 1);
    }

    #[test]
    fn ram_and_acpi_storage_are_saved_in_whole_pages() {
        let map = parse(QEMU_PC).unwrap();
        let saved: Vec<_> = map.saved.iter().map(|e| (e.range.to_string(), e.kind)).collect();
        assert_eq!(
            saved,
            [
                ("0x1000-0x9efff".to_owned(), 1),
                ("0x100000-0x3ffdffff".to_owned(), 1),
                ("0x3ffe0000-0x3fffefff".to_owned(), 4),
                ("0x100000000-0x13fffffff".to_owned(), 1),
            ]
        );
        assert_eq!(map.ram().count(), 3);
        assert_eq!(map.added, [""; 0]);
    }

    #[test]
    fn the_kernel_and_the_crash_kernel_are_known() {
        let map = parse(QEMU_PC).unwrap();
        assert_eq!(map.kernel.len(), 5);
        assert_eq!(map.kernel[0], PageRange::new(0x5200, 0x801));
    }

    #[test]
    fn memory_that_a_driver_added_is_named() {
        let text = format!(
            "{QEMU_PC}140000000-17fffffff : virtio0\n  148000000-14fffffff : System RAM (virtio_mem)\n"
        );
        let map = parse(&text).unwrap();
        assert_eq!(map.added, ["System RAM (virtio_mem)"]);
        assert_eq!(map.pages(), parse(QEMU_PC).unwrap().pages());
    }

    #[test]
    fn hidden_addresses_are_noticed() {
        let hidden = "00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n";
        assert_eq!(parse(hidden), Err(IomemError::Hidden));
    }

    #[test]
    fn lines_that_mean_nothing_are_named() {
        assert_eq!(parse("00001000-0009fbff : System RAM\nwhat\n"), Err(IomemError::Line(2)));
        assert_eq!(parse("2000-1000 : System RAM"), Err(IomemError::Line(1)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_map_or_an_error(text in "([0-9a-f]{1,17}-[0-9a-f]{1,17} : System RAM\n|.{0,9}\n){0,9}") {
            if let Ok(map) = parse(&text) {
                prop_assert!(check(&map.saved).is_ok());
            }
        }
    }
}
