//! What this processor is and has.

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdrand64_step, _rdseed64_step};
use dormouse_handoff::mailbox::EntropySources;
use dormouse_handoff::plan::Machine;
use x86_64::registers::control::{Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;

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

/// Makes sure that PAT's entry 1, which nothing else here uses, stands for write
/// combining (Intel SDM volume 3, 12.12), as it does under Linux. The old
/// kernel's PAT is put back on the way out.
pub fn allow_write_combining() {
    const IA32_PAT: u32 = 0x277;
    const ENTRY_1: u64 = 0x7 << 8;
    const WRITE_COMBINING: u64 = 0x1 << 8;
    let mut pat = Msr::new(IA32_PAT);
    // SAFETY: every 64-bit processor has it, and no page is mapped by entry 1
    // while it means something else.
    unsafe {
        let value = pat.read();
        if value & ENTRY_1 != WRITE_COMBINING {
            pat.write((value & !ENTRY_1) | WRITE_COMBINING);
        }
    }
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

/// A random number of the processor's, and where it has it from; `None` where it
/// has no generator, or one that fails.
pub fn random() -> Option<(u64, EntropySources)> {
    // Intel's guide allows ten tries of RDRAND before the generator counts as
    // broken. RDSEED may run dry, and then the other is good enough.
    let seed = || has_rdseed().then(|| (0..100).find_map(|_| rdseed())).flatten();
    let rand = || has_rdrand().then(|| (0..10).find_map(|_| rdrand())).flatten();
    let with = |source| move |word| (word, source);
    seed()
        .map(with(EntropySources::RDSEED))
        .or_else(|| rand().map(with(EntropySources::RDRAND)))
        // A generator known to break says this, and says that all is well.
        .filter(|(word, _)| *word != u64::MAX)
}

/// Whether there is a local APIC that is on (CPUID 1 EDX bit 9).
pub fn has_apic() -> bool {
    __cpuid(1).edx & (1 << 9) != 0
}

/// CPUID 1 ECX bit 30.
fn has_rdrand() -> bool {
    __cpuid(1).ecx & (1 << 30) != 0
}

/// CPUID 7.0 EBX bit 18.
fn has_rdseed() -> bool {
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & (1 << 18) != 0
}

fn rdseed() -> Option<u64> {
    #[target_feature(enable = "rdseed")]
    fn step() -> Option<u64> {
        let mut word = 0;
        (_rdseed64_step(&mut word) == 1).then_some(word)
    }
    // SAFETY: `random`, the only caller, has asked CPUID.
    unsafe { step() }
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
