//! The user's keys: going back, by the serial line or by the keyboard; and the
//! monitor on the serial line.
//!
//! Both are polled a few times a second, between two chunks: that costs the
//! data's path nothing.

use crate::arch::time;
use crate::{console, monitor};
use x86_64::instructions::port::Port;

/// What the console tells the user.
pub const HINT: &str = "press Esc or q to go back";

/// What it tells on the serial line.
pub const SERIAL_HINT: &str = "press Esc or q to go back, m for more";

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
/// What opens the monitor.
const MONITOR: [u8; 2] = *b"mM";

/// Looks at the keys from time to time.
pub struct Keys {
    next_us: u64,
}

impl Keys {
    /// Forgets what was typed before.
    pub fn new() -> Self {
        drop_typed();
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
    let on_line = line.fold(false, |found, byte| found | asks_to_go_back(byte));
    monitor::refresh();
    let asked = on_line | monitor::asked_to_abort();
    let keyboard = core::iter::from_fn(scan_code).take(MOST);
    keyboard.fold(asked, |found, code| found | code.is_some_and(|c| SCAN_CODES.contains(&c)))
}

/// What a byte of the serial line asks for: with the monitor open, that is up to
/// the monitor.
fn asks_to_go_back(byte: u8) -> bool {
    if monitor::is_open() {
        monitor::take(byte);
        return false;
    }
    if MONITOR.contains(&byte) {
        monitor::open();
    }
    CHARACTERS.contains(&byte)
}

/// Forgets all keys there are.
fn drop_typed() {
    core::iter::from_fn(console::received).take(MOST).for_each(drop);
    core::iter::from_fn(scan_code).take(MOST).for_each(drop);
}

/// Waits for a key on the serial line, other than those of the monitor.
pub fn wait() {
    loop {
        monitor::wait_until_closed();
        match console::wait_for_key() {
            Some(byte) if MONITOR.contains(&byte) => monitor::open(),
            _ => return,
        }
    }
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
