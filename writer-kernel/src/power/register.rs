//! Registers as ACPI describes them.

use crate::machine::MACHINE;
use dormouse_drivers::platform::Platform;
use dormouse_handoff::plan::Register;
use dormouse_handoff::units::PhysAddr;
use x86_64::instructions::port::Port;

/// What is in the register; 0 where there is none or it cannot be reached.
pub fn read(register: &Register) -> u32 {
    let Some(place) = Place::of(register) else { return 0 };
    // SAFETY: a register that the firmware's tables name; reading them has
    // no side effect (ACPI 6.5 §4.8.3, §4.8.4).
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

/// Writes the register, where there is one that can be reached.
pub fn write(register: &Register, value: u32) {
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
        if !register.is_there() {
            return None;
        }
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
