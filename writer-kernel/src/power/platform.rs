//! ACPI's fixed hardware: what Linux does not switch on again by itself when it
//! comes back from a jump, so that the power button, the RTC alarm and hotplug
//! reach a woken kernel as they reached the one that was put to sleep.

use super::register::{read, write};
use crate::arch::time;
use dormouse_handoff::image::PlatformState;
use dormouse_handoff::plan::{MAX_GPE_BYTES, PowerFacts, Register};

/// SCI_EN of PM1 control (ACPI 6.5 §4.8.3.2.1).
const SCI_EN: u32 = 1 << 0;

/// The status bits of PM1 that are cleared by writing ones and that tell of
/// what led to the wake-up: power and sleep button, RTC, PCI Express, wake
/// status (§4.8.3.1.1).
const WAKE_EVENTS: u32 = 1 << 8 | 1 << 9 | 1 << 10 | 1 << 14 | WAK_STS;

/// WAK_STS of PM1 status.
const WAK_STS: u32 = 1 << 15;

/// How long firmware may take to switch ACPI on, in microseconds: as long as
/// Linux gives it.
const ENABLE_US: u64 = 3_000_000;

/// The state as the old kernel left it; nothing is on where the registers do
/// not answer.
pub fn capture(facts: &PowerFacts) -> PlatformState {
    if !answers(facts) {
        log::warn!("ACPI's registers do not answer: its events cannot be kept");
        return PlatformState::default();
    }
    let enable = |status: &Register| read(&pm1_enable(facts, status)) as u16;
    let gpe = |status: &Register, bytes: u32| {
        let mut kept = [0; MAX_GPE_BYTES];
        for (byte, register) in kept.iter_mut().zip(gpe_enables(status, bytes)) {
            *byte = read(&register) as u8;
        }
        kept
    };
    PlatformState {
        acpi_on: u32::from(read(&facts.pm1a_control) & SCI_EN != 0),
        pm1a_enable: enable(&facts.pm1a_status),
        pm1b_enable: enable(&facts.pm1b_status),
        gpe0_enable: gpe(&facts.gpe0_status, facts.gpe0_bytes),
        gpe1_enable: gpe(&facts.gpe1_status, facts.gpe1_bytes),
    }
}

/// Brings the state back after a reset. The press of the power button that woke
/// the machine is not for the old kernel: it would power off.
pub fn restore(facts: &PowerFacts, state: &PlatformState) {
    if state.acpi_on != 0 {
        switch_acpi_on(facts);
    }
    clear_events(facts);
    write(&pm1_enable(facts, &facts.pm1a_status), state.pm1a_enable.into());
    write(&pm1_enable(facts, &facts.pm1b_status), state.pm1b_enable.into());
    for (status, bytes, kept) in [
        (&facts.gpe0_status, facts.gpe0_bytes, &state.gpe0_enable),
        (&facts.gpe1_status, facts.gpe1_bytes, &state.gpe1_enable),
    ] {
        for (register, enable) in gpe_enables(status, bytes).zip(kept) {
            write(&register, (*enable).into());
        }
    }
}

/// Clears the status of PM1's wake events and of every general-purpose event.
pub fn clear_events(facts: &PowerFacts) {
    write(&facts.pm1a_status, WAKE_EVENTS);
    write(&facts.pm1b_status, WAKE_EVENTS);
    for (status, bytes) in
        [(&facts.gpe0_status, facts.gpe0_bytes), (&facts.gpe1_status, facts.gpe1_bytes)]
    {
        for at in 0..bytes.into() {
            write(&status.after(at), 0xff);
        }
    }
}

/// Whether ACPI's registers are where the tables say: where nobody decodes a
/// port, it reads as ones.
pub fn answers(facts: &PowerFacts) -> bool {
    !facts.pm1a_control.is_there() || read(&facts.pm1a_control) != 0xffff
}

/// Whether the machine says that it came out of a sleep state.
pub fn woke(facts: &PowerFacts) -> bool {
    answers(facts) && (read(&facts.pm1a_status) | read(&facts.pm1b_status)) & WAK_STS != 0
}

/// Takes the events over from the firmware (§4.8.3.5).
fn switch_acpi_on(facts: &PowerFacts) {
    let is_on = || read(&facts.pm1a_control) & SCI_EN != 0;
    if is_on() || facts.smi_command == 0 || facts.acpi_enable == 0 {
        return;
    }
    let port = Register { space: 1, width: 8, address: facts.smi_command.into() };
    write(&port, facts.acpi_enable);
    let from = time::now_us();
    while !is_on() {
        if time::now_us() - from > ENABLE_US {
            log::warn!("firmware does not switch ACPI on: no power button, no events");
            return;
        }
        core::hint::spin_loop();
    }
}

fn pm1_enable(facts: &PowerFacts, status: &Register) -> Register {
    status.after(facts.pm1_enable_offset.into())
}

/// As many enable registers as there are status registers, behind those.
fn gpe_enables(status: &Register, bytes: u32) -> impl Iterator<Item = Register> {
    let status = *status;
    (0..u64::from(bytes)).map(move |at| status.after(u64::from(bytes) + at))
}
