//! The bodies without a fuzzer: over their seeds, over seeds that were changed
//! at random, and over noise; the same cases every time.

use dormouse_attacks::{Attack, record};
use dormouse_fuzz_bodies::{TARGETS, target};
use std::panic::catch_unwind;

/// Cases for each target beside its seeds.
const CASES: u64 = 1500;

/// Numbers that look random and are the same every time (xorshift, Marsaglia
/// 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    /// A seed with a few changes, or noise.
    fn case(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut case = seeds[self.below(seeds.len())].clone();
        if self.below(10) == 0 {
            case = (0..self.below(600)).map(|_| self.below(256) as u8).collect();
        }
        for _ in 0..=self.below(8) {
            let at = self.below(case.len());
            match self.below(6) {
                0 if !case.is_empty() => case[at] ^= 1 << self.below(8),
                1 if !case.is_empty() => case[at] = self.below(256) as u8,
                2 if !case.is_empty() => case[at] = [0, 0xff, 0x7f, 0x80][self.below(4)],
                3 => case.truncate(at),
                4 => case.insert(at.min(case.len()), self.below(256) as u8),
                _ => {
                    let end = (at + self.below(16)).min(case.len());
                    let copy = case[at.min(end)..end].to_vec();
                    case.extend(copy);
                }
            }
        }
        case
    }
}

#[test]
fn no_body_breaks_on_seeds_changed_seeds_and_noise() {
    let mut all = 0;
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty());
        let mut numbers = Numbers(0x646f_726d_6f75_7365);
        let changed = (0..CASES).map(|_| numbers.case(&seeds)).collect::<Vec<_>>();
        for case in seeds.iter().chain(&changed) {
            if catch_unwind(|| (target.run)(case)).is_err() {
                panic!("{}: breaks on {:02x?}", target.name, case);
            }
            all += 1;
        }
    }
    record(Attack {
        promise: 8,
        attack: "every parser and driver gets seeds, changed seeds and noise".into(),
        cases: all,
        command: "cargo test -p dormouse-fuzz-bodies".into(),
    });
}

#[test]
fn each_body_has_its_target_for_the_fuzzer() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz_targets");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect(folder)
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let mut expected: Vec<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    expected.sort();
    assert_eq!(names, expected);
    assert!(names.iter().all(|name| target(name).is_some()));
}
