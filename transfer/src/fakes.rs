//! A machine for the host tests: RAM and a disk as arrays.

use crate::error::Error;
use crate::memory::{Buffer, Memory, PageBytes};
use crate::save::Observer;
use alloc::collections::VecDeque;
use core::ptr::NonNull;
use dormouse_drivers::platform::DmaMemory;
use dormouse_drivers::queue::{
    BlockQueue, Cause, Completion, DeviceError, Direction, Geometry, Identity, Request, SubmitError,
};
use dormouse_handoff::image::Counts;
use dormouse_handoff::plan::{Plan, SCRIBBLE, Stage};
use dormouse_handoff::units::{Pfn, PhysAddr};
use std::cell::UnsafeCell;
use std::sync::Arc;

/// Physical memory: frames from 0, the last of which serve as buffers.
pub struct Ram {
    bytes: UnsafeCell<Vec<u8>>,
}

/// A handle on [`Ram`], as the path and the device both have one.
#[derive(Clone)]
pub struct SharedRam(Arc<Ram>);

impl SharedRam {
    pub fn new(pages: usize) -> Self {
        #[allow(clippy::arc_with_non_send_sync)]
        Self(Arc::new(Ram { bytes: UnsafeCell::new(vec![0; pages * 4096]) }))
    }

    fn at(&self, address: PhysAddr, bytes: usize) -> *mut u8 {
        // SAFETY: one thread; bounds are checked below.
        let all = unsafe { &mut *self.0.bytes.get() };
        assert!(address.0 as usize + bytes <= all.len(), "outside RAM: {address}");
        // SAFETY: in bounds.
        unsafe { all.as_mut_ptr().add(address.0 as usize) }
    }

    pub fn read(&self, address: PhysAddr, into: &mut [u8]) {
        // SAFETY: in bounds, and `into` is not part of RAM.
        unsafe { self.at(address, into.len()).copy_to(into.as_mut_ptr(), into.len()) }
    }

    pub fn write(&self, address: PhysAddr, from: &[u8]) {
        // SAFETY: in bounds, and `from` is not part of RAM.
        unsafe { self.at(address, from.len()).copy_from(from.as_ptr(), from.len()) }
    }

    pub fn buffer(&self, frame: u64, pages: usize) -> Buffer {
        let pointer = NonNull::new(self.at(Pfn(frame).address(), pages * 4096)).unwrap();
        // SAFETY: the test gives these frames to nobody else.
        unsafe {
            Buffer::new(DmaMemory { pointer, address: Pfn(frame).address(), bytes: pages * 4096 })
        }
    }
}

impl Memory for SharedRam {
    fn page(&self, frame: Pfn) -> &PageBytes {
        // SAFETY: in bounds; the device only writes between calls.
        unsafe { &*self.at(frame.address(), 4096).cast() }
    }

    fn clear(&mut self, frame: Pfn) {
        self.write(frame.address(), &[0; 4096]);
    }

    fn scribble(&mut self, frame: Pfn) {
        self.write(frame.address(), &[SCRIBBLE; 4096]);
    }
}

/// What the disk was told, in order: the raw material of power cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Write { lba: u64, bytes: Vec<u8> },
    Flush,
}

/// A disk of 512-byte blocks that completes requests in reverse order.
pub struct Disk {
    pub bytes: Vec<u8>,
    pub events: Vec<Event>,
    pub geometry: Geometry,
    /// Fails the request with this number, counted from 0.
    pub fail_at: Option<usize>,
    pub requests: usize,
    identity: Identity,
    ram: SharedRam,
    queued: Vec<(u32, bool)>,
    done: VecDeque<Completion>,
}

pub const SERIAL: &str = "FAKE-1";

impl Disk {
    pub fn new(ram: &SharedRam, blocks: u64) -> Self {
        Self::with_contents(ram, vec![0; blocks as usize * 512])
    }

    pub fn with_contents(ram: &SharedRam, bytes: Vec<u8>) -> Self {
        Self {
            geometry: Geometry {
                block_size: 512,
                blocks: bytes.len() as u64 / 512,
                max_bytes: 128 << 10,
                max_segments: 7,
                depth: 5,
                write_cache: true,
                can_flush: true,
            },
            bytes,
            events: Vec::new(),
            fail_at: None,
            requests: 0,
            identity: Identity { model: "fake".into(), serial: SERIAL.into() },
            ram: ram.clone(),
            queued: Vec::new(),
            done: VecDeque::new(),
        }
    }
}

impl BlockQueue for Disk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), SubmitError> {
        if self.queued.len() + self.done.len() == self.geometry.depth as usize {
            return Err(SubmitError::Full);
        }
        assert!(request.segments.len() <= self.geometry.max_segments as usize);
        assert!(request.bytes() <= u64::from(self.geometry.max_bytes));
        let fails = self.fail_at == Some(self.requests);
        self.requests += 1;
        if !fails {
            let mut at = request.lba.0 as usize * 512;
            if request.direction == Direction::Write {
                let mut bytes = vec![0; request.bytes() as usize];
                let mut from = 0;
                for segment in request.segments {
                    let to = from + segment.bytes as usize;
                    self.ram.read(segment.address, &mut bytes[from..to]);
                    from = to;
                }
                self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
                self.events.push(Event::Write { lba: request.lba.0, bytes });
            } else {
                for segment in request.segments {
                    let end = at + segment.bytes as usize;
                    self.ram.write(segment.address, &self.bytes[at..end]);
                    at = end;
                }
            }
        }
        self.queued.push((request.tag, fails));
        Ok(())
    }

    fn ring(&mut self) {
        while let Some((tag, fails)) = self.queued.pop() {
            let result = if fails {
                Err(DeviceError {
                    device: "fake".into(),
                    operation: "request",
                    lba: None,
                    cause: Cause::Status("told to fail".into()),
                })
            } else {
                Ok(())
            };
            self.done.push_back(Completion { tag, result });
        }
    }

    fn poll(&mut self) -> Result<Option<Completion>, DeviceError> {
        Ok(self.done.pop_front())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        assert!(self.queued.is_empty() && self.done.is_empty(), "flush with requests in flight");
        self.events.push(Event::Flush);
        Ok(())
    }

    fn shutdown(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// An observer that records the stages.
#[derive(Default)]
pub struct Recorder {
    pub stages: Vec<Stage>,
    pub fail_at: Option<Stage>,
}

impl Observer for Recorder {
    fn stage(&mut self, stage: Stage) -> Result<(), Error> {
        self.stages.push(stage);
        if self.fail_at == Some(stage) {
            return Err(Error::Inconsistent("told to fail"));
        }
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

/// A plan for a machine of `pages` pages with a 2 MiB window at `window`,
/// whose target is the disk from block `start` on.
pub fn plan(pages: u64, window: u64, start: u64, disk: &Disk) -> Box<Plan> {
    use dormouse_handoff::extents::Extent;
    use dormouse_handoff::memory_map::MemoryRange;
    use dormouse_handoff::units::{Lba, PageRange};
    let mut plan = Box::new(Plan::empty());
    plan.nonce = [0x5a; 16];
    plan.action = 1;
    plan.image = 1;
    plan.attempts = 3;
    plan.window_start = Pfn(window).address();
    plan.window_bytes = 2 << 20;
    plan.memory[0] = MemoryRange { range: PageRange::new(1, 157), kind: 1, reserved: 0 };
    plan.memory[1] = MemoryRange { range: PageRange::new(256, pages - 256), kind: 1, reserved: 0 };
    plan.memory_count = 2;
    for (i, page) in plan.mailbox.iter_mut().enumerate() {
        *page = Pfn(2 + i as u64).address();
    }
    plan.target.transport = 1;
    plan.target.block_size = 512;
    plan.target.device_blocks = disk.geometry.blocks;
    dormouse_handoff::plan::set_text(&mut plan.target.serial, SERIAL);
    let first = &disk.bytes[start as usize * 512..][..4096];
    plan.target.first_page_checksum = dormouse_handoff::checksum::plain(first);
    plan.target.kept_page.copy_from_slice(first);
    plan.extents[0] = Extent { start: Lba(start), blocks: (disk.geometry.blocks - start) / 8 * 8 };
    plan.extent_count = 1;
    plan.seal();
    plan
}
