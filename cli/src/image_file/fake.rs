//! Images made by code.

use dormouse_handoff::extents::Extent;
use dormouse_handoff::image::{
    Attempts, CHUNK_PAGES, Chunk, Codec, Header, JumpBack, Kind, Layout, Run, RunKind, Section,
    State, TableEntry, TableRegion, seal_page,
};
use dormouse_handoff::memory_map::{MemoryKind, MemoryRange};
use dormouse_handoff::plan::{self, Action, Plan, Transport};
use dormouse_handoff::units::{Lba, PAGE_SIZE, PageRange, Pfn, PhysAddr};
use std::io::Write;
use tempfile::NamedTempFile;
use zerocopy::IntoBytes;

/// What an image is made of.
#[derive(Clone)]
pub struct Fake {
    pub plan: Plan,
    pub jump_back: JumpBack,
    pub runs: Vec<Run>,
    /// The bytes of the stored runs.
    pub data: Vec<u8>,
    pub kept_page: [u8; PAGE_SIZE as usize],
    pub attempts: u32,
}

impl Fake {
    /// An image of 2048 pages of memory, of which the first 300 are stored.
    pub fn small() -> Self {
        Self::of(&[
            (RunKind::Stored, 300),
            (RunKind::Zero, 212),
            (RunKind::Window, 512),
            (RunKind::Free, 1024),
        ])
    }

    /// An image of memory from address 0 on, whose pages met these fates.
    /// Where there is a window it has to be at 2 MiB.
    pub fn of(fates: &[(RunKind, u64)]) -> Self {
        let mut at = 0;
        let mut runs = Vec::new();
        for (kind, pages) in fates {
            runs.push(Run { start: Pfn(at), pages: *pages as u32, kind: *kind as u32 });
            at += pages;
        }
        let stored = fates.iter().filter(|(kind, _)| *kind == RunKind::Stored);
        let stored: u64 = stored.map(|(_, pages)| pages).sum();
        Self {
            plan: plan(at.max(1024)),
            jump_back: JumpBack { entry: 0x1234, ..JumpBack::default() },
            runs,
            data: (0..stored * PAGE_SIZE).map(|i| (i / PAGE_SIZE * 7 + i) as u8).collect(),
            kept_page: [0x5a; PAGE_SIZE as usize],
            attempts: 1,
        }
    }

    /// The image as it lies on a disk, in the given state.
    pub fn bytes(&self, state: State) -> Vec<u8> {
        let mut plan = self.plan.clone();
        plan.seal();
        let pages: u64 = self.runs.iter().map(|run| u64::from(run.pages)).sum();
        let mut header = Header::begin(plan.nonce, Kind::Once, 512, 1_800_000_000, pages);
        let seed = header.seed();
        let layout = header.layout();
        let mut bytes = vec![0; layout.data.offset as usize + self.data.len()];
        let mut put = |at: u64, what: &[u8]| {
            bytes[at as usize..at as usize + what.len()].copy_from_slice(what);
        };
        for (at, section, what) in [
            (Layout::PLAN, &mut header.plan, plan.as_bytes()),
            (Layout::JUMP_BACK, &mut header.jump_back, self.jump_back.as_bytes()),
            (Layout::KEPT_PAGE, &mut header.kept_page, &self.kept_page),
            (Layout::LOG, &mut header.log, b"plan ok\n".as_slice()),
        ] {
            *section = Section::of(seed, what);
            put(at, what);
        }
        put(Layout::ATTEMPTS, Attempts::new(plan.nonce, self.attempts).as_bytes());
        for run in &self.runs {
            if let Some(kind) = RunKind::from_number(run.kind) {
                *header.counts.of_mut(kind) += u64::from(run.pages);
            }
        }
        put(layout.data.offset, &self.data);
        header.data_length = self.data.len() as u64;
        let length = (CHUNK_PAGES * PAGE_SIZE) as usize;
        let pieces = self.data.chunks(length).enumerate();
        let chunks: Vec<Chunk> = pieces
            .map(|(i, piece)| Chunk {
                offset: (i * length) as u64,
                checksum: seed.of_pages(piece),
                length: piece.len() as u32,
                pages: (piece.len() as u64 / PAGE_SIZE) as u32,
                codec: Codec::Raw as u32,
                reserved: 0,
            })
            .collect();
        put(layout.runs.offset, &table::<Run>(&header, &self.runs));
        header.runs = TableRegion { pages: 1, entries: self.runs.len() as u64 };
        put(layout.chunks.offset, &table::<Chunk>(&header, &chunks));
        header.chunks = TableRegion { pages: 1, entries: chunks.len() as u64 };
        put(0, header.with_state(state).as_bytes());
        bytes
    }

    /// A file with the valid image.
    pub fn file(&self) -> NamedTempFile {
        file(&self.bytes(State::Valid))
    }
}

fn plan(pages: u64) -> Plan {
    let mut plan = Plan::empty();
    plan.nonce = [7; 16];
    plan.action = Action::PowerOff as u32;
    plan.image = Kind::Once as u32;
    plan::set_text(&mut plan.kernel_release, "6.1.192");
    plan.window_start = PhysAddr(2 << 20);
    plan.window_bytes = 2 << 20;
    plan.mailbox = std::array::from_fn(|i| PhysAddr(i as u64 * PAGE_SIZE));
    plan.memory_count = 1;
    let range = PageRange::new(0, pages);
    plan.memory[0] = MemoryRange { range, kind: MemoryKind::Ram as u32, reserved: 0 };
    plan.target.transport = Transport::Nvme as u32;
    plan.target.block_size = 512;
    plan.target.device_blocks = 1 << 20;
    plan.extent_count = 1;
    plan.extents[0] = Extent { start: Lba(0), blocks: 1 << 20 };
    plan
}

fn table<E: TableEntry>(header: &Header, entries: &[E]) -> Vec<u8> {
    let mut page = [0; PAGE_SIZE as usize];
    let bytes = entries.as_bytes();
    page[32..32 + bytes.len()].copy_from_slice(bytes);
    seal_page::<E>(&mut page, header.seed(), 0, entries.len());
    page.to_vec()
}

/// A whole image in the given state.
pub fn image(state: State) -> Vec<u8> {
    Fake::small().bytes(state)
}

/// A file with these bytes.
pub fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}
