//! Looking for the bytes of a sleep state's package, without an interpreter.
//!
//! `Name (\_S5, Package () { … })` is encoded as NameOp, the name, PackageOp,
//! the package's length, the number of elements and the elements (ACPI 6.5
//! §20.2). Firmware writes it with constants only, and at the root, so the
//! bytes are unmistakable; what does not look exactly so is passed over.

use crate::table::Checked;
use crate::{SleepStates, SleepTypes};

const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;
const ROOT_CHAR: u8 = b'\\';
const ZERO_OP: u8 = 0x00;
const ONE_OP: u8 = 0x01;
const BYTE_PREFIX: u8 = 0x0a;
const WORD_PREFIX: u8 = 0x0b;
const DWORD_PREFIX: u8 = 0x0c;

/// The tables, to be searched in order.
pub struct Search<'t, 'a>(pub &'t Checked<'a>);

impl SleepStates for Search<'_, '_> {
    fn types(&self, state: u8) -> Option<SleepTypes> {
        self.0.aml.iter().find_map(|table| find(table.body(), state))
    }
}

/// The first well-formed package of the state in `aml`.
fn find(aml: &[u8], state: u8) -> Option<SleepTypes> {
    let name = [b'_', b'S', b'0' + state, b'_'];
    aml.windows(name.len())
        .enumerate()
        .filter(|(at, window)| *window == name && is_named_here(&aml[..*at]))
        .find_map(|(at, _)| package(aml.get(at + name.len()..)?))
}

/// Whether the bytes before a name say that an object gets it.
fn is_named_here(before: &[u8]) -> bool {
    let before = before.strip_suffix(&[ROOT_CHAR]).unwrap_or(before);
    before.last() == Some(&NAME_OP)
}

/// The first two elements of the package that `bytes` begin with. A package of
/// one element has none for PM1b, which then is not there.
fn package(bytes: &[u8]) -> Option<SleepTypes> {
    let (&op, bytes) = bytes.split_first()?;
    if op != PACKAGE_OP {
        return None;
    }
    let (&lead, _) = bytes.split_first()?;
    // §20.2.4: the two high bits count the length's further bytes, and the
    // length counts its own bytes as well.
    let further = usize::from(lead >> 6);
    let length = match further {
        0 => usize::from(lead & 0x3f),
        _ => {
            bytes
                .get(1..=further)?
                .iter()
                .rev()
                .fold(0, |length, byte| length << 8 | usize::from(*byte))
                .checked_shl(4)?
                | usize::from(lead & 0xf)
        }
    };
    let (&count, elements) = bytes.get(..length)?.get(1 + further..)?.split_first()?;
    let (a, rest) = constant(elements)?;
    let b = match count {
        0 => return None,
        1 => 0,
        _ => constant(rest)?.0,
    };
    Some((a, b))
}

/// The integer constant that `bytes` begin with, as a sleep type; the rest.
fn constant(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&op, rest) = bytes.split_first()?;
    let width = match op {
        ZERO_OP => return Some((0, rest)),
        ONE_OP => return Some((1, rest)),
        BYTE_PREFIX => 1,
        WORD_PREFIX => 2,
        DWORD_PREFIX => 4,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(width)?;
    // Some firmware packs both types into one integer; the low byte is SLP_TYPa.
    (value[0] <= 7).then_some((value[0], rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_constants_is_read() {
        let aml =
            b"\x08_S3_\x12\x06\x04\x01\x01\x00\x00\x08\\_S5_\x12\x08\x04\x0a\x07\x0a\x06\x00\x00";
        assert_eq!(find(aml, 3), Some((1, 1)));
        assert_eq!(find(aml, 5), Some((7, 6)));
        assert_eq!(find(aml, 4), None);
    }

    #[test]
    fn a_name_without_a_package_is_passed_over() {
        let aml = b"\x70_S5_\x60\x08_S5_\x14\x06\x08_S5_\x12\x06\x04\x05\x00\x00\x00";
        assert_eq!(find(aml, 5), None, "5 is no AML constant");
        let aml = b"\x70_S5_\x60\x08_S5_\x12\x06\x04\x0a\x05\x00\x00";
        assert_eq!(find(aml, 5), Some((5, 0)));
    }

    #[test]
    fn a_length_beyond_the_table_is_no_package() {
        assert_eq!(find(b"\x08_S5_\x12\x3f\x04\x00\x00", 5), None);
        assert_eq!(find(b"\x08_S5_\x12\xff\xff\xff\xff\x04\x00\x00", 5), None);
        assert_eq!(find(b"\x08_S5_\x12", 5), None);
    }
}
