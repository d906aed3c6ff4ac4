//! Random numbers for a kernel that wakes: its generator's state lay on a disk,
//! and in a reusable image every wake-up finds the same.
//!
//! Whatever is not known beforehand goes through SHA-256: what the processor's
//! generator says, how long devices took, the clock, and what the wake-up before
//! left on the disk. Only the first two are worth anything; the last keeps two
//! wake-ups from being alike where nothing else does.

use dormouse_handoff::image::Carried;
use dormouse_handoff::mailbox::EntropySources;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bits of entropy that the pool can hold: those of its hash.
pub const FULL_BITS: u32 = 256;

/// Below this an attacker might try all that it could have been.
pub const POOR_BELOW_BITS: u32 = 128;

/// So many timings that follow no pattern count as one bit. Measurements of such
/// timings on PCs find about one bit in each; this is on the safe side.
const TIMINGS_PER_BIT: u32 = 16;

/// Where everything unforeseeable flows together.
pub struct Pool {
    hash: Sha256,
    sources: EntropySources,
    processor_bits: u32,
    timings: Timings,
}

/// The seed for the woken kernel; gone from memory with it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KernelSeed {
    /// Random bytes.
    pub bytes: [u8; 64],
    /// Bits of entropy that they are worth.
    pub bits: u32,
    /// [`EntropySources`] that they come from.
    pub sources: u32,
}

impl Pool {
    /// An empty pool.
    pub fn new() -> Self {
        Self {
            hash: Sha256::new(),
            sources: EntropySources::empty(),
            processor_bits: 0,
            timings: Timings::default(),
        }
    }

    /// Takes what is worth nothing as a secret, but may tell wake-ups apart.
    pub fn stir(&mut self, bytes: &[u8], source: EntropySources) {
        self.hash.update(bytes);
        self.sources |= source;
    }

    /// Takes what the processor's generator gave, which counts in full.
    pub fn take_random(&mut self, bytes: &[u8], source: EntropySources) {
        self.stir(bytes, source);
        let bits = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_mul(8);
        self.processor_bits = self.processor_bits.saturating_add(bits);
    }

    /// Takes the time-stamp counter at the end of something of which a device
    /// decides how long it takes.
    pub fn take_time(&mut self, ticks: u64) {
        self.stir(&ticks.to_le_bytes(), EntropySources::TIMINGS);
        self.timings.take(ticks);
    }

    /// How many bits of entropy are in it.
    pub fn bits(&self) -> u32 {
        let timings = self.timings.unforeseen / TIMINGS_PER_BIT;
        self.processor_bits.saturating_add(timings).min(FULL_BITS)
    }

    /// Takes what the wake-up before handed on; what this one hands on.
    pub fn renew(&mut self, carried: &Carried) -> Carried {
        self.stir(carried, EntropySources::CARRIED);
        self.drawn(b"to the next wake-up")
    }

    /// The seed for the woken kernel. The pool is empty afterwards.
    pub fn draw(&mut self) -> KernelSeed {
        let mut seed =
            KernelSeed { bytes: [0; 64], bits: self.bits(), sources: self.sources.bits() };
        let (first, second) = seed.bytes.split_at_mut(32);
        first.copy_from_slice(&self.drawn(b"to the kernel, 1"));
        second.copy_from_slice(&self.drawn(b"to the kernel, 2"));
        *self = Self::new();
        seed
    }

    /// What the pool gives for this purpose: it tells nothing of what it gives
    /// for another.
    fn drawn(&self, purpose: &[u8]) -> [u8; 32] {
        self.hash.clone().chain_update(purpose).finalize().into()
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

/// Which timings follow no pattern: neither they nor their first and second
/// differences are what they were before.
#[derive(Default)]
struct Timings {
    last: u64,
    step: u64,
    change: u64,
    seen: u32,
    unforeseen: u32,
}

impl Timings {
    fn take(&mut self, ticks: u64) {
        let step = ticks.wrapping_sub(self.last);
        let change = step.wrapping_sub(self.step);
        let bend = change.wrapping_sub(self.change);
        // The first three only tell how far the counter has come.
        if self.seen >= 3 && step != 0 && change != 0 && bend != 0 {
            self.unforeseen = self.unforeseen.saturating_add(1);
        }
        self.seen = self.seen.saturating_add(1);
        (self.last, self.step, self.change) = (ticks, step, change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Timings as a generator that everybody knows makes them.
    fn timed(pool: &mut Pool, count: u64) {
        let mut ticks = 0u64;
        for i in 0..count {
            ticks += 1000 + i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 61;
            pool.take_time(ticks);
        }
    }

    #[test]
    fn nothing_is_worth_nothing() {
        let mut pool = Pool::new();
        pool.stir(&[7; 100], EntropySources::CLOCK);
        pool.renew(&[1; 32]);
        let seed = pool.draw();
        assert_eq!(seed.bits, 0);
        let sources = EntropySources::CLOCK | EntropySources::CARRIED;
        assert_eq!(seed.sources, sources.bits());
    }

    #[test]
    fn a_device_that_answers_like_a_clock_is_worth_nothing() {
        for step in [|i: u64| i * 500, |i| i * i, |_| 77] {
            let mut pool = Pool::new();
            (0..10_000).for_each(|i| pool.take_time(step(i)));
            assert_eq!(pool.bits(), 0);
        }
    }

    #[test]
    fn timings_count_for_little_and_the_processor_for_all() {
        let mut pool = Pool::new();
        timed(&mut pool, 640);
        assert!((20..=40).contains(&pool.bits()), "{}", pool.bits());
        pool.take_random(&[1; 16], EntropySources::RDRAND);
        assert!((148..=168).contains(&pool.bits()), "{}", pool.bits());
        pool.take_random(&[2; 64], EntropySources::RDRAND);
        assert_eq!(pool.bits(), FULL_BITS);
    }

    #[test]
    fn two_wake_ups_that_are_alike_in_all_else_differ_by_what_is_handed_on() {
        // Twice the same machine at the same moment.
        let wake_up = |carried: &Carried| {
            let mut pool = Pool::new();
            timed(&mut pool, 100);
            let next = pool.renew(carried);
            (pool.draw().bytes, next)
        };
        let (first, handed_on) = wake_up(&[0; 32]);
        let (second, _) = wake_up(&handed_on);
        assert_ne!(first, second);
        // Neither gives the other away.
        assert_ne!(first[..32], handed_on);
        assert_ne!(first[..32], first[32..]);
    }

    #[test]
    fn a_pool_is_drawn_once() {
        let mut pool = Pool::new();
        pool.take_random(&[9; 64], EntropySources::RDSEED);
        assert_eq!(pool.draw().bits, FULL_BITS);
        assert_eq!(pool.draw().bits, 0);
    }

    proptest! {
        #[test]
        fn no_timings_make_it_panic(ticks in proptest::collection::vec(any::<u64>(), 0..50)) {
            let mut pool = Pool::new();
            ticks.iter().for_each(|ticks| pool.take_time(*ticks));
            prop_assert!(pool.bits() <= FULL_BITS);
        }
    }
}
