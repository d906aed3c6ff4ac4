//! A block device at work.

use super::negotiate;
use super::queue::{Layout, SplitQueue};
use super::shape::{self, Shape};
use super::slots::Slots;
use super::spec::{Features, Operation, SECTOR_SIZE, status};
use crate::health::Health;
use crate::in_flight::Record;
use crate::pci::Endpoint;
use crate::place::Place;
use crate::platform::Platform;
use crate::queue::{
    BlockQueue, Cause, Completion, DeviceError, Direction, Geometry, Identity, Request, Segment,
    SubmitError,
};
use crate::scatter::pieces;
use alloc::format;
use alloc::string::{String, ToString};
use dormouse_handoff::units::Lba;
use virtio_drivers::transport::Transport;

/// The one queue of a device without VIRTIO_BLK_F_MQ.
const QUEUE: u16 = 0;
/// Time for a read, a write, or the serial number, in milliseconds.
const REQUEST_LIMIT_MS: u64 = 30_000;
/// Time for a flush, which may have much to write, in milliseconds.
const FLUSH_LIMIT_MS: u64 = 60_000;

/// A virtio block device that is set up.
pub struct VirtioBlk<T: Transport> {
    platform: &'static dyn Platform,
    place: Place,
    /// Where its DMA can be switched off; not with virtio-mmio.
    endpoint: Option<Endpoint>,
    transport: T,
    health: Health,
    read_only: bool,
    geometry: Geometry,
    identity: Identity,
    shape: Shape,
    queue: SplitQueue,
    slots: Slots,
    /// Whether something was written since the last flush.
    unflushed: bool,
}

impl<T: Transport> VirtioBlk<T> {
    /// Resets the device and makes it ready.
    pub fn start(
        platform: &'static dyn Platform,
        place: Place,
        endpoint: Option<Endpoint>,
        mut transport: T,
    ) -> Result<Self, DeviceError> {
        let failed = |operation| {
            let place = place.clone();
            move |cause| place.error(operation, cause)
        };
        negotiate::reset(platform, &mut transport).map_err(failed("reset"))?;
        let features = negotiate::agree(&mut transport).map_err(failed("negotiate"))?;
        let config = negotiate::read_config(&transport, features)
            .map_err(failed("read the configuration"))?;
        let block_size =
            shape::block_size(features, &config).map_err(failed("read the configuration"))?;
        let shape = Shape::new(transport.max_queue_size(QUEUE), features, &config)
            .map_err(failed("set up the queue"))?;

        let geometry = Geometry {
            block_size,
            blocks: config.capacity / u64::from(block_size / SECTOR_SIZE),
            max_bytes: shape.max_bytes,
            max_segments: shape.max_segments,
            depth: shape.depth.into(),
            write_cache: config.writeback,
            can_flush: features.contains(Features::FLUSH),
        };
        geometry.check().map_err(failed("read the configuration"))?;

        let exhausted = |_| place.error("set up the queue", Cause::Exhausted);
        let layout = Layout::of(&transport);
        let queue = SplitQueue::new(platform, shape.entries, layout).map_err(exhausted)?;
        let slots = Slots::new(platform, &shape).map_err(exhausted)?;
        let areas = queue.areas();
        transport.queue_set(
            QUEUE,
            queue.size().into(),
            areas.descriptors.0,
            areas.driver.0,
            areas.device.0,
        );
        if let Some(endpoint) = &endpoint {
            endpoint.start_dma();
        }
        negotiate::go(&mut transport);

        let mut device = Self {
            platform,
            place,
            endpoint,
            transport,
            health: Health::Live,
            read_only: features.contains(Features::RO),
            geometry,
            identity: Identity { model: "virtio-blk".to_string(), serial: String::new() },
            shape,
            queue,
            slots,
            unflushed: false,
        };
        device.identity.serial = device.read_serial()?;
        Ok(device)
    }

    /// The serial number; empty where the device knows of none.
    fn read_serial(&mut self) -> Result<String, DeviceError> {
        let room = self.slots.id_room();
        match self.execute(Operation::GetId, Some(room))? {
            status::OK => {
                let id = self.slots.id();
                let text = id.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(String::from_utf8_lossy(text).trim().to_string())
            }
            _ => Ok(String::new()),
        }
    }

    /// Runs a command of the driver's own to its end, with nothing else in
    /// flight, and answers the device's status.
    fn execute(&mut self, operation: Operation, data: Option<Segment>) -> Result<u8, DeviceError> {
        self.health.check(&self.place, operation.name())?;
        let record = record(operation, None, 0);
        if !self.slots.in_flight().is_idle() {
            let cause = Cause::Unsupported("a command while requests are in flight");
            return Err(record.error(&self.place, cause));
        }
        self.begin(operation, record, 0, data.into_iter())
            .ok_or_else(|| record.error(&self.place, Cause::Exhausted))?;
        self.ring();
        loop {
            if let Some((_, status)) = self.reap()? {
                return Ok(status);
            }
            core::hint::spin_loop();
        }
    }

    /// Puts a request into a free slot; `None` if there is none.
    fn begin(
        &mut self,
        operation: Operation,
        record: Record,
        sector: u64,
        data: impl Iterator<Item = Segment>,
    ) -> Option<()> {
        let slot = self.slots.in_flight().start(record, self.platform.now_us())?;
        self.slots.build(&mut self.queue, slot, operation, sector, data);
        Some(())
    }

    /// The next request that has come to its end, and its status. An error is
    /// the end of the device.
    fn reap(&mut self) -> Result<Option<(Record, u8)>, DeviceError> {
        match self.take() {
            Ok(Some((record, status::UNANSWERED))) => {
                let cause = Cause::Protocol("a request came back without a status");
                Err(self.health.fail(record.error(&self.place, cause)))
            }
            Ok(Some(answer)) => Ok(Some(answer)),
            Ok(None) => self.look().map(|()| None),
            Err(cause) => Err(self.health.fail(self.place.error("poll", cause))),
        }
    }

    fn take(&mut self) -> Result<Option<(Record, u8)>, Cause> {
        match self.queue.take_used(self.slots.depth())? {
            Some(head) => self.slots.finish(head).map(Some),
            None => Ok(None),
        }
    }

    /// Makes sure that a device with nothing to say is still alive, and not
    /// late.
    fn look(&mut self) -> Result<(), DeviceError> {
        let now = self.platform.now_us();
        if !self.slots.in_flight().is_look_due(now) {
            return Ok(());
        }
        if let Some(cause) = negotiate::trouble(&self.transport) {
            return Err(self.health.fail(self.place.error("poll", cause)));
        }
        match self.slots.in_flight().overdue(now) {
            // A machine that stood still meanwhile does not make a device late.
            Some(late) if !self.queue.has_used() => {
                let cause = Cause::Timeout(late.limit_ms);
                Err(self.health.fail(late.error(&self.place, cause)))
            }
            _ => Ok(()),
        }
    }

    /// Resets the device and takes memory away from it, whatever its state.
    fn stop(&mut self) -> Result<(), DeviceError> {
        if matches!(self.health, Health::Stopped) {
            return Ok(());
        }
        let reset = negotiate::reset(self.platform, &mut self.transport);
        if let Some(endpoint) = &self.endpoint {
            endpoint.stop_dma();
        }
        self.health = Health::Stopped;
        reset.map_err(|cause| self.place.error("reset", cause))
    }
}

impl<T: Transport> BlockQueue for VirtioBlk<T> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), SubmitError> {
        self.health.check(&self.place, request.operation()).map_err(SubmitError::Device)?;
        request.check(&self.geometry)?;
        let operation = match request.direction {
            Direction::Read => Operation::Read,
            Direction::Write if self.read_only => {
                let cause = Cause::Unsupported("the device is read-only");
                return Err(SubmitError::Device(self.place.error_at("write", request.lba, cause)));
            }
            Direction::Write => Operation::Write,
        };
        // Checked against the capacity, which counts sectors in 64 bits.
        let sector = request.lba.0 * u64::from(self.geometry.block_size / SECTOR_SIZE);
        let record = record(operation, Some(request.lba), request.tag);
        let data = pieces(request.segments, self.shape.longest_piece);
        self.begin(operation, record, sector, data).ok_or(SubmitError::Full)?;
        self.unflushed |= operation == Operation::Write;
        Ok(())
    }

    fn ring(&mut self) {
        // A device that was reset is told nothing.
        if matches!(self.health, Health::Live) && self.queue.publish() {
            self.transport.notify(QUEUE);
        }
    }

    fn poll(&mut self) -> Result<Option<Completion>, DeviceError> {
        self.health.check(&self.place, "poll")?;
        let Some((record, status)) = self.reap()? else {
            return Ok(None);
        };
        let result = status_result(status).map_err(|cause| record.error(&self.place, cause));
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
        status_result(self.execute(Operation::Flush, None)?)
            .map_err(|cause| self.place.error("flush", cause))?;
        self.unflushed = false;
        Ok(())
    }

    fn shutdown(&mut self) -> Result<(), DeviceError> {
        let live = matches!(self.health, Health::Live);
        let flushable = live && self.unflushed && self.slots.in_flight().is_idle();
        let flushed = if flushable { self.flush() } else { Ok(()) };
        // A reset device is also what Linux leaves behind when it freezes.
        self.stop().and(flushed)
    }
}

impl<T: Transport> Drop for VirtioBlk<T> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::warn!("{error}");
        }
    }
}

/// What has to be remembered of a request.
fn record(operation: Operation, lba: Option<Lba>, tag: u32) -> Record {
    let limit_ms = match operation {
        Operation::Flush => FLUSH_LIMIT_MS,
        Operation::Read | Operation::Write | Operation::GetId => REQUEST_LIMIT_MS,
    };
    Record { operation: operation.name(), lba, tag, limit_ms }
}

/// What a status says (virtio 1.2, §5.2.6).
fn status_result(status: u8) -> Result<(), Cause> {
    Err(Cause::Status(match status {
        status::OK => return Ok(()),
        status::IOERR => "I/O error (VIRTIO_BLK_S_IOERR)".to_string(),
        status::UNSUPP => "not supported (VIRTIO_BLK_S_UNSUPP)".to_string(),
        other => format!("unknown status {other:#04x}"),
    }))
}
