//! Where the kernel keeps the first processor's GDT.
//!
//! Up to 6.13 the kernel does not bring its GDT back by itself when it returns
//! from a kexec jump (later releases of 6.12 do, but the number does not tell which),
//! so the writer has to ([`Plan::gdt`]). Before 6.2 the GDT
//! has a fixed alias, [`FIXED_GDT`]; from then on that is randomised, and the
//! writable original has to be looked up among the kernel's symbols.
//!
//! [`Plan::gdt`]: dormouse_handoff::plan::Plan::gdt
//! [`FIXED_GDT`]: dormouse_handoff::plan::FIXED_GDT

use crate::linux::kallsyms;

/// Bytes of the GDT: 16 descriptors (Linux arch/x86/include/asm/segment.h).
const GDT_BYTES: usize = 128;

/// Descriptors that every x86-64 Linux has, whether marked accessed or not: the
/// kernel's code at 0x10 and data at 0x18.
const KERNEL_CODE: (usize, u64) = (2, 0x00af_9a00_0000_ffff);
const KERNEL_DATA: (usize, u64) = (3, 0x00cf_9200_0000_ffff);
const ACCESSED: u64 = 1 << 40;

/// The linear address of the first processor's GDT, from the text of
/// `/proc/kallsyms` and the kernel's memory; `None` where the kernel does not
/// list its data, or where no GDT is found.
///
/// `read` gives as many bytes of the kernel's memory at a linear address.
pub fn find(kallsyms: &str, read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<u64> {
    let [offsets, page] = kallsyms::values(kallsyms, ["__per_cpu_offset", "gdt_page"]);
    let first: [u8; 8] = read(offsets?, 8)?.try_into().ok()?;
    let gdt = u64::from_le_bytes(first).wrapping_add(page?);
    is_gdt(&read(gdt, GDT_BYTES)?).then_some(gdt)
}

fn is_gdt(bytes: &[u8]) -> bool {
    let (descriptors, _) = bytes.as_chunks::<8>();
    [KERNEL_CODE, KERNEL_DATA].iter().all(|(index, expected)| {
        descriptors.get(*index).is_some_and(|d| u64::from_le_bytes(*d) & !ACCESSED == *expected)
    })
}

/// Whether a kernel of this release can come back without being told where its
/// GDT is: it has the fixed alias, or restores its GDT itself.
///
/// Releases that cannot be read count as new.
pub fn needs_none(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(6)), Some(Ok(minor))) => !(2..=13).contains(&minor),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "000000000000b000 A gdt_page\nffffffff82c05000 D __per_cpu_offset\n";

    fn gdt() -> Vec<u8> {
        let mut gdt = vec![0; GDT_BYTES];
        gdt[16..24].copy_from_slice(&0x00af_9b00_0000_ffffu64.to_le_bytes());
        gdt[24..32].copy_from_slice(&0x00cf_9300_0000_ffffu64.to_le_bytes());
        gdt
    }

    fn memory(at: u64, bytes: usize) -> Option<Vec<u8>> {
        match at {
            0xffff_ffff_82c0_5000 => Some(0xffff_9a40_7da0_0000u64.to_le_bytes().to_vec()),
            0xffff_9a40_7da0_b000 => Some(gdt()),
            _ => None,
        }
        .filter(|found| found.len() == bytes)
    }

    #[test]
    fn the_gdt_is_where_the_symbols_say() {
        assert_eq!(find(SYMBOLS, memory), Some(0xffff_9a40_7da0_b000));
    }

    #[test]
    fn what_does_not_look_like_a_gdt_is_not_taken_for_one() {
        let zeros = |at, bytes| {
            memory(at, bytes).map(|found| if bytes == 8 { found } else { vec![0; bytes] })
        };
        assert_eq!(find(SYMBOLS, zeros), None);
        assert_eq!(find("", memory), None);
    }

    #[test]
    fn only_kernels_between_need_to_be_told() {
        for release in ["5.10.0-1", "6.1.192", "6.14.0", "7.2.13", "odd"] {
            assert!(needs_none(release), "{release}");
        }
        for release in ["6.2.0", "6.6.76-amd64", "6.12.117"] {
            assert!(!needs_none(release), "{release}");
        }
    }
}
