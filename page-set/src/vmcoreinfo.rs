//! The VMCOREINFO note: what a Linux tells about its own structures.
//!
//! Lines of text, `KEY=value`: addresses in hexadecimal, everything else in
//! decimal (Linux Documentation/admin-guide/kdump/vmcoreinfo.rst). Keys are
//! written here as they stand in the note: `SYMBOL(mem_section)`,
//! `OFFSET(page.flags)`, `NUMBER(phys_base)`.

use crate::unsupported::Unsupported;
use core::ops::RangeInclusive;

/// A note's text. Any bytes are one: lines that are not understood are not
/// found.
#[derive(Clone, Copy, Debug)]
pub struct Vmcoreinfo<'a>(&'a [u8]);

impl<'a> Vmcoreinfo<'a> {
    /// Takes the note's description, without the ELF note's header.
    pub const fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// The value of the first line with this key.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        let value = self.0.split(|byte| *byte == b'\n').find_map(|line| {
            line.strip_prefix(key.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        })?;
        core::str::from_utf8(value).ok()
    }

    /// A linear address.
    pub fn address(&self, key: &'static str) -> Result<u64, Unsupported> {
        let value = self.value(key).ok_or(Unsupported::Missing(key))?;
        u64::from_str_radix(value, 16).map_err(|_| Unsupported::Value(key))
    }

    /// A number. The kernel prints all as `long`: those that are unsigned to it
    /// may come out negative.
    pub fn number(&self, key: &'static str) -> Result<i64, Unsupported> {
        let value = self.value(key).ok_or(Unsupported::Missing(key))?;
        value.parse().map_err(|_| Unsupported::Value(key))
    }

    /// A number, if it is in `range`.
    pub fn within(
        &self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<u64, Unsupported> {
        let number = self.number(key)?;
        let number = u64::try_from(number).map_err(|_| Unsupported::Value(key))?;
        if range.contains(&number) { Ok(number) } else { Err(Unsupported::Value(key)) }
    }
}

/// An answer in which a missing entry is one of the possible answers.
pub fn if_told<T>(answer: Result<T, Unsupported>) -> Result<Option<T>, Unsupported> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Unsupported::Missing(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN_6_1: &[u8] = include_bytes!("../tests/vmcoreinfo/linux-6.1.192-tiny.txt");
    const DEBIAN_7_2: &[u8] = include_bytes!("../tests/vmcoreinfo/linux-7.2.13-debian-cloud.txt");

    #[test]
    fn a_real_note_is_read() {
        let note = Vmcoreinfo::new(OWN_6_1);
        assert_eq!(note.value("OSRELEASE"), Some("6.1.192"));
        assert_eq!(note.address("SYMBOL(swapper_pg_dir)"), Ok(0xffff_ffff_81e0_a000));
        assert_eq!(note.number("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)"), Ok(-129));
        assert_eq!(note.within("SIZE(page)", 0..=64), Ok(56));
        assert_eq!(note.within("SIZE(page)", 64..=64), Err(Unsupported::Value("SIZE(page)")));
        assert_eq!(
            note.number("NUMBER(PG_hwpoison)"),
            Err(Unsupported::Missing("NUMBER(PG_hwpoison)"))
        );
    }

    #[test]
    fn an_unsigned_number_may_be_printed_as_a_negative_one() {
        let note = Vmcoreinfo::new(DEBIAN_7_2);
        assert_eq!(note.number("NUMBER(phys_base)"), Ok(-297_795_584));
    }

    #[test]
    fn a_key_is_not_found_inside_another() {
        let note = Vmcoreinfo::new(b"XSIZE(page)=1\nSIZE(page)x=2\nSIZE(page)=\nSIZE(page)=4");
        assert_eq!(note.value("SIZE(page)"), Some(""));
        assert_eq!(note.number("SIZE(page)"), Err(Unsupported::Value("SIZE(page)")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_note(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let note = Vmcoreinfo::new(&text);
            let _ = (note.address("A"), note.number("A"), note.within("A", 0..=1));
        }

        #[test]
        fn any_value_is_a_number_or_an_error(value in "[-+0-9a-fx]{0,24}") {
            let text = format!("A={value}\n");
            let note = Vmcoreinfo::new(text.as_bytes());
            prop_assert_eq!(note.value("A"), Some(value.as_str()));
            let _ = (note.address("A"), note.within("A", 0..=1));
            prop_assert_eq!(note.number("A").ok(), value.parse().ok());
        }
    }
}
