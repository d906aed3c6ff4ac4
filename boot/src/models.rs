//! A kernel as far as its header says, for tests.

use crate::bzimage::{ABOVE_4G, HEAD, KERNEL_64, LOADED_HIGH, at};

/// The head of a kernel of `payload` bytes behind its [`SETUP_BYTES`], as Linux 6.1
/// has it (Linux Documentation/arch/x86/boot.rst).
pub fn head(payload: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[at::SETUP_SECTORS] = (SETUP_BYTES / 512 - 1) as u8;
    head[at::PARAGRAPHS..][..4].copy_from_slice(&(payload / 16).to_le_bytes());
    head[at::BOOT_FLAG..][..2].copy_from_slice(&[0x55, 0xaa]);
    head[at::HEADER_END] = 0x6a;
    head[at::MAGIC..][..4].copy_from_slice(b"HdrS");
    head[at::VERSION..][..2].copy_from_slice(&0x020fu16.to_le_bytes());
    head[at::LOAD_FLAGS] = LOADED_HIGH;
    head[at::INITRD_MAX..][..4].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    head[at::ALIGNMENT..][..4].copy_from_slice(&0x20_0000u32.to_le_bytes());
    head[at::RELOCATABLE] = 1;
    head[at::EXTENDED_FLAGS] = (KERNEL_64 | ABOVE_4G) as u8;
    head[at::COMMAND_LINE_MAX..][..4].copy_from_slice(&2047u32.to_le_bytes());
    head[at::PREFERRED..][..8].copy_from_slice(&0x100_0000u64.to_le_bytes());
    head[at::INIT_BYTES..][..4].copy_from_slice(&0x300_0000u32.to_le_bytes());
    head
}

/// Bytes of such a kernel's file before its payload.
pub const SETUP_BYTES: usize = 32 * 512;
