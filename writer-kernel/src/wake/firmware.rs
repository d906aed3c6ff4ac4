//! What this boot's firmware tells: ACPI tables, as far as the reader needs
//! them.

use super::boot::Boot;
use crate::arch::cpu;
use crate::arch::paging::direct;
use crate::machine::MACHINE;
use alloc::vec::Vec;
use dormouse_drivers::mmio_in_aml;
use dormouse_handoff::checksum;
use dormouse_handoff::memory_map::MemoryKind;
use dormouse_handoff::plan::{Ecam, Iommu, MAX_ECAM, MAX_IOMMUS, Machine, PowerFacts};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};

/// The longest table that is looked at.
const MAX_TABLE: u64 = 1 << 20;

/// Most tables in a root table that are looked at.
const MAX_TABLES: usize = 256;

/// Bytes of a table's header (ACPI 6.5 §5.2.6).
const HEADER: u64 = 36;

/// What the firmware's tables say.
#[derive(Default)]
pub struct Firmware {
    /// How to power off and reset, where the tables tell.
    pub power: Option<PowerFacts>,
    /// Whether the machine may be able to suspend to RAM: it has tables, and they do
    /// not tell that it cannot.
    pub has_s3: bool,
    /// The machine's IOMMUs; unused places are zero.
    pub iommus: [Iommu; MAX_IOMMUS],
    /// Where PCI's configuration space lies in memory; unused places are zero.
    pub ecam: [Ecam; MAX_ECAM],
    /// Where registers of virtio-mmio are.
    pub mmio: Vec<PhysAddr>,
    dsdt_checksum: u64,
    hardware_signature: u32,
}

impl Firmware {
    /// Reads the tables from the root pointer on. What cannot be read is left
    /// out: the reader can do without.
    pub fn read(boot: &Boot) -> Self {
        let Some(rsdp) = find_rsdp(boot.rsdp()) else {
            log::warn!("no ACPI tables were found");
            return Self::default();
        };
        let tables = root_entries(rsdp);
        let named = |signature: &[u8; 4]| {
            let signature = *signature;
            tables.iter().filter_map(|at| table(*at)).filter(move |t| t[..4] == signature)
        };
        let Some(fadt) = named(b"FACP").next() else {
            log::warn!("the ACPI tables have no FADT");
            return Self::default();
        };
        let mut iommus = [Iommu::default(); MAX_IOMMUS];
        let [dmar, ivrs] = [b"DMAR", b"IVRS"].map(|name| named(name).next().unwrap_or_default());
        dormouse_power::iommus(dmar, ivrs, &mut iommus);
        let mut ecam = [Ecam::default(); MAX_ECAM];
        if let Some(mcfg) = named(b"MCFG").next() {
            dormouse_power::ecam_regions(mcfg, &mut ecam);
        }
        // A register of a device is never a page of RAM.
        let ram = boot.memory(MemoryKind::Ram);
        for region in ecam.iter_mut().filter(|region| region.is_usable()) {
            if ram.iter().any(|ram| ram.intersection(&region.range()).is_some()) {
                *region = Ecam::default();
            }
        }
        let dsdt = fadt_pointer(fadt, 140, 40).and_then(table);
        let facs = fadt_pointer(fadt, 132, 36).and_then(|at| bytes(at, 64));
        let aml: Vec<&[u8]> = dsdt.into_iter().chain(named(b"SSDT")).collect();
        let power = match dormouse_power::facts_by_search(fadt, &aml) {
            Ok(power) => Some(power),
            Err(error) => {
                log::warn!("ACPI power-off is not to be had: {error}");
                None
            }
        };
        Self {
            power,
            has_s3: power.is_none_or(|power| power.s3_type_a != PowerFacts::UNKNOWN),
            iommus,
            ecam,
            mmio: aml.iter().flat_map(|aml| mmio_in_aml(aml)).collect(),
            dsdt_checksum: dsdt.map_or(0, checksum::plain),
            hardware_signature: facs.map_or(0, |facs| u32_at(facs, 8)),
        }
    }

    /// This machine, to be compared with the one that the image needs.
    pub fn machine(&self) -> Machine {
        Machine {
            dsdt_checksum: self.dsdt_checksum,
            hardware_signature: self.hardware_signature,
            ..cpu::identify()
        }
    }
}

/// Physical memory that firmware describes.
fn bytes(at: PhysAddr, length: u64) -> Option<&'static [u8]> {
    if at.0 == 0 || length > MAX_TABLE {
        return None;
    }
    let pages = PageRange { start: Pfn::containing(at), pages: length / PAGE_SIZE + 2 };
    MACHINE.with_space(|space| space.map_ram(pages))?.ok()?;
    // SAFETY: mapped; firmware's tables are not written to before the image is
    // read, and nobody looks at them after.
    Some(unsafe { core::slice::from_raw_parts(direct(at), length as usize) })
}

/// A whole table, its checksum right.
fn table(at: PhysAddr) -> Option<&'static [u8]> {
    let header = bytes(at, HEADER)?;
    let length = u64::from(u32_at(header, 4));
    let whole = bytes(at, length).filter(|whole| whole.len() >= HEADER as usize)?;
    sums_to_zero(whole).then_some(whole)
}

/// The RSDP, where the loader said or where PC firmware puts it (ACPI 6.5
/// §5.2.5.1).
fn find_rsdp(told: PhysAddr) -> Option<&'static [u8]> {
    let is_rsdp = |at: u64| {
        let rsdp = bytes(PhysAddr(at), 36)?;
        (rsdp[..8] == *b"RSD PTR " && sums_to_zero(&rsdp[..20])).then_some(rsdp)
    };
    is_rsdp(told.0).or_else(|| (0xe_0000..0x10_0000).step_by(16).find_map(is_rsdp))
}

/// The addresses in the XSDT, or in the RSDT of ACPI 1.0.
fn root_entries(rsdp: &[u8]) -> Vec<PhysAddr> {
    let revision = rsdp[15];
    let xsdt = (revision >= 2).then(|| table(PhysAddr(u64_at(rsdp, 24)))).flatten();
    let entries = |whole: &[u8], size: usize, read: fn(&[u8], usize) -> u64| {
        whole[HEADER as usize..]
            .chunks_exact(size)
            .take(MAX_TABLES)
            .map(|entry| PhysAddr(read(entry, 0)))
            .collect()
    };
    if let Some(xsdt) = xsdt {
        return entries(xsdt, 8, u64_at);
    }
    match table(PhysAddr(u32_at(rsdp, 16).into())) {
        Some(rsdt) => entries(rsdt, 4, |bytes, at| u32_at(bytes, at).into()),
        None => Vec::new(),
    }
}

/// A pointer of the FADT: its 64-bit field, or the 32-bit one of old tables.
fn fadt_pointer(fadt: &[u8], wide: usize, narrow: usize) -> Option<PhysAddr> {
    let wide = fadt.get(wide..wide + 8).map_or(0, |field| u64_at(field, 0));
    let narrow = fadt.get(narrow..narrow + 4).map_or(0, |field| u32_at(field, 0).into());
    [wide, narrow].into_iter().find(|&at| at != 0).map(PhysAddr)
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
