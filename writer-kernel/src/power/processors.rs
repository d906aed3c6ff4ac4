//! The other processors, once firmware has woken the machine.
//!
//! SeaBIOS sends them through a start-up of its own, but does not wait for them: what
//! it counts them in is write-protected by then, and still has the number from the
//! first start (src/fw/smp.c, `smp_scan`). Those that come soon stay in front of a lock
//! that nobody opens, and QEMU without KVM stops the whole machine for each of their
//! tries. Those that come later take for code what the old kernel has where the first
//! instruction was. Linux starts all of them anew, from wherever they are.

use crate::arch::paging::direct;
use crate::arch::{cpu, time};
use crate::machine::MACHINE;
use dormouse_drivers::platform::Platform;
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PAGE_SIZE, Pfn, PhysAddr};
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags, Msr};

/// Where SeaBIOS lets them start (`BUILD_AP_BOOT_ADDR` in its src/config.h).
const START: PhysAddr = PhysAddr(0x1_0000);

/// `cli`, `hlt`, and back to the `hlt`.
const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];

/// The interrupt command register, in memory and in x2APIC mode (Intel SDM volume 3,
/// 11.6.1 and 11.12.9).
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
        let is_ram = plan.ram().any(|range| range.contains(Pfn::containing(START)));
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
    if !cpu::has_apic() {
        return;
    }
    let (base, flags) = ApicBase::read();
    if flags.contains(ApicBaseFlags::X2APIC_ENABLE) {
        // SAFETY: the mode's own register; the caller answers for the message.
        unsafe { Msr::new(IA32_X2APIC_ICR).write(INIT_OTHERS.into()) };
    } else {
        let base = PhysAddr(base.start_address().as_u64());
        let Ok(registers) = MACHINE.map_mmio(base, PAGE_SIZE) else {
            log::warn!("the other processors are not stopped: no room to map the local APIC");
            return;
        };
        // SAFETY: mapped just now, uncached; writing sends the message, for which the
        // caller answers.
        unsafe { registers.byte_add(ICR).cast::<u32>().write_volatile(INIT_OTHERS) };
    }
    time::wait_us(REST_US);
}
