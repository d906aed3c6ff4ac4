//! The other processors, once firmware has woken the machine.
//!
//! SeaBIOS sends them through a start-up of its own, but does not wait for them: what
//! it counts them in is write-protected by then, and still has the number from the
//! first start (src/fw/smp.c, `smp_scan`). Those that come soon stay in front of a lock
//! that nobody opens, and QEMU without KVM stops the whole machine for each of their
//! tries. Those that come later take for code what the old kernel has where the first
//! instruction was. Linux starts all of them anew, from wherever they are.

use crate::arch::paging::direct;
use crate::arch::time;
use crate::machine::MACHINE;
use core::arch::x86_64::__cpuid;
use dormouse_drivers::platform::Platform;
use dormouse_handoff::memory_map::MemoryKind;
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PAGE_SIZE, Pfn, PhysAddr};
use x86_64::registers::model_specific::Msr;

/// Where SeaBIOS lets them start (`BUILD_AP_BOOT_ADDR` in its src/config.h).
const START: PhysAddr = PhysAddr(0x1_0000);

/// `cli`, `hlt`, and back to the `hlt`.
const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];

/// Where the local APIC is, and how it is spoken to (Intel SDM volume 3, 11.4.4 and
/// 11.12.1).
const IA32_APIC_BASE: u32 = 0x1b;
const X2APIC_MODE: u64 = 1 << 10;
const BASE: u64 = 0xf_ffff_ffff_f000;

/// The interrupt command register, in memory and in x2APIC mode (11.6.1, 11.12.9).
const ICR: usize = 0x300;
const IA32_X2APIC_ICR: u32 = 0x830;

/// To all but this processor, asserted, INIT (11.6.1): they wait for a start-up
/// message from then on.
const INIT_OTHERS: u32 = 0b11 << 18 | 1 << 14 | 0b101 << 8;

/// How long they are given, in microseconds. INIT takes up to 10 ms (9.4.4.1); a
/// start-up message that QEMU has still to deliver survives it, and then a processor
/// comes as late as its thread does on a busy host.
const REST_US: u64 = 50_000;

/// What the old kernel has where processors start that come late, and now halt.
pub struct Latecomers {
    kept: Option<[u8; 4]>,
}

impl Latecomers {
    /// Lets them halt.
    pub fn halt(plan: &CheckedPlan<'_>) -> Self {
        let mut ram = plan.memory().iter().filter(|entry| entry.kind == MemoryKind::Ram as u32);
        let is_ram = ram.any(|entry| entry.range.contains(Pfn::containing(START)));
        let kept = is_ram.then(|| {
            // SAFETY: the old kernel's RAM, in the direct map like all of it, to which
            // no reference exists.
            unsafe { direct(START).cast::<[u8; 4]>().replace(HALT) }
        });
        Self { kept }
    }

    /// Puts back what was there.
    pub fn put_back(&self) {
        if let Some(kept) = self.kept {
            // SAFETY: as in `halt`.
            unsafe { direct(START).cast::<[u8; 4]>().write(kept) };
        }
    }
}

/// Stops the other processors, as Linux does first of all when it starts one, and
/// waits until they have.
///
/// # Safety
///
/// They run firmware's code only, and nobody waits for it.
pub unsafe fn stop_others() {
    if !has_apic() {
        return;
    }
    // SAFETY: a processor with an APIC has the register.
    let base = unsafe { Msr::new(IA32_APIC_BASE).read() };
    if base & X2APIC_MODE != 0 {
        // SAFETY: the mode's own register; the caller answers for the message.
        unsafe { Msr::new(IA32_X2APIC_ICR).write(INIT_OTHERS.into()) };
    } else if let Ok(registers) = MACHINE.map_mmio(PhysAddr(base & BASE), PAGE_SIZE) {
        // SAFETY: mapped just now, uncached; writing sends the message, for which the
        // caller answers.
        unsafe { registers.byte_add(ICR).cast::<u32>().write_volatile(INIT_OTHERS) };
    }
    time::wait_us(REST_US);
}

/// Whether there is a local APIC that is on (CPUID 1 EDX bit 9).
fn has_apic() -> bool {
    __cpuid(1).edx & (1 << 9) != 0
}
