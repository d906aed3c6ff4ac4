//! The monitor: a few commands on the serial line while the image is written,
//! and as long as it is open, before the machine goes down.
//!
//! Nothing waits for it but the sleep itself: it is fed with what was typed, a
//! few times a second, between two chunks.

use crate::arch::time;
use crate::console;
use dormouse_handoff::image::Kind;
use dormouse_handoff::plan::{Action, CheckedPlan};
use dormouse_screen::prompt::{Command, Prompt, Typed};
use spin::Mutex;

/// Lines of the log that are shown.
const LOG_LINES: usize = 20;

/// How long an open monitor that nobody types in holds the sleep up.
const PATIENCE_US: u64 = 60_000_000;

/// What the user wants instead of what the plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Another end than the plan's; both take an image that is resumed once.
    End(Action),
    /// To come back once everything is written.
    Return,
}

struct Monitor {
    prompt: Prompt,
    open: bool,
    /// When a key was pressed last.
    typed_us: u64,
    /// Whether the plan's image is one that is resumed once.
    sleeps: bool,
    planned: Action,
    wish: Option<Wish>,
    /// Nothing leads back any more.
    committed: bool,
    abort: bool,
    began_us: u64,
    done: u64,
    total: u64,
}

static MONITOR: Mutex<Monitor> = Mutex::new(Monitor {
    prompt: Prompt::new(),
    open: false,
    typed_us: 0,
    sleeps: false,
    planned: Action::Return,
    wish: None,
    committed: false,
    abort: false,
    began_us: 0,
    done: 0,
    total: 0,
});

/// What is to be done, for `status` and for what may be changed about it.
pub fn begin(plan: &CheckedPlan<'_>) {
    let mut monitor = MONITOR.lock();
    monitor.sleeps = plan.image() == Some(Kind::Once);
    monitor.planned = plan.action();
    monitor.began_us = time::now_us();
}

/// Notes how far it is.
pub fn progress(done: u64, total: u64) {
    let mut monitor = MONITOR.lock();
    (monitor.done, monitor.total) = (done, total);
}

/// From here on nothing leads back.
pub fn committed() {
    MONITOR.lock().committed = true;
}

/// What the user has chosen.
pub fn wish() -> Option<Wish> {
    MONITOR.lock().wish
}

/// What follows the commit, by the user's wish or else by the plan.
pub fn action(plan: &CheckedPlan<'_>) -> Action {
    match wish() {
        Some(Wish::End(action)) => action,
        Some(Wish::Return) | None => plan.action(),
    }
}

/// Whether what is typed belongs to it.
pub fn is_open() -> bool {
    MONITOR.lock().open
}

/// Opens it.
pub fn open() {
    let mut monitor = MONITOR.lock();
    monitor.open = true;
    monitor.typed_us = time::now_us();
    console::tell(format_args!(
        "the monitor: `help` lists what there is; writing goes on meanwhile"
    ));
    monitor.show();
}

/// Takes a byte that was typed while it is open.
pub fn take(byte: u8) {
    let mut monitor = MONITOR.lock();
    monitor.typed_us = time::now_us();
    match monitor.prompt.take(byte) {
        Typed::Nothing | Typed::Changed => {}
        Typed::Asked(command) => monitor.run(command),
        Typed::Unknown => {
            console::tell(format_args!("no such command: {}", monitor.prompt.text()));
        }
    }
    if monitor.open {
        monitor.show();
    }
}

/// Whether the user asked to go back at once.
pub fn asked_to_abort() -> bool {
    MONITOR.lock().abort
}

/// Shows the line again where something else was shown since.
pub fn refresh() {
    let monitor = MONITOR.lock();
    if monitor.open && !console::shows_passing_line() {
        monitor.show();
    }
}

/// While it is open, nothing goes on; but not for ever.
pub fn wait_until_closed() {
    while is_open() {
        match console::received() {
            Some(byte) => take(byte),
            None => core::hint::spin_loop(),
        }
        if time::now_us() - MONITOR.lock().typed_us > PATIENCE_US {
            MONITOR.lock().open = false;
            log::info!("nobody types in the monitor any more: going on");
        }
    }
}

impl Monitor {
    fn show(&self) {
        console::show_passing(format_args!("dormouse> {}", self.prompt.text()));
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::Help => {
                for (name, _, what) in Command::ALL {
                    console::tell(format_args!("  {name:8}  {what}"));
                }
            }
            Command::Status => self.tell_status(),
            Command::Log => console::tell_log(LOG_LINES),
            Command::Continue => {
                self.open = false;
                console::tell(format_args!("going on"));
            }
            Command::Abort | Command::Return if self.committed => console::tell(format_args!(
                "refused: the image is committed, and a system that went on beside it would be \
                 undone at the wake-up"
            )),
            Command::Abort => {
                self.abort = true;
                self.open = false;
                console::tell(format_args!("going back"));
            }
            Command::Off | Command::Reboot | Command::Return if !self.sleeps => {
                console::tell(format_args!("refused: this comes back anyway"));
            }
            Command::Off => self.wish = Some(Wish::End(Action::PowerOff)),
            Command::Reboot => self.wish = Some(Wish::End(Action::Reboot)),
            Command::Return => self.wish = Some(Wish::Return),
        }
        if matches!(command, Command::Off | Command::Reboot | Command::Return) {
            console::tell(format_args!("in the end: {}", self.end()));
        }
    }

    fn tell_status(&self) {
        let (done, total) = (self.done >> 8, self.total >> 8);
        let seconds = (time::now_us() - self.began_us) / 1_000_000;
        let how_far = if self.committed { "committed" } else { "not committed yet" };
        let end = self.end();
        console::tell(format_args!(
            "{done} of {total} MiB of memory dealt with in {seconds} s; {how_far}; in the end: {end}"
        ));
    }

    fn end(&self) -> &'static str {
        let action = match self.wish {
            None => self.planned,
            Some(Wish::End(action)) => action,
            Some(Wish::Return) => Action::Return,
        };
        match action {
            Action::PowerOff => "power off",
            Action::Reboot => "reset",
            Action::Suspend => "suspend to RAM",
            Action::Return => "come back",
        }
    }
}
