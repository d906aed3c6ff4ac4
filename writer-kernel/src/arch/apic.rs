//! The mode of this processor's local APIC (Intel SDM volume 3, 11.12).
//!
//! Where firmware leaves it in x2APIC mode, and Linux does not use that, Linux
//! switches it off as it starts. Coming back from a jump only newer kernels look
//! again (since 6.1.192 at the latest); others would talk to registers that are not
//! there.

use super::cpu;
use x86_64::registers::model_specific::{ApicBase, ApicBaseFlags};

/// Bits of IA32_APIC_BASE: x2APIC mode, and whether the APIC is on.
const EXTD: u64 = ApicBaseFlags::X2APIC_ENABLE.bits();
const EN: u64 = ApicBaseFlags::LAPIC_ENABLE.bits();

/// IA32_APIC_BASE; 0 where no APIC is on.
pub fn base() -> u64 {
    if !cpu::has_apic() {
        return 0;
    }
    // SAFETY: every processor with an APIC has it.
    unsafe { ApicBase::MSR.read() }
}

/// Back to the mode that the APIC had when its register was `was`. Where it was off,
/// or is now, it stays as it is.
///
/// # Safety
///
/// Nobody relies on what is set in the APIC, which the way out of x2APIC mode resets.
pub unsafe fn put_back(was: u64) {
    let now = base();
    if was & now & EN == 0 || (was ^ now) & EXTD == 0 {
        return;
    }
    let mut register = ApicBase::MSR;
    // SAFETY: the transitions that the specification allows (11.12.5); the caller
    // answers for what is lost.
    unsafe {
        if now & EXTD == 0 {
            register.write(now | EXTD);
        } else {
            register.write(now & !(EXTD | EN));
            register.write(now & !EXTD);
        }
    }
    let mode = if was & EXTD == 0 { "xAPIC" } else { "x2APIC" };
    log::info!("the local APIC is in {mode} mode again, as Linux had it");
}
