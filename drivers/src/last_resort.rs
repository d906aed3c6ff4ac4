//! How the devices in use are made to forget what they were told, when their
//! drivers cannot be asked: they may be in the middle of something when the
//! program panics.
//!
//! Bus mastering off is not enough then. The old kernel puts it back before its
//! own driver resets the device, and what the device still has in flight would
//! go on in memory that is somebody else's by then.

use crate::platform::Platform;
use crate::registers::Mmio;
use crate::wait::wait_until;
use core::ptr::NonNull;
use spin::Mutex;

/// How long a device may take. The panic's message matters more than one that
/// takes longer.
const LIMIT_MS: u64 = 5_000;

/// A way to reset a device through its registers.
#[derive(Clone, Copy, Debug)]
pub struct Reset {
    /// Offset of the register to write.
    pub register: usize,
    /// What to write.
    pub value: u32,
    /// Offset of the register that tells when it is done.
    pub answer: usize,
    /// Bits of it that are zero then.
    pub busy: u32,
    /// How wide both registers are.
    pub width: Width,
}

/// How wide a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    Byte,
    /// Four bytes.
    Word,
}

struct Armed {
    register: Place,
    value: u32,
    answer: Place,
    busy: u32,
}

enum Place {
    Byte(NonNull<u8>),
    Word(NonNull<u32>),
}

// SAFETY: device registers may be touched from wherever the program is.
unsafe impl Send for Armed {}

/// Most devices that are in use at once: the reader keeps one open while it looks
/// at another.
const MOST: usize = 2;

/// The devices in use.
static ARMED: Mutex<[Option<Armed>; MOST]> = Mutex::new([const { None }; MOST]);

/// Names `registers` as those of a device in use; until they are dropped. Where
/// there are too many already, the last one's place is taken.
pub fn arm(registers: &Mmio, reset: Reset) {
    let place = |offset| match reset.width {
        Width::Byte => registers.register(offset).map(Place::Byte),
        Width::Word => registers.register(offset).map(Place::Word),
    };
    let Some((register, answer)) = place(reset.register).zip(place(reset.answer)) else { return };
    let armed = Armed { register, value: reset.value, answer, busy: reset.busy };
    let mut devices = ARMED.lock();
    let free = devices.iter().position(Option::is_none).unwrap_or(MOST - 1);
    devices[free] = Some(armed);
}

/// The registers that begin at `base` are about to go.
pub fn disarm(base: NonNull<u8>, bytes: usize) {
    let registers = base.as_ptr().addr()..base.as_ptr().addr() + bytes;
    for device in ARMED.lock().iter_mut() {
        if device.as_ref().is_some_and(|armed| registers.contains(&armed.register.address())) {
            *device = None;
        }
    }
}

/// Resets the devices in use, if there are any, and waits for that to be done.
/// Answers whether it is.
pub fn reset(platform: &dyn Platform) -> bool {
    // Whoever was interrupted in here was about to begin or to end its use.
    let Some(mut devices) = ARMED.try_lock() else { return true };
    let reset = |armed: &Armed| {
        armed.register.write(armed.value);
        wait_until(platform, LIMIT_MS, || armed.answer.read() & armed.busy == 0).is_ok()
    };
    // Each of them, whether or not the one before it answers.
    let failed = devices.iter_mut().filter_map(Option::take).filter(|armed| !reset(armed));
    failed.count() == 0
}

impl Place {
    fn address(&self) -> usize {
        match self {
            Self::Byte(register) => register.as_ptr().addr(),
            Self::Word(register) => register.as_ptr().addr(),
        }
    }

    fn write(&self, value: u32) {
        match self {
            // SAFETY: a register of a mapping that is there as long as this is.
            Self::Byte(register) => unsafe { register.write_volatile(value as u8) },
            // SAFETY: as above.
            Self::Word(register) => unsafe { register.write_volatile(value) },
        }
    }

    fn read(&self) -> u32 {
        match self {
            // SAFETY: a register of a mapping that is there as long as this is.
            Self::Byte(register) => u32::from(unsafe { register.read_volatile() }),
            // SAFETY: as above.
            Self::Word(register) => unsafe { register.read_volatile() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeMachine;
    use crate::registers::Registers;

    /// One test, as there is one device in use.
    #[test]
    fn the_device_in_use_is_reset_once_and_waited_for() {
        let machine = FakeMachine::new();
        machine.set_tick(1_000);
        assert!(reset(machine), "nothing is in use");

        let registers = Mmio::of_memory(64);
        let by_words = Reset { register: 4, value: 7, answer: 8, busy: 1, width: Width::Word };
        arm(&registers, by_words);
        registers.write32(8, 0x10);
        assert!(reset(machine));
        assert_eq!(registers.read32(4), 7);
        registers.write32(4, 0);
        assert!(reset(machine));
        assert_eq!(registers.read32(4), 0, "it was reset a second time");

        arm(&registers, by_words);
        registers.write32(8, 1);
        assert!(!reset(machine), "it never says that it is done");

        registers.write32(20, 0x0403_0201);
        let by_bytes = Reset { register: 21, value: 0, answer: 21, busy: 0xff, width: Width::Byte };
        arm(&registers, by_bytes);
        assert!(reset(machine));
        assert_eq!(registers.read32(20), 0x0403_0001, "its neighbours are left alone");

        arm(&registers, by_bytes);
        let others = Mmio::of_memory(64);
        others.write32(20, 0x0403_0201);
        arm(&others, by_bytes);
        drop(registers);
        assert!(reset(machine));
        assert_eq!(others.read32(20), 0x0403_0001, "the one that was kept is not reset");

        arm(&others, by_bytes);
        drop(others);
        let none = ARMED.lock().iter().all(Option::is_none);
        assert!(none, "registers that are gone are still to be written");
    }
}
