//! The console: a 16550 at the serial line, and the log.
//!
//! Every line goes to the line and to a bounded log in the window; from there
//! the image and the mailbox take it. At 115200 baud a line of text takes several
//! milliseconds, and under a hypervisor each byte is an exit: so on the way to the
//! first write or read the lines are held in the log, and sent while the device
//! works, or before an error is told.

use crate::arch::time;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

/// Bytes of log that are kept; what comes later is cut off.
pub const LOG_BYTES: usize = 48 << 10;

/// How often a byte is offered to a full transmitter before the line counts as
/// dead: at 9600 baud, a byte takes about a millisecond.
const SEND_TRIES: u32 = 1_000_000;

struct Console {
    uart: Option<Uart16550<PioBackend>>,
    log: [u8; LOG_BYTES],
    used: usize,
    /// A line stands there that is to be written over.
    passing: bool,
    /// The lines are held: from here on in the log, nothing has been sent.
    held: Option<usize>,
}

static CONSOLE: Mutex<Console> =
    Mutex::new(Console { uart: None, log: [0; LOG_BYTES], used: 0, passing: false, held: None });
static MUTED: AtomicBool = AtomicBool::new(false);

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // An exception may have interrupted a line: rather lose one than hang.
        let Some(mut console) = CONSOLE.try_lock() else { return };
        console.clear_passing();
        if record.level() <= log::Level::Error {
            console.release();
        }
        let us = time::now_us();
        let mark = if record.level() <= log::Level::Error { "error: " } else { "" };
        let _ = writeln!(
            Log(&mut console),
            "[{:3}.{:06}] dormouse: {mark}{}",
            us / 1_000_000,
            us % 1_000_000,
            record.args()
        );
    }

    fn flush(&self) {}
}

struct Log<'a>(&'a mut Console);

impl Write for Log<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let console = &mut *self.0;
        let room = LOG_BYTES - console.used;
        let kept = text.len().min(room);
        console.log[console.used..console.used + kept].copy_from_slice(&text.as_bytes()[..kept]);
        console.used += kept;
        if console.held.is_some() && kept == text.len() {
            return Ok(());
        }
        // What has no room in the log cannot be held.
        let unsent = if console.held.is_some() { &text[kept..] } else { text };
        console.release();
        console.send_lines(unsent.as_bytes());
        Ok(())
    }
}

/// Back to the line's beginning, and clear it (ECMA-48, CR and EL).
const CLEARED: &str = "\r\x1b[K";

/// To the line alone, not to the log.
struct Passing<'a>(&'a mut Console);

impl Write for Passing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.send_all(text);
        Ok(())
    }
}

/// Shows a line that the next one writes over. It is not kept in the log.
pub fn show_passing(words: fmt::Arguments<'_>) {
    let Some(mut console) = CONSOLE.try_lock() else { return };
    let console = &mut *console;
    console.release();
    console.passing = true;
    let _ = write!(Passing(console), "{CLEARED}{words}");
}

/// Whether such a line stands there still.
pub fn shows_passing_line() -> bool {
    CONSOLE.try_lock().is_some_and(|console| console.passing)
}

/// Shows a line that stays, and is not kept in the log.
pub fn tell(words: fmt::Arguments<'_>) {
    let Some(mut console) = CONSOLE.try_lock() else { return };
    console.release();
    console.clear_passing();
    let _ = write!(Passing(&mut console), "{words}\r\n");
}

/// Shows the last lines of the log once more.
pub fn tell_log(lines: usize) {
    let Some(mut console) = CONSOLE.try_lock() else { return };
    console.release();
    console.clear_passing();
    let used = console.used;
    let ends = console.log[..used].iter().rev().enumerate().filter(|(_, byte)| **byte == b'\n');
    let from = ends.map(|(back, _)| used - back).nth(lines).unwrap_or(0);
    console.send_log(from);
}

/// Takes the console from whoever was interrupted while using it, so that what is
/// said of the failure is not lost.
///
/// # Safety
///
/// Whoever uses it never goes on.
pub unsafe fn take_over() {
    // SAFETY: one processor, and the holder, if there is one, never goes on.
    unsafe { CONSOLE.force_unlock() };
}

/// Holds the lines that follow in the log until [`release`].
pub fn hold() {
    let mut console = CONSOLE.lock();
    console.held = Some(console.used);
}

/// Sends the lines that were held, and holds no more.
pub fn release() {
    // Whoever holds the lock was interrupted for good.
    let Some(mut console) = CONSOLE.try_lock() else { return };
    console.release();
}

/// Sends a little of what is held: for the moments at which a device has work to
/// do meanwhile.
pub fn send_some() {
    let Some(mut console) = CONSOLE.try_lock() else { return };
    console.send_some();
}

impl Console {
    fn send_some(&mut self) {
        const MOST: usize = 32;
        let Some(from) = self.held else { return };
        let to = self.used.min(from + MOST);
        for at in from..to {
            self.send_lines(&[self.log[at]]);
        }
        self.held = (to < self.used).then_some(to);
    }

    fn release(&mut self) {
        if let Some(from) = self.held.take() {
            self.send_log(from);
        }
    }

    /// Sends the log from this byte on.
    fn send_log(&mut self, from: usize) {
        for at in from..self.used {
            self.send_lines(&[self.log[at]]);
        }
    }

    /// Sends text with the line ends that a terminal wants.
    fn send_lines(&mut self, text: &[u8]) {
        for byte in text {
            if *byte == b'\n' {
                self.send(b'\r');
            }
            self.send(*byte);
        }
    }

    /// The passing line is gone before another one begins.
    fn clear_passing(&mut self) {
        if core::mem::take(&mut self.passing) {
            self.send_all(CLEARED);
        }
    }

    fn send_all(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.send(byte));
    }

    fn send(&mut self, byte: u8) {
        if MUTED.load(Relaxed) {
            return;
        }
        let Some(uart) = &mut self.uart else { return };
        for _ in 0..SEND_TRIES {
            if uart.try_send_byte(byte).is_ok() {
                return;
            }
            core::hint::spin_loop();
        }
        // Whatever is there takes nothing: it must not cost more time.
        self.uart = None;
    }
}

/// Makes `log::info!` and the like come here. Call once.
pub fn init() {
    static LOGGER: Logger = Logger;
    // A second call would change nothing.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(log::LevelFilter::Info);
}

/// Uses the 16550 at `port` from here on, at `baud`.
pub fn open(port: u16, baud: u32) {
    // SAFETY: the plan, or the PC's convention, says that a 16550 is there; one
    // that is not there answers the loopback test wrongly, and is not used.
    let Ok(mut uart) = (unsafe { Uart16550::new_port(port) }) else { return };
    let config = Config { baud_rate: BaudRate::from_integer(baud), ..Config::default() };
    if uart.init(config).is_ok() && uart.test_loopback().is_ok() {
        CONSOLE.lock().uart = Some(uart);
    }
}

/// Waits until a key comes over the line. `None`, at once, where there is no
/// line.
pub fn wait_for_key() -> Option<u8> {
    release();
    loop {
        let mut console = CONSOLE.lock();
        let uart = console.uart.as_mut()?;
        if let Ok(byte) = uart.try_receive_byte() {
            return Some(byte);
        }
        drop(console);
        core::hint::spin_loop();
    }
}

/// A byte that came over the line, if one did.
pub fn received() -> Option<u8> {
    CONSOLE.lock().uart.as_mut()?.try_receive_byte().ok()
}

/// Calls `f` with the log so far.
pub fn with_log<T>(f: impl FnOnce(&[u8]) -> T) -> T {
    match CONSOLE.try_lock() {
        Some(console) => f(&console.log[..console.used]),
        None => f(&[]),
    }
}
