//! The user's wish to go back: a key on the serial line or on the keyboard.
//!
//! Both are polled a few times a second, between two chunks: that costs the
//! data's path nothing.

use crate::arch::time;
use crate::console;
use x86_64::instructions::port::Port;

/// What the console tells the user.
pub const HINT: &str = "press Esc or q to go back";

/// How often the keys are looked at, in microseconds.
const INTERVAL_US: u64 = 50_000;

/// Most keys that are taken at one look: what repeats for ever must not hang.
const MOST: usize = 64;

/// Status and data of the 8042 (IBM PC/AT technical reference, "Keyboard
/// Controller").
const STATUS: u16 = 0x64;
const DATA: u16 = 0x60;
/// Something is there to be read.
const FULL: u8 = 1 << 0;
/// It comes from the mouse.
const FROM_MOUSE: u8 = 1 << 5;
/// What ports without a device answer.
const NOBODY: u8 = 0xff;

/// Esc and Q as scan codes of set 1, which the 8042 translates to.
const SCAN_CODES: [u8; 2] = [0x01, 0x10];
/// The same as characters of the serial line.
const CHARACTERS: [u8; 3] = [0x1b, b'q', b'Q'];

/// Looks at the keys from time to time.
pub struct Keys {
    next_us: u64,
}

impl Keys {
    /// Forgets what was typed before.
    pub fn new() -> Self {
        let _stale = pressed();
        Self { next_us: 0 }
    }

    /// Whether the user asked to go back since the last look.
    pub fn ask_to_go_back(&mut self) -> bool {
        let now = time::now_us();
        if now < self.next_us {
            return false;
        }
        self.next_us = now + INTERVAL_US;
        pressed()
    }
}

/// Takes all keys there are; whether one of them asks to go back.
fn pressed() -> bool {
    let line = core::iter::from_fn(console::received).take(MOST);
    // Both are taken to their end, whatever the first holds.
    let on_line = line.fold(false, |found, byte| found | CHARACTERS.contains(&byte));
    let keyboard = core::iter::from_fn(scan_code).take(MOST);
    keyboard.fold(on_line, |found, code| found | code.is_some_and(|c| SCAN_CODES.contains(&c)))
}

/// The next byte of the 8042; `Some(None)` for one of the mouse's.
fn scan_code() -> Option<Option<u8>> {
    // SAFETY: the keyboard controller's ports on every PC; reading them where
    // there is none has no effect. The old kernel's driver stands still, and
    // takes keys up anew after its return.
    unsafe {
        let status = Port::<u8>::new(STATUS).read();
        if status == NOBODY || status & FULL == 0 {
            return None;
        }
        let byte = Port::<u8>::new(DATA).read();
        Some((status & FROM_MOUSE == 0).then_some(byte))
    }
}
