//! Powering off and resetting, each with a chain of fallbacks; suspending to
//! RAM; and the state of ACPI's fixed hardware.

mod chipset;
pub mod methods;
mod overwritten;
pub mod platform;
mod processors;
mod register;
pub mod suspend;

use crate::arch::time;
use crate::failure;
use crate::keys;
use dormouse_handoff::plan::{PowerFacts, Register};
use register::{read, write};
use x86_64::instructions::port::Port;

/// How long a sleep state or a reset may take to happen, in microseconds.
const PATIENCE_US: u64 = 3_000_000;

/// What the reader does when it brings nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Power off.
    PowerOff,
    /// Reset: the firmware's next choice may boot.
    Reboot,
    /// Leave the message on the console and stop.
    Halt,
}

impl Fallback {
    /// The fallback that `fallback=` on the command line names.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "poweroff" => Some(Self::PowerOff),
            "reboot" => Some(Self::Reboot),
            "halt" => Some(Self::Halt),
            _ => None,
        }
    }
}

/// What the reader does when it brings nothing back.
pub fn give_up(fallback: Fallback, facts: Option<&PowerFacts>) -> ! {
    let unknown = PowerFacts::default();
    match fallback {
        Fallback::PowerOff => off(facts.unwrap_or(&unknown)),
        Fallback::Reboot => reset(facts.unwrap_or(&unknown)),
        Fallback::Halt => {
            log::info!("nothing was changed; it is safe to switch off or reset");
            failure::halt()
        }
    }
}

/// Powers off: ACPI S5, else a reset, else a message.
pub fn off(facts: &PowerFacts) -> ! {
    log::info!("powering off");
    enter(facts, [facts.s5_type_a, facts.s5_type_b]);
    log::error!("the machine did not power off by ACPI S5: resetting it instead");
    reset(facts)
}

/// Resets: the FADT's register, else port 0xcf9, else the keyboard controller,
/// else a message.
pub fn reset(facts: &PowerFacts) -> ! {
    log::info!("resetting");
    if facts.reset.is_there() {
        write(&facts.reset, facts.reset_value);
        wait();
    }
    // SAFETY: the reset control register of PC chipsets (Intel PCH data sheets,
    // RST_CNT): full reset, then the rising edge.
    unsafe {
        Port::<u8>::new(0xcf9).write(0x02);
        Port::<u8>::new(0xcf9).write(0x06);
    }
    wait();
    // SAFETY: the 8042's "pulse reset line" (IBM PC/AT technical reference).
    unsafe { Port::<u8>::new(0x64).write(0xfe) };
    wait();
    log::error!("the machine does not reset either: it is safe to switch it off by hand");
    failure::halt()
}

/// Enters the sleep state with these types for PM1a and PM1b. Returns if the
/// machine is still on.
///
/// ACPI 6.5 §7.4.2 and §4.8.3.2: what woke the machine last is cleared, or it
/// would wake at once; SLP_TYP first, then SLP_EN with it, on both blocks.
fn enter(facts: &PowerFacts, [type_a, type_b]: [u32; 2]) {
    const SLP_TYP_MASK: u32 = 0x7 << 10;
    const SLP_EN: u32 = 1 << 13;
    if type_a == PowerFacts::UNKNOWN || !platform::answers(facts) {
        return;
    }
    platform::clear_events(facts);
    if facts.sleep_control.width != 0 {
        // Hardware-reduced: SLP_TYP in bits 4:2, SLP_EN bit 5 (§4.8.3.7).
        write(&facts.sleep_control, type_a << 2 | 0x20);
        return wait();
    }
    let blocks = [(facts.pm1a_control, type_a), (facts.pm1b_control, type_b)];
    let there = || blocks.iter().filter(|(register, _)| register.is_there());
    let value = |register: &Register, sleep_type: u32| {
        (read(register) & !(SLP_TYP_MASK | SLP_EN)) | (sleep_type & 7) << 10
    };
    for (register, sleep_type) in there() {
        write(register, value(register, *sleep_type));
    }
    for (register, sleep_type) in there() {
        write(register, value(register, *sleep_type) | SLP_EN);
    }
    wait();
}

/// Gives the machine time to do what it was told.
fn wait() {
    time::wait_us(PATIENCE_US);
}

/// Waits for a key where a test asked for it.
pub fn stand_still(before: &str) {
    log::info!("standing still before {before}; press any key to go on");
    keys::wait();
}
