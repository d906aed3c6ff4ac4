//! The serial port as a plain stream of bytes.

use crate::error::Error;
use rustix::termios::{self, ControlModes, OptionalActions};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;

/// Opens the port raw: no echo, no line editing, no modem lines.
pub fn open_raw(path: &str) -> Result<File, Error> {
    let port = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(path)
        .map_err(Error::refused(format!("opening {path}")))?;
    let mut settings =
        termios::tcgetattr(&port).map_err(Error::refused(format!("tcgetattr {path}")))?;
    settings.make_raw();
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings
        .set_speed(termios::speed::B115200)
        .map_err(Error::refused(format!("speed of {path}")))?;
    termios::tcsetattr(&port, OptionalActions::Now, &settings)
        .map_err(Error::refused(format!("tcsetattr {path}")))?;
    Ok(port)
}
