//! Status fields in words (NVM Express base specification 2.0, §3.3.3.2.1; NVM
//! command set 1.0, §3.1.2).

use crate::queue::Cause;
use alloc::format;

/// What a completion's status says. `field` is its status word with the phase
/// bit in bit 0, which is ignored.
pub fn check(field: u16) -> Result<(), Cause> {
    let code = (field >> 1) as u8;
    let kind = (field >> 9) as u8 & 0b111;
    if (kind, code) == (0, 0) {
        return Ok(());
    }
    let last = if field >> 15 != 0 { ", do not retry" } else { "" };
    let words = words(kind, code);
    Err(Cause::Status(format!("{words} (type {kind:#x}, code {code:#04x}{last})")))
}

fn words(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (0, 0x01) => "invalid command opcode",
        (0, 0x02) => "invalid field in command",
        (0, 0x03) => "command identifier conflict",
        (0, 0x04) => "data transfer error",
        (0, 0x05) => "aborted: power loss notification",
        (0, 0x06) => "internal error",
        (0, 0x07) => "aborted on request",
        (0, 0x08) => "aborted: its queue was deleted",
        (0, 0x0b) => "invalid namespace or format",
        (0, 0x0c) => "command sequence error",
        (0, 0x13) => "invalid PRP offset",
        (0, 0x15) => "operation denied",
        (0, 0x1d) => "sanitize in progress",
        (0, 0x20) => "the namespace is write protected",
        (0, 0x21) => "interrupted, to be retried",
        (0, 0x22) => "transient transport error",
        (0, 0x80) => "block out of range",
        (0, 0x81) => "capacity exceeded",
        (0, 0x82) => "namespace not ready",
        (0, 0x83) => "reservation conflict",
        (0, 0x84) => "format in progress",
        (1, 0x00) => "invalid completion queue",
        (1, 0x01) => "invalid queue identifier",
        (1, 0x02) => "invalid queue size",
        (1, 0x80) => "conflicting attributes",
        (1, 0x82) => "attempted write to a read-only range",
        (2, 0x80) => "write fault",
        (2, 0x81) => "unrecovered read error",
        (2, 0x82) => "end-to-end guard check error",
        (2, 0x85) => "compare failure",
        (2, 0x86) => "access denied",
        (2, 0x87) => "deallocated or unwritten block",
        (3, _) => "path error",
        (7, _) => "error specific to the vendor",
        (0, _) => "generic error",
        (1, _) => "error specific to the command",
        (2, _) => "media or data integrity error",
        _ => "error of an unknown type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_success_in_either_phase() {
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(1), Ok(()));
    }

    #[test]
    fn errors_come_with_words_and_numbers() {
        let unrecovered = 0x81 << 1 | 2 << 9 | 1 << 15;
        let Err(cause) = check(unrecovered) else { panic!() };
        assert_eq!(
            format!("{cause}"),
            "unrecovered read error (type 0x2, code 0x81, do not retry)"
        );
    }

    #[test]
    fn every_status_whatever_has_words() {
        for field in 0..=u16::MAX {
            let success = field >> 1 & 0x3ff == 0 && field >> 9 & 7 == 0;
            assert_eq!(check(field).is_ok(), success);
        }
    }
}
