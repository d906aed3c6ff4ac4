//! A disk on a port, at work.

use super::ata::{AtaCommand, MOST_BLOCKS};
use super::commands::{CommandMemory, MOST_PIECES};
use super::controller::Controller;
use super::flight::{Ended, Flight};
use super::identify::DiskFacts;
use super::port::Port;
use super::quirks::Quirks;
use super::spec::{Fault, ScatterEntry};
use crate::health::Health;
use crate::in_flight::Record;
use crate::pci::Endpoint;
use crate::place::Place;
use crate::platform::Platform;
use crate::queue::{
    BlockQueue, Cause, Completion, DeviceError, Geometry, Identity, Request, Segment, SubmitError,
};
use crate::registers::Registers;
use crate::scatter::pieces;
use alloc::format;

/// Bytes in a request: as many pages as a scatter list has room for.
const MOST_BYTES: u32 = 1 << 20;
/// Where memory ends for a controller with 32-bit addresses.
const LOW_MEMORY_END: u64 = 1 << 32;

const _: () = {
    assert!(MOST_BYTES as usize <= MOST_PIECES * 4096);
    assert!(MOST_BYTES <= ScatterEntry::MOST_BYTES);
    assert!(MOST_BYTES / 512 <= MOST_BLOCKS);
};

/// An ATA disk that is set up.
pub struct Disk<R: Registers> {
    platform: &'static dyn Platform,
    place: Place,
    endpoint: Endpoint,
    port: Port<R>,
    memory: CommandMemory,
    flight: Flight,
    health: Health,
    geometry: Geometry,
    identity: Identity,
    /// Whether requests are queued in the disk (NCQ).
    queued: bool,
    /// Whether a command of the driver's own is under way, alone; such are not
    /// queued in the disk.
    alone: bool,
    /// Whether the controller reaches memory above 4 GiB.
    wide: bool,
    /// Whether something was written since the last flush.
    unflushed: bool,
    /// Whether something was written since the start.
    written: bool,
}

impl<R: Registers> Disk<R> {
    /// Makes the disk on port `number` ready.
    pub fn start(
        platform: &'static dyn Platform,
        place: Place,
        endpoint: Endpoint,
        controller: Controller<R>,
        number: u32,
    ) -> Result<Self, DeviceError> {
        let error = |cause| place.error("start", cause);
        let quirks = Quirks::of(endpoint.function());
        let capabilities = quirks.believe(controller.capabilities());
        let port = controller
            .into_port(number)
            .ok_or_else(|| error(Cause::Unsupported("the controller has no such port")))?;
        let memory = CommandMemory::new(platform, capabilities.command_slots())
            .map_err(|_| error(Cause::Exhausted))?;
        if !capabilities.wide() && !memory.is_low() {
            return Err(error(Cause::Unsupported(
                "a controller with 32-bit addresses, and the window is above 4 GiB",
            )));
        }
        // From here on a drop stops the port.
        let mut disk = Self {
            platform,
            endpoint,
            port,
            memory,
            flight: Flight::new(1),
            health: Health::Live,
            geometry: Geometry {
                block_size: 512,
                blocks: 0,
                max_bytes: MOST_BYTES.min(quirks.max_bytes),
                max_segments: MOST_PIECES as u32,
                depth: 1,
                write_cache: false,
                can_flush: false,
            },
            identity: Identity::default(),
            queued: false,
            alone: false,
            wide: capabilities.wide(),
            unflushed: false,
            written: false,
            place,
        };
        disk.attach()?;
        let facts = disk.identify()?;

        let queue_depth = facts.queue_depth.filter(|_| capabilities.queues());
        let slots = capabilities.command_slots().min(queue_depth.unwrap_or(u32::MAX));
        disk.queued = queue_depth.is_some();
        disk.flight = Flight::new(slots);
        disk.geometry = Geometry {
            block_size: facts.block_size,
            blocks: facts.blocks,
            depth: slots,
            write_cache: facts.write_cache,
            can_flush: facts.can_flush,
            ..disk.geometry
        };
        disk.identity = facts.identity;
        Ok(disk)
    }

    fn attach(&mut self) -> Result<(), DeviceError> {
        self.endpoint.start_dma();
        let (list, received) = (self.memory.list(), self.memory.received());
        match self.port.attach(self.platform, list, received) {
            Ok(true) => {
                self.port.start();
                Ok(())
            }
            Ok(false) => {
                Err(self.place.error("start", Cause::Unsupported("what is there is no disk")))
            }
            Err(cause) => Err(self.place.error("start", cause)),
        }
    }

    fn identify(&mut self) -> Result<DiskFacts, DeviceError> {
        let room = self.memory.answer_room();
        self.execute(AtaCommand::Identify, Some(room))?;
        DiskFacts::parse(&self.memory.answer()).map_err(|cause| self.place.error("identify", cause))
    }

    /// Runs a command of the driver's own to its end, with nothing else in
    /// flight.
    fn execute(&mut self, command: AtaCommand, data: Option<Segment>) -> Result<(), DeviceError> {
        self.health.check(&self.place, command.name())?;
        let record = record(command, 0);
        if !self.flight.records().is_idle() {
            let cause = Cause::Unsupported("a command while requests are in flight");
            return Err(record.error(&self.place, cause));
        }
        self.begin(command, record, data.into_iter())
            .ok_or_else(|| record.error(&self.place, Cause::Exhausted))?;
        self.alone = true;
        self.ring();
        let done = self.wait();
        self.alone = false;
        done
    }

    /// Waits for the one command under way.
    fn wait(&mut self) -> Result<(), DeviceError> {
        loop {
            match self.reap()? {
                Some(Ended { failure: None, .. }) => return Ok(()),
                Some(Ended { record, failure: Some(cause) }) => {
                    return Err(record.error(&self.place, cause));
                }
                None => core::hint::spin_loop(),
            }
        }
    }

    /// Puts a command into a free slot; `None` if there is none.
    fn begin(
        &mut self,
        command: AtaCommand,
        record: Record,
        pieces: impl Iterator<Item = Segment>,
    ) -> Option<()> {
        let slot = self.flight.take(record, self.platform.now_us())?;
        self.memory.build(slot, command, pieces);
        Some(())
    }

    /// The next command that has come to its end. An error is the end of the
    /// device.
    fn reap(&mut self) -> Result<Option<Ended>, DeviceError> {
        if let Some(ended) = self.flight.next_ended() {
            return Ok(Some(ended));
        }
        if self.flight.issued() != 0 {
            self.ask()?;
            // After a fault the next one goes when the last one has ended.
            self.issue();
        }
        Ok(self.flight.next_ended())
    }

    /// Asks the port what has ended, and what went wrong.
    fn ask(&mut self) -> Result<(), DeviceError> {
        let queued = self.queues_now();
        let before = self.flight.issued();
        let left = self.port.outstanding(queued);
        let faults = self.port.faults();
        if faults.is_empty() {
            self.flight.settle(left);
        } else {
            // The disk itself answers for queued commands. For others the slot
            // is all there is, and QEMU up to 8.0 gives that of a failed
            // command back as if it were done.
            if queued {
                self.flight.settle(left);
            }
            return self.recover(faults);
        }
        if self.flight.issued() == before { self.look() } else { Ok(()) }
    }

    fn recover(&mut self, faults: Fault) -> Result<(), DeviceError> {
        let task_file = self.port.task_file();
        let cause = Cause::Status(if faults.contains(Fault::TASK_FILE) {
            task_file.words()
        } else if faults.intersects(Fault::BUS_FATAL | Fault::BUS_DATA) {
            format!("the controller could not reach memory (PxIS {:#010x})", faults.bits())
        } else {
            format!("the link failed (PxIS {:#010x})", faults.bits())
        });
        self.flight.fault(cause);
        // A reset of the link brings the disk's own settings back, the write cache
        // that somebody had switched off among them (ATA/ATAPI-8 ACS,
        // SET FEATURES).
        self.geometry.write_cache |= self.geometry.can_flush;
        self.port.recover(self.platform).map_err(|cause| {
            let error = self.place.error("recover from an error", cause);
            self.health.fail(error)
        })
    }

    /// Makes sure that a disk with nothing to say is still there, and not late.
    fn look(&mut self) -> Result<(), DeviceError> {
        let now = self.platform.now_us();
        if !self.flight.records().is_look_due(now) {
            return Ok(());
        }
        if let Err(cause) = self.port.check_link() {
            return Err(self.health.fail(self.place.error("poll", cause)));
        }
        let issued = self.flight.issued();
        match self.flight.records().overdue(now) {
            // A machine that stood still meanwhile does not make a disk late.
            // Bits of slots that were never issued mean nothing.
            Some(late) if self.port.outstanding(self.queues_now()) & issued == issued => {
                let cause = Cause::Timeout(late.limit_ms);
                Err(self.health.fail(late.error(&self.place, cause)))
            }
            _ => Ok(()),
        }
    }

    fn issue(&mut self) {
        let slots = self.flight.issue(self.platform.now_us());
        if slots != 0 {
            self.port.issue(slots, self.queues_now());
        }
    }

    fn queues_now(&self) -> bool {
        self.queued && !self.alone
    }

    /// Stops the port and takes memory away from the controller, whatever
    /// state they are in. What was under way is not done any more, not even
    /// when its memory is somebody else's again.
    fn stop(&mut self) -> Result<(), DeviceError> {
        if matches!(self.health, Health::Stopped) {
            return Ok(());
        }
        let idle = matches!(self.health, Health::Live) && self.flight.records().is_idle();
        let still = idle && self.port.stop(self.platform).is_ok() && self.port.is_still();
        let stopped = if still { Ok(()) } else { self.port.abandon(self.platform) };
        self.endpoint.stop_dma();
        self.health = Health::Stopped;
        stopped.map_err(|cause| self.place.error("stop", cause))
    }

    /// Leaves the disk's cache empty and its heads parked.
    fn put_to_rest(&mut self) -> Result<(), DeviceError> {
        if self.unflushed {
            self.flush()?;
        }
        if let Err(error) = self.execute(AtaCommand::Standby, None) {
            // A disk that does not know standby needs none.
            log::debug!("{error}");
        }
        Ok(())
    }
}

impl<R: Registers> BlockQueue for Disk<R> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), SubmitError> {
        self.health.check(&self.place, request.operation()).map_err(SubmitError::Device)?;
        let blocks = request.check(&self.geometry)?;
        let end = |s: &Segment| s.address.0.saturating_add(s.bytes.into());
        if !self.wide && request.segments.iter().any(|s| end(s) > LOW_MEMORY_END) {
            let cause = Cause::Unsupported("a controller with 32-bit addresses, and more memory");
            let error = self.place.error_at(request.operation(), request.lba, cause);
            return Err(SubmitError::Device(error));
        }
        let command = match self.queued {
            true => AtaCommand::MoveQueued(request.direction, request.lba, blocks),
            false => AtaCommand::Move(request.direction, request.lba, blocks),
        };
        let data = pieces(request.segments, ScatterEntry::MOST_BYTES);
        self.begin(command, record(command, request.tag), data).ok_or(SubmitError::Full)?;
        self.unflushed |= command.writes();
        self.written |= command.writes();
        Ok(())
    }

    fn ring(&mut self) {
        self.flight.ring();
        if matches!(self.health, Health::Live) {
            self.issue();
        }
    }

    fn poll(&mut self) -> Result<Option<Completion>, DeviceError> {
        self.health.check(&self.place, "poll")?;
        let Some(Ended { record, failure }) = self.reap()? else {
            return Ok(None);
        };
        let result = failure.map_or(Ok(()), |cause| Err(record.error(&self.place, cause)));
        Ok(Some(Completion { tag: record.tag, result }))
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.health.check(&self.place, "flush")?;
        if !self.geometry.write_cache {
            return Ok(());
        }
        if !self.geometry.can_flush {
            let cause = Cause::Unsupported("a volatile write cache without a way to flush it");
            return Err(self.place.error("flush", cause));
        }
        self.execute(AtaCommand::Flush, None)?;
        self.unflushed = false;
        Ok(())
    }

    fn shutdown(&mut self) -> Result<(), DeviceError> {
        let live = matches!(self.health, Health::Live);
        // A disk that was only read may go on turning for who comes next.
        let restless = live && self.written && self.flight.records().is_idle();
        let rested = if restless { self.put_to_rest() } else { Ok(()) };
        self.stop().and(rested)
    }
}

impl<R: Registers> Drop for Disk<R> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::warn!("{error}");
        }
    }
}

/// What has to be remembered of a command.
fn record(command: AtaCommand, tag: u32) -> Record {
    Record { operation: command.name(), lba: command.lba(), tag, limit_ms: command.limit_ms() }
}
