//! The header of a kernel file (Linux Documentation/arch/x86/boot.rst, "The
//! Real-Mode Kernel Header").

use crate::bytes::{u16_at, u32_at, u64_at};
use dormouse_handoff::units::PAGE_SIZE;

/// Bytes of the file that the header is in.
pub const HEAD: usize = 1024;

/// Where the header begins, in the file and in the boot parameters alike.
pub const SETUP: usize = 0x1f1;

/// The earliest version of the protocol that has a 64-bit entry.
const OLDEST: u16 = 0x020c;

/// Past the 32-bit entry, which is at the start of the part that is loaded.
const ENTRY_64: u64 = 0x200;

const SECTOR: u64 = 512;

/// Offsets in the file.
pub(crate) mod at {
    pub const SETUP_SECTORS: usize = 0x1f1;
    pub const PARAGRAPHS: usize = 0x1f4;
    pub const BOOT_FLAG: usize = 0x1fe;
    pub const HEADER_END: usize = 0x201;
    pub const MAGIC: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const LOAD_FLAGS: usize = 0x211;
    pub const INITRD_MAX: usize = 0x22c;
    pub const ALIGNMENT: usize = 0x230;
    pub const RELOCATABLE: usize = 0x234;
    pub const EXTENDED_FLAGS: usize = 0x236;
    pub const COMMAND_LINE_MAX: usize = 0x238;
    pub const PREFERRED: usize = 0x258;
    pub const INIT_BYTES: usize = 0x260;
}

/// In `loadflags`: the kernel goes above 1 MiB.
pub(crate) const LOADED_HIGH: u8 = 1;
/// In `xloadflags`: there is a 64-bit entry.
pub(crate) const KERNEL_64: u16 = 1;
/// In `xloadflags`: what it is given may lie above 4 GiB.
pub(crate) const ABOVE_4G: u16 = 2;

/// Why a kernel cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// It has no such header.
    NoKernel,
    /// It is older than its 64-bit entry.
    Old {
        /// Its version of the protocol.
        version: u16,
    },
    /// It has no 64-bit entry.
    Not64,
    /// A number in the header makes no sense; which.
    Header(&'static str),
    /// The file ends before the kernel does.
    Short {
        /// Bytes of the file.
        bytes: u64,
        /// Bytes that the header speaks of.
        needed: u64,
    },
}

impl core::fmt::Display for KernelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoKernel => write!(f, "it is no bzImage"),
            Self::Old { version } => write!(
                f,
                "its boot protocol is {}.{:02}, and 2.12 is the oldest that will do",
                version >> 8,
                version & 0xff
            ),
            Self::Not64 => write!(f, "it has no 64-bit entry"),
            Self::Header(what) => write!(f, "its header makes no sense: {what}"),
            Self::Short { bytes, needed } => {
                write!(f, "the file has {bytes} bytes, the kernel {needed}: it was cut off")
            }
        }
    }
}

/// What a kernel's header asks for.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Bytes of the file before the part that is loaded.
    pub skipped: u64,
    /// Bytes from where it is loaded on that it needs until it knows memory.
    pub init_bytes: u64,
    /// Where it would like to be; the lowest place at which it stays.
    pub preferred: u64,
    /// Of its address; `None` where it can be nowhere but there.
    pub alignment: Option<u64>,
    /// One past the highest address that an initramfs may have.
    pub initrd_end: u64,
    /// Whether an initramfs may lie above 4 GiB.
    pub above_4g: bool,
    /// Most bytes of a command line, without the zero at its end.
    pub command_line: u32,
    head: [u8; HEAD],
    header_end: usize,
}

impl Kernel {
    /// Reads the header in the first bytes of a file of `file_bytes`.
    pub fn parse(head: &[u8; HEAD], file_bytes: u64) -> Result<Self, KernelError> {
        use KernelError::Header;
        let byte = |at: usize| head.get(at).copied().unwrap_or(0);
        if u16_at(head, at::BOOT_FLAG) != 0xaa55
            || head.get(at::MAGIC..at::VERSION) != Some(b"HdrS")
        {
            return Err(KernelError::NoKernel);
        }
        let version = u16_at(head, at::VERSION);
        if version < OLDEST {
            return Err(KernelError::Old { version });
        }
        let flags = u16_at(head, at::EXTENDED_FLAGS);
        if flags & KERNEL_64 == 0 || byte(at::LOAD_FLAGS) & LOADED_HIGH == 0 {
            return Err(KernelError::Not64);
        }
        let header_end = at::MAGIC + usize::from(byte(at::HEADER_END));
        if header_end < at::INIT_BYTES + 4 {
            return Err(Header("it ends too early"));
        }
        // 0 means 4 (boot.rst); one more sector is the boot sector.
        let sectors = match byte(at::SETUP_SECTORS) {
            0 => 4,
            sectors => u64::from(sectors),
        };
        let skipped = (sectors + 1) * SECTOR;
        let needed = skipped + u64::from(u32_at(head, at::PARAGRAPHS)) * 16;
        if needed <= skipped + ENTRY_64 {
            return Err(Header("nothing is loaded"));
        }
        if file_bytes < needed {
            return Err(KernelError::Short { bytes: file_bytes, needed });
        }
        let alignment = u64::from(u32_at(head, at::ALIGNMENT));
        if !alignment.is_power_of_two() || alignment < PAGE_SIZE {
            return Err(Header("its alignment"));
        }
        let preferred = u64_at(head, at::PREFERRED);
        if preferred < 1 << 20 || !preferred.is_multiple_of(PAGE_SIZE) || preferred >= 1 << 32 {
            return Err(Header("its preferred address"));
        }
        // The whole file is loaded, in whole blocks of the disk.
        let loaded = (file_bytes - skipped).next_multiple_of(PAGE_SIZE) + PAGE_SIZE;
        Ok(Self {
            file_bytes,
            skipped,
            init_bytes: u64::from(u32_at(head, at::INIT_BYTES)).max(loaded),
            preferred,
            alignment: (byte(at::RELOCATABLE) != 0).then_some(alignment),
            initrd_end: u64::from(u32_at(head, at::INITRD_MAX)) + 1,
            above_4g: flags & ABOVE_4G != 0,
            command_line: u32_at(head, at::COMMAND_LINE_MAX),
            head: *head,
            header_end,
        })
    }

    /// The header, to be copied to [`SETUP`] in the boot parameters.
    pub fn header(&self) -> &[u8] {
        self.head.get(SETUP..self.header_end).unwrap_or_default()
    }

    /// Where it is entered, when it was loaded at `address`.
    pub fn entry(address: u64) -> u64 {
        address + ENTRY_64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::head;
    use proptest::prelude::*;

    fn changed(at: usize, bytes: &[u8]) -> Result<Kernel, KernelError> {
        let mut head = head(4096);
        head[at..at + bytes.len()].copy_from_slice(bytes);
        Kernel::parse(&head, 16384 + 4096)
    }

    #[test]
    fn a_kernel_says_what_it_needs() {
        let kernel = Kernel::parse(&head(4096), 16384 + 4096).unwrap();
        assert_eq!((kernel.skipped, kernel.preferred), (16384, 16 << 20));
        assert_eq!((kernel.init_bytes, kernel.alignment), (0x300_0000, Some(2 << 20)));
        assert_eq!((kernel.initrd_end, kernel.command_line), (1 << 31, 2047));
        assert_eq!(kernel.header().len(), 0x26c - 0x1f1);
        assert!(kernel.above_4g);
    }

    #[test]
    fn what_cannot_be_started_is_refused_with_the_reason() {
        let error = |at, bytes: &[u8]| changed(at, bytes).unwrap_err();
        assert_eq!(error(at::MAGIC, b"HdrX"), KernelError::NoKernel);
        assert_eq!(error(at::VERSION, &[0x0b, 2]), KernelError::Old { version: 0x020b });
        assert_eq!(error(at::EXTENDED_FLAGS, &[2]), KernelError::Not64);
        assert_eq!(error(at::ALIGNMENT, &[1]), KernelError::Header("its alignment"));
        assert_eq!(error(at::HEADER_END, &[0x10]), KernelError::Header("it ends too early"));
        let short = KernelError::Short { bytes: 20480, needed: 20496 };
        assert_eq!(error(at::PARAGRAPHS, &[1, 1, 0, 0]), short);
        assert_eq!(error(at::PARAGRAPHS, &[0; 4]), KernelError::Header("nothing is loaded"));
    }

    #[test]
    fn a_file_that_is_longer_than_its_kernel_says_needs_more_room() {
        let kernel = Kernel::parse(&head(4096), 1 << 30).unwrap();
        assert!(kernel.init_bytes > (1 << 30) - 16384);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(
            noise in prop::collection::vec((0x1f1usize..0x270, any::<u8>()), 0..20),
            bytes in any::<u32>(),
        ) {
            let mut head = head(4096);
            for (at, byte) in noise {
                head[at] = byte;
            }
            if let Ok(kernel) = Kernel::parse(&head, bytes.into()) {
                prop_assert!(kernel.skipped < kernel.file_bytes);
                prop_assert!(kernel.init_bytes >= kernel.file_bytes - kernel.skipped);
                prop_assert!(kernel.header().len() >= at::INIT_BYTES + 4 - SETUP);
            }
        }
    }
}
