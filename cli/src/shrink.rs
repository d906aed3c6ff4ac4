//! Making the image smaller: having Linux give up, before the machine sleeps,
//! what it can read from its disks again.
//!
//! Dropping caches takes all that is not dirty, at once and without looking at
//! what is in use. Shrinking to a size asks for memory until Linux has given up
//! so much of its own choice, which is what it used least recently, and gives
//! the memory back: what was given up is free then, and stays out of the image.

use crate::error::{Error, Result};
use crate::system::System;
use dormouse_handoff::units::PAGE_SIZE;

/// Where caches are dropped (Linux Documentation/admin-guide/sysctl/vm.rst).
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Page cache, and what the kernel keeps of file systems' structures.
const ALL_CACHES: &str = "3";

/// Written to, it has every processor do at once what else it does once a second:
/// bring its counters up to date and, from Linux 6.7 on, give back some of the
/// free pages that it keeps (`decay_pcp_high` in mm/page_alloc.c).
const STAT_REFRESH: &str = "/proc/sys/vm/stat_refresh";

/// How often they are asked to: each time the most that they keep becomes an
/// eighth less, at best.
const REFRESHES: usize = 32;

const MEMINFO: &str = "/proc/meminfo";

/// Memory is asked for in pieces of this, so that it is seen in time when it
/// runs out: 16 MiB.
const PIECE: u64 = 16 << 20;

/// What is left to others however small the image shall be: a 32nd of memory.
const RESERVE: u64 = 32;

/// How often Linux is asked for more; what it says it has is an estimate.
const ROUNDS: usize = 4;

/// Drops all caches that are not dirty.
///
/// # Errors
/// [`Error::Io`].
pub fn drop_caches(system: &System) -> Result<()> {
    rustix::fs::sync();
    let path = system.path(DROP_CACHES);
    std::fs::write(&path, ALL_CACHES).map_err(|source| Error::Io { doing: "write", path, source })
}

/// Has Linux give up what it can until at most `wanted` bytes are in use; how
/// many are in the end.
///
/// # Errors
/// [`Error::Io`].
pub fn shrink_to(system: &System, wanted: u64) -> Result<u64> {
    rustix::fs::sync();
    for _ in 0..ROUNDS {
        let Some(bytes) = Memory::now(system)?.to_ask_for(wanted) else { break };
        ask_for(system, bytes)?;
    }
    Ok(Memory::now(system)?.in_use())
}

/// Has every processor give back free pages that it keeps on a list of its own.
///
/// The writer cannot tell those from pages in use, and stores them. Since Linux
/// 6.7, after much was taken and given back, they are up to an eighth of memory.
/// Where the kernel cannot be asked the image is larger, and that is all.
pub fn empty_lists_of_processors(system: &System) {
    let path = system.path(STAT_REFRESH);
    for _ in 0..REFRESHES {
        if std::fs::write(&path, "1").is_err() {
            break;
        }
    }
}

/// About how many pages are in use now; 0 where Linux does not tell.
pub fn pages_in_use(system: &System) -> u32 {
    let in_use = Memory::now(system).map_or(0, Memory::in_use);
    u32::try_from(in_use / PAGE_SIZE).unwrap_or(0)
}

/// Takes memory, and gives it back.
fn ask_for(system: &System, bytes: u64) -> Result<()> {
    let mut pieces = Vec::new();
    for _ in 0..bytes / PIECE {
        if !Memory::now(system)?.can_spare(PIECE) {
            break;
        }
        let mut piece: Vec<u8> = Vec::new();
        if piece.try_reserve_exact(PIECE as usize).is_err() {
            break;
        }
        // Written to, so that it is there.
        piece.resize(PIECE as usize, 1);
        pieces.push(std::hint::black_box(piece));
    }
    Ok(())
}

/// What `/proc/meminfo` says, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    total: u64,
    free: u64,
    /// Free, or given up when somebody asks for it.
    available: u64,
}

impl Memory {
    fn now(system: &System) -> Result<Self> {
        let text = system.text(MEMINFO)?;
        let unreadable = || Error::read(MEMINFO, std::io::ErrorKind::InvalidData.into());
        Self::parse(&text).ok_or_else(unreadable)
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Self {
            total: field("MemTotal")?,
            free: field("MemFree")?,
            available: field("MemAvailable")?,
        })
    }

    fn in_use(self) -> u64 {
        self.total.saturating_sub(self.free)
    }

    fn can_spare(self, bytes: u64) -> bool {
        self.available >= bytes.saturating_add(self.total / RESERVE)
    }

    /// How much to ask for, in whole pieces, so that `wanted` bytes stay in use;
    /// `None` where that is so, or where Linux has nothing to give up.
    fn to_ask_for(self, wanted: u64) -> Option<u64> {
        let excess = self.in_use().saturating_sub(wanted);
        let spare = self.available.saturating_sub(self.total / RESERVE);
        let bytes = self.free.saturating_add(excess).min(spare) / PIECE * PIECE;
        (excess > 0 && bytes > self.free).then_some(bytes)
    }
}

/// A number of bytes, with K, M or G for powers of 1024.
pub fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "not a number of bytes, such as 800M or 2G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn memory(total: u64, free: u64, available: u64) -> Memory {
        Memory { total: total * MIB, free: free * MIB, available: available * MIB }
    }

    #[test]
    fn what_linux_says_is_read() {
        let text = "MemTotal:        1013732 kB\nMemFree:          402420 kB\n\
                    MemAvailable:     726564 kB\nBuffers:           11696 kB\n";
        let found = Memory::parse(text).unwrap();
        let expected = [1_013_732, 402_420, 726_564].map(|kib| kib * 1024);
        assert_eq!([found.total, found.free, found.available], expected);
        assert_eq!(Memory::parse("MemTotal: 12 kB\n"), None);
    }

    #[test]
    fn only_what_can_be_given_up_is_asked_for() {
        assert_eq!(memory(1024, 400, 800).to_ask_for(700 * MIB), None, "small enough");
        assert_eq!(memory(1024, 400, 800).to_ask_for(500 * MIB), Some(512 * MIB));
        assert_eq!(memory(1024, 400, 800).to_ask_for(0), Some(768 * MIB));
        assert_eq!(memory(1024, 400, 420).to_ask_for(0), None, "nothing to give up");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("800M"), Ok(800 * MIB));
        assert_eq!(parse_bytes("2G"), Ok(2048 * MIB));
        for wrong in ["", "M", "12 M", "-1", "1.5G", "99999999999G", "1µ"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn processors_are_asked_for_what_they_keep() {
        let root = tempfile::tempdir().unwrap();
        let system = System::below(root.path());
        // A kernel without the file is no failure.
        empty_lists_of_processors(&system);
        let asked = system.path(STAT_REFRESH);
        std::fs::create_dir_all(asked.parent().unwrap()).unwrap();
        std::fs::write(&asked, "").unwrap();
        empty_lists_of_processors(&system);
        assert_eq!(std::fs::read_to_string(asked).unwrap(), "1");
    }

    proptest! {
        #[test]
        fn others_keep_their_share(total: u64, free: u64, available: u64, wanted: u64) {
            let memory = Memory { total, free, available };
            if let Some(bytes) = memory.to_ask_for(wanted) {
                prop_assert!(bytes.is_multiple_of(PIECE));
                prop_assert!(bytes + total / RESERVE <= available);
            }
        }
    }
}
