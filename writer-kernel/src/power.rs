//! Powering off and resetting, each with a chain of fallbacks.

use crate::arch::time;
use crate::console;
use crate::failure;
use crate::machine::MACHINE;
use dormouse_drivers::platform::Platform;
use dormouse_handoff::plan::{Action, PowerFacts, Register};
use dormouse_handoff::units::PhysAddr;
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

/// Does what the plan wants done after the commit.
pub fn act(action: Action, facts: &PowerFacts) -> ! {
    match action {
        Action::PowerOff => off(facts),
        Action::Reboot => reset(facts),
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
    enter_s5(facts);
    log::error!("the machine did not power off by ACPI S5: resetting it instead");
    reset(facts)
}

/// Resets: the FADT's register, else port 0xcf9, else the keyboard controller,
/// else a message.
pub fn reset(facts: &PowerFacts) -> ! {
    log::info!("resetting");
    if facts.reset.width != 0 {
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

/// ACPI 6.5 §7.4.2 and §4.8.3.2: SLP_TYP first, then SLP_EN with it, on both
/// blocks. Returns if the machine is still on.
fn enter_s5(facts: &PowerFacts) {
    const SLP_TYP_MASK: u32 = 0x7 << 10;
    const SLP_EN: u32 = 1 << 13;
    if facts.s5_type_a == PowerFacts::UNKNOWN {
        return;
    }
    if facts.sleep_control.width != 0 {
        // Hardware-reduced: SLP_TYP in bits 4:2, SLP_EN bit 5 (§4.8.3.7).
        write(&facts.sleep_control, facts.s5_type_a << 2 | 0x20);
        return wait();
    }
    let blocks = [(facts.pm1a_control, facts.s5_type_a), (facts.pm1b_control, facts.s5_type_b)];
    let there = || blocks.iter().filter(|(register, _)| register.width != 0);
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
    let from = time::now_us();
    while time::now_us() - from < PATIENCE_US {
        core::hint::spin_loop();
    }
}

fn read(register: &Register) -> u32 {
    let Some(place) = Place::of(register) else { return 0 };
    // SAFETY: a register that the firmware's tables name; PM1 control reads have
    // no side effect (ACPI 6.5 §4.8.3.2.1).
    unsafe {
        match place {
            Place::Port(port) => match register.width {
                8 => u32::from(Port::<u8>::new(port).read()),
                16 => u32::from(Port::<u16>::new(port).read()),
                _ => Port::<u32>::new(port).read(),
            },
            Place::Memory(at) => match register.width {
                8 => u32::from(at.read_volatile()),
                16 => u32::from(at.cast::<u16>().read_volatile()),
                _ => at.cast::<u32>().read_volatile(),
            },
        }
    }
}

fn write(register: &Register, value: u32) {
    let Some(place) = Place::of(register) else { return };
    // SAFETY: a register that the firmware's tables name for just this.
    unsafe {
        match place {
            Place::Port(port) => match register.width {
                8 => Port::<u8>::new(port).write(value as u8),
                16 => Port::<u16>::new(port).write(value as u16),
                _ => Port::<u32>::new(port).write(value),
            },
            Place::Memory(at) => match register.width {
                8 => at.write_volatile(value as u8),
                16 => at.cast::<u16>().write_volatile(value as u16),
                _ => at.cast::<u32>().write_volatile(value),
            },
        }
    }
}

enum Place {
    Port(u16),
    Memory(*mut u8),
}

impl Place {
    fn of(register: &Register) -> Option<Self> {
        const SYSTEM_MEMORY: u32 = 0;
        const SYSTEM_IO: u32 = 1;
        match register.space {
            SYSTEM_IO => u16::try_from(register.address).ok().map(Self::Port),
            SYSTEM_MEMORY => {
                let bytes = u64::from(register.width) / 8;
                let at = MACHINE.map_mmio(PhysAddr(register.address), bytes).ok()?;
                Some(Self::Memory(at.as_ptr()))
            }
            _ => None,
        }
    }
}

/// Waits for a key where a test asked for it.
pub fn stand_still(before: &str) {
    log::info!("standing still before {before}; press any key to go on");
    console::wait_for_key();
}
