//! How the device in use is made to forget what it was told, when its driver
//! cannot be asked: it may be in the middle of something when the program
//! panics.
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

/// The device in use.
static ARMED: Mutex<Option<Armed>> = Mutex::new(None);

/// Names `registers` as those of the device in use; until they are dropped.
pub fn arm(registers: &Mmio, reset: Reset) {
    let place = |offset| match reset.width {
        Width::Byte => registers.register(offset).map(Place::Byte),
        Width::Word => registers.register(offset).map(Place::Word),
    };
    let Some((register, answer)) = place(reset.register).zip(place(reset.answer)) else { return };
    *ARMED.lock() = Some(Armed { register, value: reset.value, answer, busy: reset.busy });
}

/// The registers that begin at `base` are about to go.
pub fn disarm(base: NonNull<u8>, bytes: usize) {
    let mut armed = ARMED.lock();
    let registers = base.as_ptr().addr()..base.as_ptr().addr() + bytes;
    if armed.as_ref().is_some_and(|armed| registers.contains(&armed.register.address())) {
        *armed = None;
    }
}

/// Resets the device in use, if there is one, and waits for that to be done.
/// Answers whether it is.
pub fn reset(platform: &dyn Platform) -> bool {
    // Whoever was interrupted in here was about to begin or to end its use.
    let Some(armed) = ARMED.try_lock().and_then(|mut armed| armed.take()) else { return true };
    armed.register.write(armed.value);
    wait_until(platform, LIMIT_MS, || armed.answer.read() & armed.busy == 0).is_ok()
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
        drop(registers);
        assert!(ARMED.lock().is_none(), "registers that are gone are still to be written");
    }
}
