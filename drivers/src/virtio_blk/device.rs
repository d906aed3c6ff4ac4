//! A block device at work.

use super::negotiate;
use super::queue::SplitQueue;
use super::shape::{self, Shape};
use super::slots::{InFlight, Slots};
use super::spec::{Features, Operation, SECTOR_SIZE, status};
use crate::pci::Endpoint;
use crate::place::Place;
use crate::platform::Platform;
use crate::queue::{
    BlockQueue, Cause, Completion, DeviceError, Direction, Geometry, Identity, Request, Segment,
    SubmitError,
};
use crate::scatter::pieces;
use crate::wait::deadline_us;
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
/// How often a device that answers nothing is asked how it is, in microseconds.
const LOOK_INTERVAL_US: u64 = 100_000;

/// A virtio block device that is set up.
pub struct VirtioBlk<T: Transport> {
    platform: &'static dyn Platform,
    place: Place,
    endpoint: Endpoint,
    transport: T,
    state: State,
    read_only: bool,
    geometry: Geometry,
    identity: Identity,
    shape: Shape,
    queue: SplitQueue,
    slots: Slots,
    /// When to look at the device's status next.
    look_us: u64,
}

/// What the device is good for.
enum State {
    /// It takes requests.
    Live,
    /// It is of no use any more, for this reason; it may still reach memory.
    Failed(DeviceError),
    /// It is reset and reaches no memory.
    Stopped,
}

impl<T: Transport> VirtioBlk<T> {
    /// Resets the device and makes it ready.
    pub fn start(
        platform: &'static dyn Platform,
        place: Place,
        endpoint: Endpoint,
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

        let exhausted = |_| place.error("set up the queue", Cause::Exhausted);
        let queue = SplitQueue::new(platform, shape.entries).map_err(exhausted)?;
        let slots = Slots::new(platform, &shape).map_err(exhausted)?;
        let areas = queue.areas();
        transport.queue_set(
            QUEUE,
            queue.size().into(),
            areas.descriptors.0,
            areas.driver.0,
            areas.device.0,
        );
        endpoint.start_dma();
        negotiate::go(&mut transport);

        let geometry = Geometry {
            block_size,
            blocks: config.capacity / u64::from(block_size / SECTOR_SIZE),
            max_bytes: shape.max_bytes,
            max_segments: shape.max_segments,
            depth: shape.depth.into(),
            write_cache: config.writeback,
            can_flush: features.contains(Features::FLUSH),
        };
        let mut device = Self {
            platform,
            place,
            endpoint,
            transport,
            state: State::Live,
            read_only: features.contains(Features::RO),
            geometry,
            identity: Identity { model: "virtio-blk".to_string(), serial: String::new() },
            shape,
            queue,
            slots,
            look_us: 0,
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
        if let Some(error) = self.failure(operation.name()) {
            return Err(error);
        }
        if self.slots.in_flight() != 0 {
            let cause = Cause::Unsupported("a command while requests are in flight");
            return Err(self.place.error(operation.name(), cause));
        }
        self.begin(operation, None, None, 0, data.into_iter())
            .ok_or_else(|| self.place.error(operation.name(), Cause::Exhausted))?;
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
        tag: Option<u32>,
        lba: Option<Lba>,
        sector: u64,
        data: impl Iterator<Item = Segment>,
    ) -> Option<()> {
        let deadline_us = deadline_us(self.platform, limit_ms(operation));
        let record = InFlight { operation, lba, tag, deadline_us };
        self.slots.start(&mut self.queue, record, sector, data)
    }

    /// The next request that has come to its end, and its status. An error is
    /// the end of the device.
    fn reap(&mut self) -> Result<Option<(InFlight, u8)>, DeviceError> {
        let answer = self.queue.take_used(self.slots.in_flight()).and_then(|head| match head {
            Some(head) => self.slots.finish(head).map(Some),
            None => Ok(None),
        });
        match answer {
            Ok(Some((record, status::UNANSWERED))) => {
                Err(self.fail(record, Cause::Protocol("a request came back without a status")))
            }
            Ok(Some(answer)) => Ok(Some(answer)),
            Ok(None) => self.look().map(|()| None),
            Err(cause) => {
                let error = self.place.error("poll", cause);
                self.state = State::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// Makes sure that a device with nothing to say is still alive, and not
    /// late.
    fn look(&mut self) -> Result<(), DeviceError> {
        if self.slots.in_flight() == 0 {
            return Ok(());
        }
        let now = self.platform.now_us();
        if now < self.look_us {
            return Ok(());
        }
        self.look_us = now.saturating_add(LOOK_INTERVAL_US);
        if let Some(cause) = negotiate::trouble(&self.transport) {
            let error = self.place.error("poll", cause);
            self.state = State::Failed(error.clone());
            return Err(error);
        }
        match self.slots.overdue(now) {
            // A machine that stood still meanwhile does not make a device late.
            Some(late) if !self.queue.has_used() => {
                Err(self.fail(late, Cause::Timeout(limit_ms(late.operation))))
            }
            _ => Ok(()),
        }
    }

    /// Ends the device because of what became of one request.
    fn fail(&mut self, record: InFlight, cause: Cause) -> DeviceError {
        let error = self.error_of(&record, cause);
        self.state = State::Failed(error.clone());
        error
    }

    fn error_of(&self, record: &InFlight, cause: Cause) -> DeviceError {
        DeviceError { lba: record.lba, ..self.place.error(record.operation.name(), cause) }
    }

    /// Why the device takes nothing, if it does not.
    fn failure(&self, operation: &'static str) -> Option<DeviceError> {
        match &self.state {
            State::Live => None,
            State::Failed(error) => Some(error.clone()),
            State::Stopped => {
                Some(self.place.error(operation, Cause::Dead("the driver has shut it down")))
            }
        }
    }

    /// Resets the device and takes memory away from it, whatever its state.
    fn stop(&mut self) -> Result<(), DeviceError> {
        if matches!(self.state, State::Stopped) {
            return Ok(());
        }
        let reset = negotiate::reset(self.platform, &mut self.transport);
        self.endpoint.stop_dma();
        self.state = State::Stopped;
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
        let (operation, refused) = match request.direction {
            Direction::Read => (Operation::Read, false),
            Direction::Write => (Operation::Write, self.read_only),
        };
        if let Some(error) = self.failure(operation.name()) {
            return Err(SubmitError::Device(error));
        }
        request.check(&self.geometry)?;
        if refused {
            let cause = Cause::Unsupported("the device is read-only");
            return Err(SubmitError::Device(self.place.error_at("write", request.lba, cause)));
        }
        // Checked against the capacity, which counts sectors in 64 bits.
        let sector = request.lba.0 * u64::from(self.geometry.block_size / SECTOR_SIZE);
        let data = pieces(request.segments, self.shape.longest_piece);
        self.begin(operation, Some(request.tag), Some(request.lba), sector, data)
            .ok_or(SubmitError::Full)
    }

    fn ring(&mut self) {
        if self.queue.publish() {
            self.transport.notify(QUEUE);
        }
    }

    fn poll(&mut self) -> Result<Option<Completion>, DeviceError> {
        if let Some(error) = self.failure("poll") {
            return Err(error);
        }
        let Some((record, status)) = self.reap()? else {
            return Ok(None);
        };
        let result = match status_cause(status) {
            None => Ok(()),
            Some(cause) => Err(self.error_of(&record, cause)),
        };
        // Commands of the driver's own are never left behind by `execute`.
        Ok(record.tag.map(|tag| Completion { tag, result }))
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        if !self.geometry.write_cache {
            return self.failure("flush").map_or(Ok(()), Err);
        }
        if !self.geometry.can_flush {
            let cause = Cause::Unsupported("a volatile write cache without a way to flush it");
            return Err(self.place.error("flush", cause));
        }
        match status_cause(self.execute(Operation::Flush, None)?) {
            None => Ok(()),
            Some(cause) => Err(self.place.error("flush", cause)),
        }
    }

    fn shutdown(&mut self) -> Result<(), DeviceError> {
        let usable = matches!(self.state, State::Live) && self.slots.in_flight() == 0;
        let flushed = if usable && self.geometry.can_flush { self.flush() } else { Ok(()) };
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

/// Time for a request to come back, in milliseconds.
fn limit_ms(operation: Operation) -> u64 {
    match operation {
        Operation::Flush => FLUSH_LIMIT_MS,
        Operation::Read | Operation::Write | Operation::GetId => REQUEST_LIMIT_MS,
    }
}

/// What a status other than success says (virtio 1.2, §5.2.6).
fn status_cause(status: u8) -> Option<Cause> {
    match status {
        status::OK => None,
        status::IOERR => Some(Cause::Status("I/O error (VIRTIO_BLK_S_IOERR)".to_string())),
        status::UNSUPP => Some(Cause::Status("not supported (VIRTIO_BLK_S_UNSUPP)".to_string())),
        other => Some(Cause::Status(format!("unknown status {other:#04x}"))),
    }
}
