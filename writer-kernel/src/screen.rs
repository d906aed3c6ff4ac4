//! The screen, where there is one that can be drawn on.
//!
//! The plan names the writer's, the reader's own entry the reader's. Nothing
//! depends on it: whatever is wrong with it is a line in the log.

use crate::arch::time;
use crate::console;
use crate::machine::MACHINE;
use core::fmt::{self, Write};
use core::slice;
use dormouse_handoff::screen::Framebuffer;
use dormouse_handoff::units::PageRange;
use dormouse_screen::{Display, Ending, Line};
use spin::Mutex;

/// How long a message stays on the screen before the machine goes off or is
/// reset, unless a key is pressed.
const READING_US: u64 = 10_000_000;

static DISPLAY: Mutex<Option<Display<'static>>> = Mutex::new(None);

/// Uses this framebuffer from here on, unless it overlaps any of `memory` or
/// cannot be right. Nothing is drawn yet.
pub fn open(
    framebuffer: &Framebuffer,
    memory: impl IntoIterator<Item = PageRange>,
    title: &'static str,
) {
    if !framebuffer.is_there() {
        return;
    }
    if let Err(why) = framebuffer.check(memory) {
        log::warn!("the screen is left alone: {why}");
        return;
    }
    let (start, bytes) = (framebuffer.address, framebuffer.bytes());
    match MACHINE.with_space(|space| space.map_framebuffer(start, bytes)) {
        Some(Ok(at)) => {
            // SAFETY: just mapped, so many bytes, for the one display that there
            // is; nothing of any program lies there, as was checked against all
            // of memory.
            let memory = unsafe { slice::from_raw_parts_mut(at.as_ptr(), bytes as usize) };
            *DISPLAY.lock() = Display::new(framebuffer, memory, title);
        }
        Some(Err(error)) => log::warn!("the screen is left alone: {error}"),
        None => {}
    }
}

/// Gives it up: the page tables that map it are going to be left.
pub fn forget() {
    *DISPLAY.lock() = None;
}

/// Draws everything, if that has not been done yet.
pub fn paint() {
    with(|display| {
        if !display.is_painted() {
            display.paint();
        }
    });
}

/// Says something in a line.
pub fn say(line: Line, words: fmt::Arguments<'_>) {
    with(|display| display.say(line, Text::of(words).as_str()));
}

/// Shows how much is done, and the same in words.
pub fn progress(done: u64, total: u64, words: fmt::Arguments<'_>) {
    paint();
    with(|display| {
        display.progress(done, total);
        display.say(Line::Figures, Text::of(words).as_str());
    });
}

/// Says how it ended, and that nothing more can be done about it.
pub fn end(ending: Ending, words: fmt::Arguments<'_>) {
    paint();
    with(|display| {
        display.say(Line::Hint, "");
        if ending == Ending::Well {
            display.progress(1, 1);
        }
        display.end(ending, Text::of(words).as_str());
    });
}

/// Leaves a failure on the screen for a while, or until a key is pressed on the
/// serial line.
pub fn let_read(words: fmt::Arguments<'_>) {
    if DISPLAY.try_lock().is_none_or(|display| display.is_none()) {
        return;
    }
    end(Ending::Failed, words);
    let from = time::now_us();
    while time::now_us() - from < READING_US && console::received().is_none() {
        core::hint::spin_loop();
    }
}

/// Whoever interrupts the drawing does without.
fn with(draw: impl FnOnce(&mut Display<'static>)) {
    if let Some(mut display) = DISPLAY.try_lock()
        && let Some(display) = display.as_mut()
    {
        draw(display);
        // SAFETY: a fence. What is combined in the processor's buffers gets to the
        // screen now, and not when they happen to be full.
        unsafe { core::arch::x86_64::_mm_sfence() };
    }
}

/// Words that fit the screen, without an allocation.
struct Text {
    bytes: [u8; 400],
    used: usize,
}

impl Text {
    fn of(words: fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; 400], used: 0 };
        // What is too long is cut.
        let _ = text.write_fmt(words);
        text
    }

    fn as_str(&self) -> &str {
        self.bytes[..self.used].utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

impl Write for Text {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        let taken = words.len().min(self.bytes.len() - self.used);
        self.bytes[self.used..self.used + taken].copy_from_slice(&words.as_bytes()[..taken]);
        self.used += taken;
        if taken < words.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
