//! What the guest's memory is filled with.

use dormouse_guest::protocol::Workload;

/// Where the second disk is mounted in the guest.
pub const SECOND_DISK: &str = "/mnt";

/// How much of what.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Bytes with patterns, of all kinds together.
    pub patterned: u64,
    /// Bytes of memory in which most pages are zero.
    pub sparse: u64,
    /// Every how many pages of the latter one has a pattern.
    pub every: u64,
}

impl Fill {
    /// What fills two fifths of a machine with this much memory (bytes), half
    /// a gigabyte of patterns at most.
    pub fn for_memory(bytes: u64) -> Self {
        Self { patterned: (bytes * 2 / 5).min(512 << 20), sparse: bytes / 16, every: 16 }
    }

    /// A little of everything, for scenarios that are about something else.
    pub fn light() -> Self {
        Self { patterned: 128 << 20, sparse: 32 << 20, every: 16 }
    }

    /// Little to store, but spread over most of a machine with this much
    /// memory (bytes).
    pub fn spread_over(bytes: u64) -> Self {
        Self { patterned: 64 << 20, sparse: bytes / 10 * 7, every: 64 }
    }

    /// The workloads to start, in this order: those that fill first, so that
    /// those that move do not slow them down.
    pub fn workloads(&self) -> Vec<Workload> {
        let share = |percent: u64| (self.patterned * percent / 100).next_multiple_of(4 << 20);
        let directory = || SECOND_DISK.to_owned();
        vec![
            Workload::Huge { bytes: share(20), seed: 0x6875_6765 },
            Workload::Anonymous { bytes: share(30), seed: 0x616e_6f6e },
            Workload::Shared { bytes: share(10), seed: 0x7368_6172 },
            Workload::Tmpfs { bytes: share(20), seed: 0x746d_7066 },
            Workload::PageCache { directory: directory(), bytes: share(20), seed: 0x6361_6368 },
            Workload::Sparse { bytes: self.sparse, every: self.every, seed: 0x7a65_726f },
            Workload::Counter,
            Workload::Pipe,
            Workload::Tcp,
            Workload::Append { directory: directory() },
        ]
    }

    /// The same for guests without the second disk: as much, on tmpfs instead.
    pub fn workloads_in_memory(&self) -> Vec<Workload> {
        let mut cached = 0;
        let mut workloads = self.workloads();
        workloads.retain(|workload| match workload {
            Workload::PageCache { bytes, .. } => {
                cached = *bytes;
                false
            }
            Workload::Append { .. } => false,
            _ => true,
        });
        for workload in &mut workloads {
            if let Workload::Tmpfs { bytes, .. } = workload {
                *bytes += cached;
            }
        }
        workloads
    }
}
