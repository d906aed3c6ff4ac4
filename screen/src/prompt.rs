//! The line that a user types on the serial console: bounded, and robust
//! against whatever a terminal sends.

/// Most letters of a line; more are not taken.
pub const LINE: usize = 24;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// What there is.
    Help,
    /// How far it is, and what comes after.
    Status,
    /// The last lines of the log.
    Log,
    /// Go back now.
    Abort,
    /// Leave the monitor.
    Continue,
    /// Power off in the end.
    Off,
    /// Reset in the end.
    Reboot,
    /// Come back in the end.
    Return,
}

impl Command {
    /// All of them, by name, and what they do.
    pub const ALL: [(&str, Self, &str); 8] = [
        ("status", Self::Status, "how far it is, and what comes after"),
        ("log", Self::Log, "the last lines of the log"),
        ("abort", Self::Abort, "go back to the running system now"),
        ("off", Self::Off, "power off in the end"),
        ("reboot", Self::Reboot, "reset in the end"),
        ("return", Self::Return, "write everything, but come back in the end"),
        ("continue", Self::Continue, "leave this monitor"),
        ("help", Self::Help, "this list"),
    ];

    /// The command that goes by this name, or by an abbreviation of it that no
    /// other has.
    pub fn named(words: &str) -> Option<Self> {
        let exact = Self::ALL.iter().find(|(name, ..)| *name == words);
        let mut meant = Self::ALL.iter().filter(|(name, ..)| name.starts_with(words));
        match (exact, meant.next(), meant.next()) {
            (Some((_, command, _)), ..) | (None, Some((_, command, _)), None) => Some(*command),
            _ => None,
        }
    }
}

/// What a byte of the terminal has made of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Nothing that shows.
    Nothing,
    /// Another line.
    Changed,
    /// A command.
    Asked(Command),
    /// A line that is none; it is still to be read.
    Unknown,
}

/// The line.
#[derive(Clone, Debug)]
pub struct Prompt {
    line: [u8; LINE],
    used: usize,
    /// The bytes of an escape sequence that are still to come.
    escape: Escape,
    /// The line was handed over, and the next byte begins another.
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Begun,
    Parameters,
}

impl Prompt {
    /// An empty line.
    pub const fn new() -> Self {
        Self { line: [0; LINE], used: 0, escape: Escape::No, done: false }
    }

    /// What has been typed.
    pub fn text(&self) -> &str {
        core::str::from_utf8(&self.line[..self.used]).unwrap_or_default()
    }

    /// Takes a byte that came over the line.
    pub fn take(&mut self, byte: u8) -> Typed {
        const BACKSPACE: u8 = 0x08;
        const CTRL_C: u8 = 0x03;
        const CTRL_D: u8 = 0x04;
        const CTRL_U: u8 = 0x15;
        const ESCAPE: u8 = 0x1b;
        const DELETE: u8 = 0x7f;
        if core::mem::take(&mut self.done) {
            self.used = 0;
        }
        // ECMA-48, 5.4: ESC [, parameters, a final byte.
        match (self.escape, byte) {
            (Escape::Begun, b'[') => {
                self.escape = Escape::Parameters;
                return Typed::Nothing;
            }
            (Escape::Parameters, 0x20..=0x3f) => return Typed::Nothing,
            (Escape::Parameters, 0x40..=0x7e) => {
                self.escape = Escape::No;
                return Typed::Nothing;
            }
            _ => self.escape = Escape::No,
        }
        match byte {
            ESCAPE => {
                self.escape = Escape::Begun;
                Typed::Nothing
            }
            b'\r' | b'\n' => self.submit(),
            CTRL_D if self.used == 0 => Typed::Asked(Command::Continue),
            BACKSPACE | DELETE if self.used > 0 => {
                self.used -= 1;
                Typed::Changed
            }
            CTRL_C | CTRL_U => {
                self.used = 0;
                Typed::Changed
            }
            b' '..=b'~' if self.used < LINE => {
                self.line[self.used] = byte.to_ascii_lowercase();
                self.used += 1;
                Typed::Changed
            }
            _ => Typed::Nothing,
        }
    }

    fn submit(&mut self) -> Typed {
        let words = self.text().trim();
        let typed = match (words, Command::named(words)) {
            ("", _) => Typed::Changed,
            (_, Some(command)) => Typed::Asked(command),
            (_, None) => Typed::Unknown,
        };
        self.done = true;
        typed
    }
}

impl Default for Prompt {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// What comes of typing this, leaving out what only changes the line.
    fn typing(bytes: &[u8]) -> Vec<Typed> {
        let mut prompt = Prompt::new();
        let typed = bytes.iter().map(|byte| prompt.take(*byte));
        typed.filter(|typed| !matches!(typed, Typed::Nothing | Typed::Changed)).collect()
    }

    #[test]
    fn commands_are_words_or_their_beginnings() {
        use Command::*;
        assert_eq!(typing(b"status\r\nlog\r"), [Typed::Asked(Status), Typed::Asked(Log)]);
        assert_eq!(typing(b"  Abort \n"), [Typed::Asked(Abort)]);
        assert_eq!(typing(b"reb\rret\r"), [Typed::Asked(Reboot), Typed::Asked(Return)]);
        // Of `re` nobody knows which is meant.
        assert_eq!(typing(b"re\rfly\r\r"), [Typed::Unknown, Typed::Unknown]);
        assert_eq!(typing(b"\x04"), [Typed::Asked(Continue)]);
    }

    #[test]
    fn a_line_can_be_corrected() {
        let off = [Typed::Asked(Command::Off)];
        assert_eq!(typing(b"ofx\x7ff\r"), off);
        assert_eq!(typing(b"abort\x15off\r"), off);
        assert_eq!(typing(b"\x08\x08off\r"), off);
        assert_eq!(typing(b"o\x1b[D\x1b[1;5Cff\r"), off);
    }

    #[test]
    fn what_is_too_long_is_no_command_and_the_next_line_is_one() {
        let mut long = [b"off".as_slice(), &[b' '; 100], b"x\r"].concat();
        assert_eq!(typing(&long), [Typed::Asked(Command::Off)], "what does not fit is not there");
        long.splice(0..0, [b'x'; 30]);
        long.extend(b"log\r");
        assert_eq!(typing(&long), [Typed::Unknown, Typed::Asked(Command::Log)]);
    }

    proptest! {
        #[test]
        fn whatever_a_terminal_sends_the_line_stays_a_line(bytes: Vec<u8>) {
            let mut prompt = Prompt::new();
            for byte in bytes {
                prompt.take(byte);
                prop_assert!(prompt.text().len() <= LINE);
            }
        }
    }
}
