//! Anonymous memory: small pages, zero pages, huge pages.

use super::Living;
use crate::error::Error;
use crate::mapping::Mapping;
use crate::pattern;
use rustix::mm::{Advice, MapFlags};

const PAGE_WORDS: usize = 4096 / 8;
const LARGE_PAGE: u64 = 2 << 20;

/// Memory in which every n-th page has a pattern and the others are zero.
pub struct Filled {
    mapping: Mapping,
    every: usize,
    seed: u64,
    place: &'static str,
}

/// `bytes` of patterns in small pages.
pub fn small_pages(bytes: u64, seed: u64) -> Result<Filled, Error> {
    let mapping = Mapping::anonymous(bytes as usize, MapFlags::empty())?;
    mapping.advise(Advice::LinuxNoHugepage)?;
    Ok(Filled::new(mapping, 1, seed, "anonymous memory"))
}

/// `bytes` of memory, each page touched, but only every n-th with a pattern.
pub fn sparse(bytes: u64, every: u64, seed: u64) -> Result<Filled, Error> {
    let mapping = Mapping::anonymous(bytes as usize, MapFlags::POPULATE)?;
    Ok(Filled::new(mapping, every.max(1) as usize, seed, "sparse memory"))
}

impl Filled {
    fn new(mut mapping: Mapping, every: usize, seed: u64, place: &'static str) -> Self {
        for (index, page) in mapping.words_mut().chunks_mut(PAGE_WORDS).enumerate() {
            if index.is_multiple_of(every) {
                pattern::fill(page, seed, (index * PAGE_WORDS) as u64);
            }
        }
        Self { mapping, every, seed, place }
    }
}

impl Living for Filled {
    fn check(&mut self) -> Result<String, Error> {
        let pages = self.mapping.words().chunks(PAGE_WORDS);
        let mut patterned = 0u64;
        let mut zero = 0u64;
        for (index, page) in pages.enumerate() {
            let first = (index * PAGE_WORDS) as u64;
            if index.is_multiple_of(self.every) {
                pattern::check(page, self.seed, first, self.place)?;
                patterned += 1;
            } else if let Some(at) = page.iter().position(|word| *word != 0) {
                return Err(Error::Damaged { place: self.place, at: (first + at as u64) * 8 });
            } else {
                zero += 1;
            }
        }
        Ok(format!("{patterned} pages with patterns, {zero} of zeros"))
    }
}

/// Transparent huge pages, and hugetlbfs pages as far as there are any.
pub struct HugePages {
    transparent: Filled,
    reserved: Option<Filled>,
    reserved_pages: u64,
}

impl HugePages {
    /// `bytes` of the former, an eighth as much of the latter.
    pub fn new(bytes: u64, seed: u64) -> Result<Self, Error> {
        let transparent = Mapping::anonymous(bytes as usize, MapFlags::empty())?;
        transparent.advise(Advice::LinuxHugepage)?;
        let reserved_pages = reserve(bytes / 8 / LARGE_PAGE)?;
        let reserved = match reserved_pages {
            0 => None,
            n => {
                let mapping = Mapping::anonymous((n * LARGE_PAGE) as usize, MapFlags::HUGETLB)?;
                Some(Filled::new(mapping, 1, !seed, "hugetlb pages"))
            }
        };
        let transparent = Filled::new(transparent, 1, seed, "transparent huge pages");
        Ok(Self { transparent, reserved, reserved_pages })
    }
}

/// Asks the kernel for huge pages; it gives what it has.
fn reserve(pages: u64) -> Result<u64, Error> {
    const KNOB: &str = "/proc/sys/vm/nr_hugepages";
    if !std::path::Path::new(KNOB).exists() {
        return Ok(0);
    }
    std::fs::write(KNOB, pages.to_string()).map_err(Error::refused(KNOB))?;
    let text = std::fs::read_to_string(KNOB).map_err(Error::refused(KNOB))?;
    text.trim().parse().map_err(|_| Error::Lost(format!("{KNOB} reads {text:?}")))
}

impl Living for HugePages {
    fn check(&mut self) -> Result<String, Error> {
        self.transparent.check()?;
        if let Some(reserved) = &mut self.reserved {
            reserved.check()?;
        }
        let kib = transparent_huge_kib()?;
        Ok(format!("{} transparent, {} reserved large pages", kib / 2048, self.reserved_pages))
    }
}

/// How much of this process lies in transparent huge pages.
fn transparent_huge_kib() -> Result<u64, Error> {
    const FILE: &str = "/proc/self/smaps_rollup";
    let text = std::fs::read_to_string(FILE).map_err(Error::refused(FILE))?;
    let line = text.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    let number = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| Error::Lost(format!("{FILE} has no AnonHugePages")))
}
