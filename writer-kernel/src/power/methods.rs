//! ACPI's methods around a sleep, as the accesses that the CLI has found them to
//! make.

use super::register::{read, write};
use crate::arch::paging::direct;
use crate::arch::time;
use dormouse_handoff::plan::{CheckedPlan, Register, Step, Steps};
use dormouse_handoff::units::{Pfn, PhysAddr};

/// Makes the accesses.
pub fn run(plan: &CheckedPlan<'_>, steps: &Steps, methods: &str) {
    let steps = steps.all();
    if steps.is_empty() {
        return;
    }
    log::info!("{methods}: {} register accesses", steps.len());
    for step in steps {
        let Step { register, keep, set } = step;
        if register.is_there() {
            access(plan, register, *keep, *set);
        } else {
            time::wait_us((*set).into());
        }
    }
}

fn access(plan: &CheckedPlan<'_>, register: &Register, keep: u32, set: u32) {
    if register.space == 0 && is_saved(plan, register) {
        // Firmware's own memory among what is saved is mapped, and cached, already.
        let bytes = (register.width / 8).min(4) as usize;
        for (at, (keep, set)) in
            keep.to_le_bytes().into_iter().zip(set.to_le_bytes()).take(bytes).enumerate()
        {
            // SAFETY: in the plan's memory, all of which is mapped; it is firmware's,
            // as `is_saved` and the CLI have seen, and nobody has a reference to it.
            unsafe {
                let place = direct(PhysAddr(register.address)).add(at);
                place.write_volatile((place.read_volatile() & keep) | set);
            }
        }
        return;
    }
    // Reading a register may do something: only where its bits are needed.
    let kept = if keep != 0 { read(register) & keep } else { 0 };
    write(register, kept | set);
}

/// Whether the register lies in memory that the image has.
fn is_saved(plan: &CheckedPlan<'_>, register: &Register) -> bool {
    let frame = Pfn::containing(PhysAddr(register.address));
    plan.memory().iter().any(|entry| entry.range.contains(frame))
}
