//! Where everything lies in a core, and its headers and notes (System V ABI,
//! chapters 4 and 5).

use super::Registers;
use crate::elf::{self, EM_X86_64, ET_CORE, FileHeader, PT_LOAD, PT_NOTE, ProgramHeader};
use dormouse_handoff::memory_map::MemoryRange;
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PAGE_SIZE, Pfn};
use dormouse_page_set::vmcoreinfo::Vmcoreinfo;
use zerocopy::{FromZeros, IntoBytes};

/// Where x86-64 Linux maps its own image, before `phys_base`
/// (`__START_KERNEL_map`, Linux Documentation/arch/x86/x86_64/mm.rst), and how
/// much of it at most unless VMCOREINFO says otherwise.
const KERNEL_IMAGE_MAP: u64 = 0xffff_ffff_8000_0000;
const KERNEL_IMAGE_SIZE: i64 = 512 << 20;

/// The kernel's image begins on such a boundary, physical and linear.
const LARGE_PAGE: u64 = 2 << 20;

/// `PF_R | PF_W | PF_X`.
const ALL_ACCESS: u32 = 7;

/// The type of a note with a process's, here a processor's, registers.
const NT_PRSTATUS: u32 = 1;

/// A range of memory, and where it lies in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    memory: MemoryRange,
    offset: u64,
}

/// Part of memory that has a second linear address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KernelImage {
    linear: u64,
    physical: u64,
    bytes: u64,
}

/// Where everything lies in a core.
#[derive(Clone, Debug)]
pub struct CoreLayout {
    places: Vec<Place>,
    kernel: Option<KernelImage>,
    file_bytes: u64,
}

impl CoreLayout {
    /// The layout of a core of the memory that `plan` names.
    pub fn of(plan: &CheckedPlan<'_>) -> Self {
        let kernel = kernel_image(&Vmcoreinfo::new(plan.vmcoreinfo()), plan.memory());
        let mut layout = Self { places: Vec::new(), kernel, file_bytes: 0 };
        let headers = 1 + usize::from(kernel.is_some()) + plan.memory().len();
        let most = notes(plan, Some(&Registers::default())).len();
        let head = size_of::<FileHeader>() + headers * size_of::<ProgramHeader>() + most;
        layout.file_bytes = (head as u64).next_multiple_of(PAGE_SIZE);
        for memory in plan.memory() {
            layout.places.push(Place { memory: *memory, offset: layout.file_bytes });
            layout.file_bytes += memory.range.bytes();
        }
        layout
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where in the file a frame lies, if it is memory.
    pub fn offset(&self, frame: Pfn) -> Option<u64> {
        let at = self.places.partition_point(|place| place.memory.range.end() <= frame);
        let place = self.places.get(at)?;
        let skipped = frame.0.checked_sub(place.memory.range.start.0)?;
        Some(place.offset + skipped * PAGE_SIZE)
    }

    /// Headers and notes: the file's first bytes.
    pub fn head(&self, plan: &CheckedPlan<'_>, registers: Option<&Registers>) -> Vec<u8> {
        let notes = notes(plan, registers);
        let mut segments = vec![ProgramHeader::new_zeroed()];
        segments.extend(self.kernel.and_then(|kernel| self.kernel_segment(&kernel)));
        segments.extend(self.places.iter().map(|place| {
            let physical = place.memory.range.start.address().0;
            let linear = plan.direct_map.wrapping_add(physical);
            load(place.offset, linear, physical, place.memory.range.bytes())
        }));
        let size = size_of::<FileHeader>() + segments.as_bytes().len();
        segments[0] = ProgramHeader {
            p_type: PT_NOTE.into(),
            p_offset: (size as u64).into(),
            p_filesz: (notes.len() as u64).into(),
            p_memsz: (notes.len() as u64).into(),
            ..ProgramHeader::new_zeroed()
        };
        let mut file = FileHeader::new_zeroed();
        file.e_ident[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file.e_type = ET_CORE.into();
        file.e_machine = EM_X86_64.into();
        file.e_version = 1.into();
        file.e_phoff = (size_of::<FileHeader>() as u64).into();
        file.e_ehsize = (size_of::<FileHeader>() as u16).into();
        file.e_phentsize = (size_of::<ProgramHeader>() as u16).into();
        file.e_phnum = (segments.len() as u16).into();
        [file.as_bytes(), segments.as_bytes(), &notes].concat()
    }

    /// The kernel's own mapping of itself: `gdb` reads by linear addresses.
    fn kernel_segment(&self, kernel: &KernelImage) -> Option<ProgramHeader> {
        let offset = self.offset(Pfn(kernel.physical / PAGE_SIZE))?;
        Some(load(offset, kernel.linear, kernel.physical, kernel.bytes))
    }
}

fn load(offset: u64, linear: u64, physical: u64, bytes: u64) -> ProgramHeader {
    ProgramHeader {
        p_type: PT_LOAD.into(),
        p_flags: ALL_ACCESS.into(),
        p_offset: offset.into(),
        p_vaddr: linear.into(),
        p_paddr: physical.into(),
        p_filesz: bytes.into(),
        p_memsz: bytes.into(),
        p_align: PAGE_SIZE.into(),
    }
}

fn notes(plan: &CheckedPlan<'_>, registers: Option<&Registers>) -> Vec<u8> {
    let mut notes = Vec::new();
    if let Some(registers) = registers {
        elf::push_note(&mut notes, "CORE", NT_PRSTATUS, &registers.prstatus());
    }
    if !plan.vmcoreinfo().is_empty() {
        elf::push_note(&mut notes, "VMCOREINFO", 0, plan.vmcoreinfo());
    }
    notes
}

/// Where the kernel's image is, as far as VMCOREINFO tells: its beginning is
/// known, its end is not, so it is taken to reach as far as its range of memory
/// and its part of the linear address space allow.
fn kernel_image(note: &Vmcoreinfo<'_>, memory: &[MemoryRange]) -> Option<KernelImage> {
    let linear = note.address("SYMBOL(_stext)").ok()? & !(LARGE_PAGE - 1);
    let phys_base = note.number("NUMBER(phys_base)").ok()?;
    let size = note.number("NUMBER(KERNEL_IMAGE_SIZE)").unwrap_or(KERNEL_IMAGE_SIZE);
    let into = linear.checked_sub(KERNEL_IMAGE_MAP)?;
    let physical = into.checked_add_signed(phys_base)?;
    let frame = Pfn(physical / PAGE_SIZE);
    let range = memory.iter().find(|entry| entry.range.contains(frame))?.range;
    let room = u64::try_from(size).ok()?.checked_sub(into)?;
    let bytes = room.min(range.end().address().0 - physical);
    Some(KernelImage { linear, physical, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_handoff::units::PageRange;

    #[test]
    fn the_kernel_is_found_by_its_own_words() {
        let text = "SYMBOL(_stext)=ffffffff81200000\nNUMBER(phys_base)=130023424\n\
                    NUMBER(KERNEL_IMAGE_SIZE)=1073741824\n";
        let ram = |start, pages| MemoryRange {
            range: PageRange::new(start, pages),
            kind: 1,
            reserved: 0,
        };
        let memory = [ram(1, 0x9e), ram(0x100, 0x3fee0)];
        let found = kernel_image(&Vmcoreinfo::new(text.as_bytes()), &memory).unwrap();
        let physical = 0x120_0000 + 130_023_424;
        assert_eq!((found.linear, found.physical), (0xffff_ffff_8120_0000, physical));
        assert_eq!(found.physical + found.bytes, 0x3ffe_0000);
        let wild = b"SYMBOL(_stext)=ffffffff81200000\nNUMBER(phys_base)=-9223372036854775808\n";
        assert_eq!(kernel_image(&Vmcoreinfo::new(wild), &memory), None);
        assert_eq!(kernel_image(&Vmcoreinfo::new(b""), &memory), None);
    }
}
