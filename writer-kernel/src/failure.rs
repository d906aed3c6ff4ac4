//! Failing well: until the commit, every failure is a return to the old kernel.
//!
//! Expected errors come here as values, at the end of the writer's story.
//! Panics, exceptions and NMIs come from anywhere: then the device's driver may
//! be in the middle of something, so bus mastering is taken from every device, the
//! one in use is reset by its registers (it must not go on with anything later),
//! and the old kernel, which puts PCI's configuration back and resets its
//! controllers on its return, does the rest.

use crate::arch::window;
use crate::console;
use crate::entry::{self, WayOut};
use crate::machine::MACHINE;
use crate::mailbox::Mailbox;
use crate::power;
use crate::screen;
use core::fmt::Write;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use dormouse_drivers::quiet_all;
use dormouse_handoff::mailbox::Outcome;
use dormouse_handoff::plan::{PowerFacts, Stage};
use dormouse_screen::Ending;
use spin::Mutex;

/// What to do when something goes wrong.
#[derive(Clone, Copy)]
enum Policy {
    /// Too early to do anything but say so.
    Nothing,
    /// The writer before its commit: go back.
    Return { way: WayOut, mailbox: Option<Mailbox> },
    /// The writer after its commit: the image is safe, so power off.
    PowerOff { facts: PowerFacts },
    /// The reader: the image is as it was, nothing else is there to lose.
    GiveUp { fallback: power::Fallback, facts: Option<PowerFacts> },
}

static POLICY: Mutex<Policy> = Mutex::new(Policy::Nothing);
static STAGE: AtomicU32 = AtomicU32::new(Stage::Enter as u32);
static FAILING: AtomicBool = AtomicBool::new(false);

/// What the old kernel's return path needs, outside every lock and stack.
static mut WAY_OUT: WayOut =
    WayOut { reserved: 0, entry: 0, cr0: 0, cr3: 0, cr4: 0, efer: 0, pat: 0, gdt_limit: 0, gdt: 0 };

/// From here on failures go back by `way`, and tell `mailbox`.
pub fn can_return(way: WayOut, mailbox: Option<Mailbox>) {
    *POLICY.lock() = Policy::Return { way, mailbox };
}

/// From here on there is no way back: the image is committed.
pub fn committed(facts: PowerFacts) {
    *POLICY.lock() = Policy::PowerOff { facts };
}

/// From here on failures of the reader end as `fallback` says.
pub fn reader(fallback: power::Fallback, facts: Option<PowerFacts>) {
    *POLICY.lock() = Policy::GiveUp { fallback, facts };
}

/// Notes the stage that failures name.
pub fn set_stage(stage: Stage) {
    STAGE.store(stage as u32, Relaxed);
}

/// The stage last noted.
pub fn stage() -> Stage {
    Stage::from_number(STAGE.load(Relaxed)).unwrap_or(Stage::Enter)
}

/// Ends in the old kernel with a reason, controllers already quiet.
pub fn give_back(message: &str) -> ! {
    log::error!("{} failed: {message}", stage().name());
    let policy = *POLICY.lock();
    let Policy::Return { way, mailbox } = policy else { end() };
    log::info!("going back; nothing was lost");
    let words = format_args!("{} failed: {message}; going back", stage().name());
    screen::end(Ending::Failed, words);
    if let Some(mailbox) = mailbox {
        mailbox.leave(Outcome::Returned, stage(), message);
        mailbox.leave_log(&[]);
    }
    leave(way)
}

/// Leaves into the old kernel.
pub fn leave(way: WayOut) -> ! {
    // SAFETY: one processor, and nothing comes after.
    unsafe { *core::ptr::addr_of_mut!(WAY_OUT) = way };
    // SAFETY: `way` is what the old kernel gave us, or had when it was saved;
    // the caller has seen to the devices.
    unsafe { entry::leave(window::physical(addr_of!(WAY_OUT))) }
}

/// A failure from anywhere: an exception, an NMI, a panic.
pub fn unexpected(what: core::fmt::Arguments<'_>) -> ! {
    if FAILING.swap(true, Relaxed) {
        // A failure while failing: no more experiments.
        halt();
    }
    // The interrupted code may hold the locks; nobody runs beside us.
    // SAFETY: one processor; whoever held them never goes on.
    unsafe {
        POLICY.force_unlock();
        console::take_over();
    }
    let policy = *POLICY.lock();
    let mut text = Text::new();
    // A message that is cut short is still a message.
    let _ = text.write_fmt(what);
    if let Policy::Return { .. } = policy {
        quiet_all(&MACHINE);
        give_back(text.as_str());
    }
    log::error!("{} failed: {}", stage().name(), text.as_str());
    end()
}

/// As [`unexpected`], for code without anything to format.
pub fn fatal(what: &str) -> ! {
    unexpected(format_args!("{what}"))
}

/// The end where there is no way back, of which has been said why.
fn end() -> ! {
    let policy = *POLICY.lock();
    match policy {
        Policy::PowerOff { facts } => {
            log::info!("the image is committed: powering off all the same");
            power::off(&facts)
        }
        Policy::GiveUp { fallback, facts } => power::give_up(fallback, facts.as_ref()),
        Policy::Nothing | Policy::Return { .. } => {
            log::error!("there is no way back from here");
            halt()
        }
    }
}

/// Stops for good.
pub fn halt() -> ! {
    console::release();
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let place = info.location();
    let (file, line) = place.map_or(("?", 0), |place| (place.file(), place.line()));
    unexpected(format_args!("panic at {file}:{line}: {}", info.message()))
}

/// A message on the stack: failing must not allocate.
struct Text {
    bytes: [u8; 512],
    used: usize,
}

impl Text {
    fn new() -> Self {
        Self { bytes: [0; 512], used: 0 }
    }

    fn as_str(&self) -> &str {
        let bytes = &self.bytes[..self.used];
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.bytes.len() - self.used;
        let taken = text.len().min(room);
        self.bytes[self.used..self.used + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.used += taken;
        if taken < text.len() { Err(core::fmt::Error) } else { Ok(()) }
    }
}
