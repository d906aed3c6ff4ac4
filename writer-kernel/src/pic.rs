//! The two 8259A, the interrupt controllers of the PC.

use x86_64::instructions::port::Port;

/// Their mask registers (Intel 8259A data sheet, "Operation Control Word 1").
const FIRST_MASK: u16 = 0x21;
const SECOND_MASK: u16 = 0xa1;

/// All but the one by which the second comes to the first.
const ALL_BUT_CASCADE: u8 = !(1 << 2);

/// Holds every interrupt back, as Linux's own 16-bit entry does (Linux 6.1
/// `mask_all_interrupts`), which no loader of ours goes through.
///
/// A Linux that drives them sets them up anew when it resumes. One that does not, on
/// hardware-reduced ACPI, takes what comes from them for exceptions: where firmware
/// has set up nothing, the timer's interrupt is number 0, the divide error.
pub fn mask_all() {
    // SAFETY: nobody here waits for an interrupt; ports without a device ignore it.
    unsafe {
        Port::<u8>::new(SECOND_MASK).write(0xff);
        Port::<u8>::new(FIRST_MASK).write(ALL_BUT_CASCADE);
    }
}
