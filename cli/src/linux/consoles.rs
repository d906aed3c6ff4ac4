//! Which serial port the kernel's console is on.

/// A 16550 at an I/O port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialConsole {
    /// The first of its eight I/O ports.
    pub port: u16,
    /// Baud.
    pub rate: u32,
}

/// What Linux takes where `console=` names no rate.
pub const DEFAULT_RATE: u32 = 9600;

/// The first serial line of `active`, the text of
/// `/sys/class/tty/console/active`: for example `ttyS0` of `tty0 ttyS0`.
pub fn first_serial(active: &str) -> Option<&str> {
    active
        .split_whitespace()
        .find(|name| name.strip_prefix("ttyS").is_some_and(|n| n.parse::<u32>().is_ok()))
}

/// The rate that the kernel's command line gives the console `name`.
pub fn rate(command_line: &str, name: &str) -> u32 {
    command_line
        .split_whitespace()
        .filter_map(|argument| argument.strip_prefix("console=")?.split_once(','))
        .filter(|(console, _)| *console == name)
        .filter_map(|(_, options)| {
            let digits = options.find(|c: char| !c.is_ascii_digit()).unwrap_or(options.len());
            options[..digits].parse().ok()
        })
        .next_back()
        .unwrap_or(DEFAULT_RATE)
}

/// An I/O port as `/sys/class/tty/*/port` prints it: `0x3F8`.
pub fn port(text: &str) -> Option<u16> {
    let port = u16::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()?;
    (port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_console_is_found_among_others() {
        assert_eq!(first_serial("tty0 ttyS1\n"), Some("ttyS1"));
        assert_eq!(first_serial("tty0\n"), None);
        assert_eq!(first_serial("ttySAC0"), None);
    }

    #[test]
    fn the_rate_follows_the_command_line() {
        assert_eq!(rate("quiet console=tty0 console=ttyS0,115200n8", "ttyS0"), 115_200);
        assert_eq!(rate("console=ttyS0", "ttyS0"), DEFAULT_RATE);
        assert_eq!(rate("console=ttyS1,57600", "ttyS0"), DEFAULT_RATE);
        assert_eq!(rate("console=ttyS0,n8", "ttyS0"), DEFAULT_RATE);
    }

    #[test]
    fn ports_are_hexadecimal() {
        assert_eq!(port("0x3F8\n"), Some(0x3f8));
        assert_eq!(port("0x0\n"), None);
        assert_eq!(port("0x12345"), None);
    }
}
