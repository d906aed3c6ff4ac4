//! What tells this machine from another: processor and firmware.

use crate::acpi;
use crate::system::System;
use dormouse_handoff::plan::Machine;
use std::arch::x86_64::{__cpuid_count, __get_cpuid_max, CpuidResult};

/// CPUID 1 ECX: OSXSAVE mirrors CR4, which the reader has no need to set.
const OSXSAVE: u32 = 1 << 27;
/// CPUID 7.0 ECX: OSPKE mirrors CR4 likewise.
const OSPKE: u32 = 1 << 4;

/// The facts that the plan carries.
pub fn facts(system: &System) -> Machine {
    let vendor = leaf(0, 0);
    let one = leaf(1, 0);
    let seven = leaf(7, 0);
    let xsave = leaf(0xd, 1);
    let extended = leaf(0x8000_0001, 0);
    Machine {
        cpu_vendor: [vendor.ebx, vendor.edx, vendor.ecx],
        cpu_signature: one.eax,
        cpu_features: [
            one.ecx & !OSXSAVE,
            one.edx,
            seven.ebx,
            seven.ecx & !OSPKE,
            seven.edx,
            extended.ecx,
            extended.edx,
            xsave.eax,
        ],
        dsdt_checksum: acpi::dsdt_checksum(system),
        hardware_signature: acpi::hardware_signature(system),
        reserved: 0,
    }
}

/// A CPUID leaf; zeros where the processor has none of that number.
fn leaf(leaf: u32, subleaf: u32) -> CpuidResult {
    let (highest, _) = __get_cpuid_max(leaf & 0x8000_0000);
    if leaf > highest {
        return CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
    __cpuid_count(leaf, subleaf)
}

/// The kernel's release, as `uname -r` prints it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_processor_has_a_vendor_and_sse2() {
        let machine = facts(&System::below("/nonexistent"));
        assert_ne!(machine.cpu_vendor, [0; 3]);
        assert_ne!(machine.cpu_features[1] & 1 << 26, 0, "CPUID 1 EDX: SSE2");
        assert_eq!(machine.cpu_features[0] & OSXSAVE, 0);
        assert_eq!(leaf(0x7fff_ffff, 0).eax, 0);
    }
}
