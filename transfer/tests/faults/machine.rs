//! A small machine around the real path and the real drivers.

use dormouse_drivers::fakes::{FakeMachine, RAM_START};
use dormouse_drivers::models::{Kind, ModelDisk};
use dormouse_drivers::platform::DmaMemory;
use dormouse_drivers::queue::{
    BlockQueue, Completion, DeviceError, Geometry, Identity, Request, SubmitError,
};
use dormouse_handoff::checksum;
use dormouse_handoff::extents::Extent;
use dormouse_handoff::image::{Counts, JumpBack, State};
use dormouse_handoff::memory_map::MemoryRange;
use dormouse_handoff::plan::{self, CheckedPlan, Plan, Stage};
use dormouse_handoff::units::{Lba, PAGE_SIZE, PageRange, Pfn};
use dormouse_transfer::error::Error;
use dormouse_transfer::image;
use dormouse_transfer::memory::{Buffer, Everything, Memory, PageBytes};
use dormouse_transfer::restore::{self, restore};
use dormouse_transfer::save::{self, Observer, save};
use dormouse_transfer::stream::Stream;
use std::cell::Cell;
use zerocopy::IntoBytes;

/// Frames of RAM that the plan knows.
const PAGES: u64 = 1024;
/// The window's first frame, counted from the first of RAM.
const WINDOW: u64 = 512;
/// Of this many frames one has contents.
const SPARSE: usize = 2;
/// The target begins at this block.
const START: u64 = 64;
/// The target begins at this byte of the disk.
pub const START_BYTE: usize = START as usize * 512;
const BLOCKS: u64 = 2 * START + (PAGES + 768) * 8;
/// The image's data lie in this many short extents, with blocks between them
/// that are not the plan's, so that a chunk is many commands.
const SHORT: u64 = 12;
const SHORT_BLOCKS: u64 = 22 * 8;
const GAP_BLOCKS: u64 = 8;
/// Blocks before the first short extent: the header, the tables, and a little.
const FIRST_BLOCKS: u64 = (1 << 20) / 512 + 8;
/// Longer than anything may take: model time, in microseconds.
const PATIENCE_US: u64 = 600_000_000;
/// More polls than any deadline has milliseconds, many times.
const MOST_POLLS: u32 = 3_000_000;

thread_local! {
    /// Machines live for ever: one for each thread is enough.
    static MACHINE: Cell<Option<&'static FakeMachine>> = const { Cell::new(None) };
}

/// How a trial ended.
pub enum Trial {
    /// As it should.
    Done,
    /// The device was not the one that was meant: nothing was done.
    OtherDevice,
    /// With this error.
    Failed(Error),
}

/// The target: one extent, many short ones, and the rest but for an end.
fn extents() -> impl Iterator<Item = Extent> {
    let first = Extent { start: Lba(START), blocks: FIRST_BLOCKS };
    let short = (0..SHORT).map(|i| Extent {
        start: Lba(START + FIRST_BLOCKS + GAP_BLOCKS + i * (SHORT_BLOCKS + GAP_BLOCKS)),
        blocks: SHORT_BLOCKS,
    });
    let start = START + FIRST_BLOCKS + GAP_BLOCKS + SHORT * (SHORT_BLOCKS + GAP_BLOCKS);
    let last = Extent { start: Lba(start), blocks: BLOCKS - START - start };
    std::iter::once(first).chain(short).chain(std::iter::once(last))
}

/// Whether two disks agree on every block that is not the plan's.
pub fn same_outside_the_target(before: &[u8], after: &[u8]) -> bool {
    let mut from = 0;
    let mut same = |to: u64, next: u64| {
        let outside = from as usize * 512..to as usize * 512;
        from = next;
        before[outside.clone()] == after[outside]
    };
    extents().all(|extent| same(extent.start.0, extent.end().0)) && same(BLOCKS, BLOCKS)
}

/// Contents of a disk on which nothing lies yet; the target's first page is
/// something worth keeping.
pub fn blank_disk() -> Vec<u8> {
    (0..BLOCKS as usize * 8).flat_map(|i| [i as u8 ^ 0xa5; 64]).collect()
}

/// RAM, a clock, PCI.
pub struct Machine {
    machine: &'static FakeMachine,
}

impl Machine {
    /// A machine whose old kernel has something in memory.
    pub fn asleep() -> Self {
        let machine = Self::empty();
        for frame in contents() {
            machine.machine.write(frame.address(), &pattern(frame));
        }
        machine
    }

    /// A machine with nothing in memory.
    pub fn empty() -> Self {
        let machine = MACHINE.get().unwrap_or_else(FakeMachine::new);
        MACHINE.set(Some(machine));
        machine.rewind();
        machine.limit_time(PATIENCE_US);
        assert_eq!(machine.pages(PAGES as usize), RAM_START);
        Self { machine }
    }

    /// A disk in it.
    pub fn disk(&self, kind: Kind, contents: Vec<u8>) -> ModelDisk {
        ModelDisk::new(kind, self.machine, contents)
    }

    /// The plan for its memory and the disk, on which `contents` lie.
    pub fn plan(&self, kind: Kind, disk: &ModelDisk, contents: &[u8]) -> Box<Plan> {
        let device = disk.open().expect("a disk without a fault");
        let first = &contents[START_BYTE..][..4096];
        let mut plan = Box::new(Plan::empty());
        plan.nonce = [0x5a; 16];
        plan.action = 1;
        plan.image = 1;
        plan.attempts = 3;
        plan.window_start = frame(WINDOW).address();
        plan.window_bytes = 2 << 20;
        plan.memory[0] = MemoryRange {
            range: PageRange { start: frame(0), pages: PAGES },
            kind: 1,
            reserved: 0,
        };
        plan.memory_count = 1;
        for (i, page) in plan.mailbox.iter_mut().enumerate() {
            *page = frame(2 + i as u64).address();
        }
        plan.target.transport = kind.transport() as u32;
        plan.target.pci = ModelDisk::ADDRESS;
        plan.target.block_size = 512;
        plan.target.device_blocks = BLOCKS;
        plan::set_text(&mut plan.target.serial, &device.identity().serial);
        plan.target.first_page_checksum = checksum::plain(first);
        plan.target.kept_page.copy_from_slice(first);
        for (place, extent) in plan.extents.iter_mut().zip(extents()) {
            *place = extent;
            plan.extent_count += 1;
        }
        plan.seal();
        plan
    }

    /// What the writer does between the jump and the power-off.
    pub fn hibernate(&self, disk: &ModelDisk, plan: &Plan) -> Trial {
        let plan = CheckedPlan::parse(plan.as_bytes()).expect("our own plan");
        let mut device = match disk.open() {
            Ok(device) => device,
            Err(error) => return Trial::Failed(error.into()),
        };
        if device.identity().serial != plan::text(&plan.target.serial) {
            let _ = device.shutdown();
            return Trial::OtherDevice;
        }
        device.grant(plan.extents().extents());
        let mut device = Watched { device: &mut device, polls: 0 };
        let saved = self.save_to(&mut device, &plan);
        // As in the writer: quiet whatever happened, and after the commit
        // nothing can fail any more.
        let _ = device.shutdown();
        saved.map_or_else(Trial::Failed, |()| Trial::Done)
    }

    fn save_to(&self, device: &mut dyn BlockQueue, plan: &CheckedPlan<'_>) -> Result<(), Error> {
        let buffers = save::Buffers {
            runs: self.buffer(save::TABLE_BUFFER_PAGES),
            chunks: self.buffer(save::TABLE_BUFFER_PAGES),
            scratch: self.buffer(save::SCRATCH_BYTES / 4096),
        };
        let mut stream = Stream::new(device, plan.extents())?;
        let jump_back = JumpBack::default();
        save(
            &mut stream,
            &Ram(self.machine),
            &mut Everything,
            plan,
            &jump_back,
            buffers,
            &mut Quiet,
        )
        .map(|_| ())
    }

    /// What the reader does between finding the image and the jump.
    pub fn wake(&self, disk: &ModelDisk) -> Trial {
        let mut device = match disk.open() {
            Ok(device) => device,
            Err(error) => return Trial::Failed(error.into()),
        };
        let mut scratch = self.buffer(save::SCRATCH_BYTES / 4096);
        let opened = match image::open(&mut device, Lba(START), &mut scratch) {
            Ok(opened) => opened,
            Err(Error::Elsewhere) => return Trial::OtherDevice,
            Err(error) => return Trial::Failed(error),
        };
        let plan = opened.plan().expect("it was checked");
        device.grant(plan.extents().extents());
        let mut device = Watched { device: &mut device, polls: 0 };
        match self.restore_from(&mut device, &opened, &plan, scratch) {
            Ok(()) => {
                // The image is used up: the jump follows whatever this says.
                let _ = device.shutdown();
                Trial::Done
            }
            Err(error) => Trial::Failed(error),
        }
    }

    fn restore_from(
        &self,
        device: &mut dyn BlockQueue,
        opened: &image::Opened,
        plan: &CheckedPlan<'_>,
        mut scratch: Buffer,
    ) -> Result<(), Error> {
        let header = &opened.header;
        let mut stream = Stream::new(device, plan.extents())?;
        image::count_attempt(&mut stream, &mut scratch, header, plan.attempts, |old| *old)?;
        let buffers = restore::Buffers {
            runs: self.buffer(restore::TABLE_BUFFER_PAGES),
            chunks: self.buffer(restore::TABLE_BUFFER_PAGES),
        };
        let mut ram = Ram(self.machine);
        restore(&mut stream, &mut ram, plan, header, plan.window(), buffers, &mut Quiet)?;
        image::read_log(&mut stream, &mut scratch, header);
        image::change_state(&mut stream, &mut scratch, header, State::Consumed).map(|_| ())
    }

    /// Memory holds what the old kernel had in it.
    pub fn assert_memory(&self, case: &str) {
        for frame in contents() {
            let page = self.machine.read(frame.address(), PAGE_SIZE as usize);
            assert!(page == pattern(frame), "{case}: {frame:?} differs");
        }
    }

    /// All of memory, the drivers' own included.
    pub fn all_memory(&self) -> Vec<u8> {
        self.machine.all_memory()
    }

    fn buffer(&self, pages: usize) -> Buffer {
        let (address, bytes) = (self.machine.pages(pages), pages * PAGE_SIZE as usize);
        let pointer = self.machine.pointer(address, bytes);
        // SAFETY: the machine hands each page out once, and lives for ever.
        unsafe { Buffer::new(DmaMemory { pointer, address, bytes }) }
    }
}

fn frame(number: u64) -> Pfn {
    Pfn(RAM_START.0 / PAGE_SIZE + number)
}

/// The frames with contents, none of them in the window.
fn contents() -> impl Iterator<Item = Pfn> {
    (0..PAGES).step_by(SPARSE).filter(|n| !(WINDOW..WINDOW + 512).contains(n)).map(frame)
}

fn pattern(frame: Pfn) -> [u8; 4096] {
    let mut page = [0; 4096];
    page[..8].copy_from_slice(&frame.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    page[4088..].copy_from_slice(&frame.0.to_le_bytes());
    page
}

struct Ram(&'static FakeMachine);

impl Memory for Ram {
    fn page(&self, frame: Pfn) -> &PageBytes {
        let page = self.0.pointer(frame.address(), PAGE_SIZE as usize).cast();
        // SAFETY: in bounds; the device writes only between calls of the path.
        unsafe { page.as_ref() }
    }

    fn clear(&mut self, frame: Pfn) {
        self.0.write(frame.address(), &[0; PAGE_SIZE as usize]);
    }

    fn scribble(&mut self, frame: Pfn) {
        self.0.write(frame.address(), &[plan::SCRIBBLE; PAGE_SIZE as usize]);
    }
}

/// Fails the test that polls for ever.
struct Watched<'a> {
    device: &'a mut dyn BlockQueue,
    polls: u32,
}

impl BlockQueue for Watched<'_> {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn identity(&self) -> &Identity {
        self.device.identity()
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), SubmitError> {
        self.device.submit(request)
    }

    fn ring(&mut self) {
        self.device.ring();
    }

    fn poll(&mut self) -> Result<Option<Completion>, DeviceError> {
        self.polls += 1;
        assert!(self.polls < MOST_POLLS, "something is polled for ever");
        self.device.poll()
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.device.flush()
    }

    fn shutdown(&mut self) -> Result<(), DeviceError> {
        self.device.shutdown()
    }
}

struct Quiet;

impl Observer for Quiet {
    fn stage(&mut self, _: Stage) -> Result<(), Error> {
        Ok(())
    }

    fn progress(&mut self, _: &Counts, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn now_us(&self) -> u64 {
        0
    }

    fn log(&self) -> &[u8] {
        b"the writer's log"
    }
}
