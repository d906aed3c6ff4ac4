//! Contents that need not be remembered: each word follows from a seed and
//! its place.

use crate::error::Error;

/// An odd constant with well spread bits (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The `index`-th word of the pattern with this seed; cheap, because the guest
/// runs under emulation.
fn word(seed: u64, index: u64) -> u64 {
    let x = (seed ^ index).wrapping_mul(SPREAD);
    x ^ (x >> 29)
}

/// Fills `words`, the first of which is the pattern's `first`-th.
pub fn fill(words: &mut [u64], seed: u64, first: u64) {
    for (index, slot) in (first..).zip(words) {
        *slot = word(seed, index);
    }
}

/// Checks `words`, the first of which is the pattern's `first`-th, and which
/// lie in `place`.
pub fn check(words: &[u64], seed: u64, first: u64, place: &'static str) -> Result<(), Error> {
    match (first..).zip(words).find(|(index, found)| **found != word(seed, *index)) {
        None => Ok(()),
        Some((index, _)) => Err(Error::Damaged { place, at: index * 8 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_word_is_found() {
        let mut words = vec![0; 1000];
        fill(&mut words, 5, 100);
        assert!(check(&words, 5, 100, "here").is_ok());
        assert!(check(&words, 6, 100, "here").is_err());
        words[999] ^= 1;
        let Err(Error::Damaged { at, .. }) = check(&words, 5, 100, "here") else { panic!() };
        assert_eq!(at, 1099 * 8);
    }
}
