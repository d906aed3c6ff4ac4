//! Sizes with units.

use serde::Deserialize;

/// Bytes, written as a number with a unit: `512M`, `1.5G` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).ok_or(format!(
            "{text:?} is no size: a whole number and K, M, G or T (powers of 1024), as in \"512M\""
        ))
    }
}

fn parse(text: &str) -> Option<Size> {
    let (number, shift) = match text
        .trim()
        .trim_end_matches("iB")
        .split_at_checked(text.trim().trim_end_matches("iB").len().checked_sub(1)?)?
    {
        (number, "K") => (number, 10),
        (number, "M") => (number, 20),
        (number, "G") => (number, 30),
        (number, "T") => (number, 40),
        _ => return None,
    };
    let number: u64 = number.trim_end().parse().ok()?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0 && *bytes < 1 << 60).map(Size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse("64M"), Some(Size(64 << 20)));
        assert_eq!(parse("2 GiB"), Some(Size(2 << 30)));
        for wrong in ["", "64", "M", "1.5G", "-1M", "0M", "64MB", "99999999T", "1é", "é"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
