//! What this processor is and has.

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdrand64_step};
use dormouse_handoff::plan::Machine;
use x86_64::registers::control::{Cr4, Cr4Flags};

/// Whether pages of 1 GiB can be mapped (CPUID 0x80000001 EDX bit 26).
pub fn has_1gib_pages() -> bool {
    max_extended_leaf() >= 0x8000_0001 && __cpuid(0x8000_0001).edx & (1 << 26) != 0
}

/// Whether five levels of page tables can be had (CPUID 7.0 ECX bit 16).
pub fn has_la57() -> bool {
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ecx & (1 << 16) != 0
}

/// Whether five levels of page tables are in use.
pub fn uses_la57() -> bool {
    Cr4::read().contains(Cr4Flags::L5_PAGING)
}

/// This processor as [`Machine`] describes it, without the ACPI fields.
pub fn identify() -> Machine {
    let vendor = __cpuid(0);
    let one = __cpuid(1);
    let mut features = [one.ecx, one.edx, 0, 0, 0, 0, 0, 0];
    if vendor.eax >= 7 {
        let seven = __cpuid_count(7, 0);
        [features[2], features[3], features[4]] = [seven.ebx, seven.ecx, seven.edx];
    }
    if max_extended_leaf() >= 0x8000_0001 {
        let extended = __cpuid(0x8000_0001);
        [features[5], features[6]] = [extended.ecx, extended.edx];
    }
    if vendor.eax >= 0xd {
        features[7] = __cpuid_count(0xd, 1).eax;
    }
    Machine {
        cpu_vendor: [vendor.ebx, vendor.edx, vendor.ecx],
        cpu_signature: one.eax,
        cpu_features: features,
        ..Machine::default()
    }
}

/// Fills `bytes` with random numbers from the processor; the bits of entropy
/// that they are worth: 0 where it has no RDRAND or it fails.
pub fn random(bytes: &mut [u8]) -> u32 {
    if __cpuid(1).ecx & (1 << 30) == 0 {
        return 0;
    }
    for chunk in bytes.chunks_mut(8) {
        // Intel's guide allows ten tries before the generator counts as broken.
        let Some(word) = (0..10).find_map(|_| rdrand()) else { return 0 };
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    bytes.len() as u32 * 8
}

fn rdrand() -> Option<u64> {
    #[target_feature(enable = "rdrand")]
    fn step() -> Option<u64> {
        let mut word = 0;
        // `_rdrand64_step` answers 1 when it has a number.
        (_rdrand64_step(&mut word) == 1).then_some(word)
    }
    // SAFETY: `random`, the only caller, has asked CPUID.
    unsafe { step() }
}

fn max_extended_leaf() -> u32 {
    __cpuid(0x8000_0000).eax
}
