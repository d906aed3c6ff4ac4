//! What the host has to do with the figures.

use crate::error::Error;
use std::hint::black_box;
use std::mem::MaybeUninit;

/// Times of the host's processors, in ticks.
pub struct Ticks {
    /// All that passed, of all processors.
    total: u64,
    /// That they were not idle, or could not be had: a host that is a virtual machine
    /// itself shares them.
    busy: u64,
    /// That this program took, and those that it started and that have ended.
    own: u64,
}

impl Ticks {
    /// Those since the host started.
    pub fn now() -> Result<Self, Error> {
        const ALL: &str = "/proc/stat";
        const OWN: &str = "/proc/self/stat";
        let read = |path: &str| std::fs::read_to_string(path).map_err(Error::host(path));
        let ticks = Self::parse(&read(ALL)?, &read(OWN)?);
        ticks.ok_or_else(|| Error::verdict(format!("{ALL} or {OWN} is not as expected")))
    }

    fn parse(all: &str, own: &str) -> Option<Self> {
        let numbers = |text: &str| -> Option<Vec<u64>> {
            text.split_whitespace().map(|word| word.parse().ok()).collect()
        };
        let all = numbers(all.lines().next()?.strip_prefix("cpu ")?)?;
        // What comes after is part of user time already.
        let [user, nice, system, idle, waiting, interrupts, soft, stolen] = *all.first_chunk()?;
        let busy = user + nice + system + interrupts + soft + stolen;
        // The name before may have any character.
        let (_, own) = own.rsplit_once(") ")?;
        let own = own.split_whitespace().skip(11).take(4).collect::<Vec<_>>().join(" ");
        let own = numbers(&own)?.iter().sum();
        Some(Self { total: busy + idle + waiting, busy, own })
    }

    /// Percent of the processors' time since `before` that others had.
    pub fn others_percent(&self, before: &Self) -> f64 {
        let total = (self.total - before.total).max(1);
        let busy = self.busy - before.busy;
        100.0 * busy.saturating_sub(self.own - before.own) as f64 / total as f64
    }
}

/// Takes so many bytes of the host's memory, uses them, and gives them back.
///
/// A host that is a virtual machine itself gives memory that nobody has used for
/// seconds back to its own host, and waits for it where it is used again.
pub fn touch_memory(bytes: u64) {
    let mut memory = Vec::<u8>::with_capacity(bytes as usize);
    for page in memory.spare_capacity_mut().chunks_mut(4096) {
        page[0] = MaybeUninit::new(1);
    }
    black_box(&memory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_had_is_what_is_left() {
        let of = |all: &str, own: &str| Ticks::parse(all, own).unwrap();
        let rest = "S 1 1 1 0 -1 4194304 100 0 0 0";
        let before =
            of("cpu  10 1 5 100 20 2 1 3 0 0\ncpu0 1", &format!("7 (a) b) {rest} 1 2 3 4 5"));
        assert_eq!((before.total, before.busy, before.own), (142, 22, 10));
        let after = of("cpu  60 1 15 120 20 2 1 23 0 0", &format!("7 (a) b) {rest} 11 12 13 20 5"));
        assert_eq!(after.others_percent(&before), 34.0);
        assert!(Ticks::parse("cpu 1 2", &format!("7 (a) {rest} 1 2 3 4")).is_none());
    }
}
