//! A campaign in parts: the choices are made for the whole of it, and one part
//! of them is carried out.

use std::fmt;
use std::str::FromStr;

/// Which part of a campaign, as in `3/10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    number: u32,
    of: u32,
}

impl Share {
    /// All of it.
    pub const ALL: Self = Self { number: 1, of: 1 };

    /// Whether the case with this number, from 0 on, belongs to it.
    pub fn has(self, case: usize) -> bool {
        case % self.of as usize == self.number as usize - 1
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split_once('/').and_then(|(number, of)| {
            Some(Self { number: number.parse().ok()?, of: of.parse().ok()? })
        });
        numbers
            .filter(|share| (1..=share.of).contains(&share.number))
            .ok_or("not a share as in 3/10")
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_belongs_to_one_share() {
        for of in [1, 2, 7] {
            let shares: Vec<Share> =
                (1..=of).map(|number| format!("{number}/{of}").parse().unwrap()).collect();
            for case in 0..30 {
                assert_eq!(shares.iter().filter(|share| share.has(case)).count(), 1);
            }
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "a/b", "-1/2"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
