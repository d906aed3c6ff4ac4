//! Reads the kernel's log (Documentation/ABI/testing/dev-kmsg).

use crate::error::Error;
use dormouse_guest::protocol::LogRecord;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

/// The records from sequence number `from` on.
pub fn read(from: u64) -> Result<Vec<LogRecord>, Error> {
    const DEVICE: &str = "/dev/kmsg";
    let mut device = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)
        .map_err(Error::refused(DEVICE))?;
    let mut records = Vec::new();
    // Each read yields one record; no record is longer.
    let mut bytes = [0; 8192];
    loop {
        match device.read(&mut bytes) {
            Ok(count) => {
                let text = String::from_utf8_lossy(&bytes[..count]);
                records.extend(parse(&text).filter(|record| record.sequence >= from));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(records),
            // The record was overwritten by newer ones meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {}
            Err(e) => return Err(Error::refused(DEVICE)(e)),
        }
    }
}

/// A record: `priority,sequence,microseconds,flags;text`, then lines of
/// properties.
fn parse(record: &str) -> Option<LogRecord> {
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (priority, sequence, microseconds) = (number()?, number()?, number()?);
    let text = rest.lines().next().unwrap_or_default().into();
    Some(LogRecord { sequence, level: (priority & 7) as u8, microseconds, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_kernel_is_taken_apart() {
        let record = parse("4,339,5140900,-;a warning; with a semicolon\n SUBSYSTEM=acpi\n");
        let record = record.unwrap();
        assert_eq!((record.level, record.sequence, record.microseconds), (4, 339, 5_140_900));
        assert_eq!(record.text, "a warning; with a semicolon");
        assert_eq!(parse("no record"), None);
    }
}
