//! A namespace as a [`BlockQueue`].

use super::controller::Controller;
use super::prp;
use super::queue_pair::QueuePair;
use super::spec::{Command, CompletionEntry, IdentifyNamespace, cns, nvm};
use super::status;
use crate::dma::DmaBuffer;
use crate::health::Health;
use crate::in_flight::{InFlight, Record};
use crate::place::Place;
use crate::queue::{
    BlockQueue, Cause, Completion, DeviceError, Direction, Geometry, Identity, Request, SubmitError,
};
use crate::registers::Registers;
use alloc::boxed::Box;
use alloc::vec;
use dormouse_handoff::units::PAGE_SIZE;

/// The one I/O queue pair's number.
const QUEUE: u16 = 1;
/// Most entries of the I/O queues. What is in flight is kept in one word, and
/// this many of the largest requests hide any latency there is.
const MAX_ENTRIES: u32 = InFlight::MOST as u32;
/// Most bytes in a request, whatever the controller allows.
const MAX_BYTES: u32 = 1 << 20;

/// Longest time for a read or a write, in milliseconds.
const IO_LIMIT_MS: u64 = 30_000;
/// Longest time for a flush, in milliseconds.
const FLUSH_LIMIT_MS: u64 = 60_000;
/// Bits of a command identifier that hold the slot; those above count the
/// slot's uses, so that a second answer to a command is not taken for an answer
/// to the slot's next one.
const SLOT_BITS: u32 = MAX_ENTRIES.trailing_zeros();
/// Uses are counted modulo this, which also keeps clear of the identifier
/// 0xffff, reserved for the error log (base specification 2.0, §3.3.3.1).
const USES: u16 = (u16::MAX >> SLOT_BITS) - 1;

/// One namespace of a controller that this driver has to itself.
pub struct Namespace<R: Registers> {
    controller: Controller<R>,
    place: Place,
    nsid: u32,
    geometry: Geometry,
    queues: QueuePair,
    /// A PRP list for each slot.
    lists: DmaBuffer,
    list_bytes: usize,
    in_flight: InFlight,
    /// How often each slot was used.
    uses: Box<[u16]>,
    /// Whether something was written since the last flush.
    unflushed: bool,
    health: Health,
}

impl<R: Registers> Namespace<R> {
    /// Makes a namespace of the controller ready.
    pub fn open(mut controller: Controller<R>, nsid: u32) -> Result<Self, DeviceError> {
        let place = controller.place().unit("namespace", nsid);
        let (block_size, blocks) =
            block_format(&mut controller, nsid).map_err(|cause| place.error("identify", cause))?;
        let entries = queue_entries(&controller).map_err(|cause| place.error("open", cause))?;
        let facts = controller.facts();
        let max_bytes =
            MAX_BYTES.min(facts.max_bytes.unwrap_or(u32::MAX)).min(controller.quirks().max_bytes);
        let geometry = Geometry {
            block_size,
            blocks,
            max_bytes,
            max_segments: max_bytes / PAGE_SIZE as u32,
            depth: u32::from(entries) - 1,
            write_cache: facts.write_cache,
            can_flush: true,
        };
        geometry.check().map_err(|cause| place.error("identify", cause))?;
        let platform = controller.platform();
        let list_bytes = prp::list_bytes(max_bytes);
        let slots = geometry.depth as usize;
        let memory = QueuePair::allocate(
            platform,
            QUEUE,
            entries,
            controller.quirks().sq_entry_shift,
            controller.capabilities().doorbell_stride(),
        )
        .and_then(|queues| Ok((queues, DmaBuffer::allocate(platform, slots * list_bytes)?)));
        let (queues, lists) = memory.map_err(|_| place.error("open", Cause::Exhausted))?;
        controller.create(&queues).map_err(|cause| place.error("create queues", cause))?;
        Ok(Self {
            controller,
            place,
            nsid,
            geometry,
            queues,
            lists,
            list_bytes,
            in_flight: InFlight::new(slots),
            uses: vec![0; slots].into_boxed_slice(),
            unflushed: false,
            health: Health::Live,
        })
    }

    /// Records a command as in flight; its identifier and slot, if one is free.
    fn start(&mut self, record: Record) -> Option<(u16, usize)> {
        let slot = self.in_flight.start(record, self.controller.platform().now_us())?;
        if !self.controller.quirks().plain_identifiers {
            self.uses[slot] = (self.uses[slot] + 1) % USES;
        }
        Some((self.uses[slot] << SLOT_BITS | slot as u16, slot))
    }

    /// Ends the command that a completion names, if it is one of ours.
    fn finish(&mut self, entry: CompletionEntry) -> Result<Completion, DeviceError> {
        let slot = usize::from(entry.cid & ((1 << SLOT_BITS) - 1));
        let uses = entry.cid >> SLOT_BITS;
        let is_ours = entry.sq_id == QUEUE && self.uses.get(slot) == Some(&uses);
        let record = if is_ours { self.in_flight.finish(slot) } else { None };
        let Some(record) = record else {
            let cause = Cause::Protocol("a completion of no command in flight");
            return Err(self.fail(self.place.error("complete", cause)));
        };
        let result = status::check(entry.status).map_err(|cause| record.error(&self.place, cause));
        Ok(Completion { tag: record.tag, result })
    }

    /// Looks for what does not show as a completion: a controller that died,
    /// and commands whose time is up.
    fn look_round(&mut self) -> Result<Option<Completion>, DeviceError> {
        let now = self.controller.platform().now_us();
        if !self.in_flight.is_look_due(now) {
            return Ok(None);
        }
        if let Err(cause) = self.controller.health() {
            return Err(self.fail(self.place.error("poll", cause)));
        }
        let Some(late) = self.in_flight.overdue(now) else {
            return Ok(None);
        };
        // A machine that stood still meanwhile does not make a device late.
        match self.queues.pop() {
            Some(entry) => self.finish(entry).map(Some),
            None => Err(self.fail(late.error(&self.place, Cause::Timeout(late.limit_ms)))),
        }
    }

    /// Gives the device up: it reaches no memory any more, so that what is in
    /// flight can do no harm.
    fn fail(&mut self, error: DeviceError) -> DeviceError {
        self.controller.stop();
        self.health.fail(error)
    }
}

impl<R: Registers> BlockQueue for Namespace<R> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn identity(&self) -> &Identity {
        &self.controller.facts().identity
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), SubmitError> {
        self.health.check(&self.place, request.operation()).map_err(SubmitError::Device)?;
        let blocks = request.check(&self.geometry)?;
        let opcode = match request.direction {
            Direction::Read => nvm::READ,
            Direction::Write => nvm::WRITE,
        };
        let (cid, slot) = self
            .start(Record {
                operation: request.operation(),
                lba: Some(request.lba),
                tag: request.tag,
                limit_ms: IO_LIMIT_MS,
            })
            .ok_or(SubmitError::Full)?;
        self.unflushed |= request.direction == Direction::Write;
        let prps = prp::build(request.segments, &mut self.lists, slot * self.list_bytes);
        let lba = request.lba.0;
        self.queues.push(Command {
            opcode,
            cid,
            nsid: self.nsid,
            prp1: prps.prp1,
            prp2: prps.prp2,
            // The number of blocks is counted from 0.
            dwords: [lba as u32, (lba >> 32) as u32, blocks - 1, 0, 0, 0],
            ..Command::default()
        });
        Ok(())
    }

    fn ring(&mut self) {
        if matches!(self.health, Health::Live) {
            self.queues.ring(self.controller.registers());
        }
    }

    fn poll(&mut self) -> Result<Option<Completion>, DeviceError> {
        self.health.check(&self.place, "poll")?;
        if let Some(entry) = self.queues.pop() {
            return self.finish(entry).map(Some);
        }
        self.queues.acknowledge(self.controller.registers());
        self.look_round()
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.health.check(&self.place, "flush")?;
        let idle = self.in_flight.is_idle();
        if idle && !self.geometry.write_cache {
            return Ok(());
        }
        let flush = Record { operation: "flush", lba: None, tag: 0, limit_ms: FLUSH_LIMIT_MS };
        let Some((cid, _)) = (if idle { self.start(flush) } else { None }) else {
            let cause = Cause::Unsupported("a flush while requests are in flight");
            return Err(flush.error(&self.place, cause));
        };
        let opcode = nvm::FLUSH;
        self.queues.push(Command { opcode, cid, nsid: self.nsid, ..Command::default() });
        self.ring();
        loop {
            if let Some(completion) = self.poll()? {
                self.unflushed &= completion.result.is_err();
                return completion.result;
            }
            core::hint::spin_loop();
        }
    }

    fn shutdown(&mut self) -> Result<(), DeviceError> {
        match &self.health {
            Health::Live => {}
            Health::Failed(error) => return Err(error.clone()),
            Health::Stopped => return Ok(()),
        }
        // What is in flight is given up: its memory is the caller's again
        // after this.
        let flushable = self.unflushed && self.in_flight.is_idle();
        let flushed = if flushable { self.flush() } else { Ok(()) };
        let deleted = match &flushed {
            Ok(()) => self.controller.delete(&self.queues),
            Err(_) => Ok(()),
        };
        if let Err(cause) = &deleted {
            log::warn!("{}", self.place.error("delete queues", cause.clone()));
        }
        let idle = deleted.is_ok() && self.in_flight.is_idle();
        let down = self.controller.shut_down(idle);
        if matches!(self.health, Health::Live) {
            self.health = Health::Stopped;
        }
        flushed.and(down.map_err(|cause| self.place.error("shut down", cause)))
    }
}

/// Entries of the I/O queues: as many as the controller allows, up to ours.
fn queue_entries<R: Registers>(controller: &Controller<R>) -> Result<u16, Cause> {
    let allowed = controller.capabilities().max_queue_entries();
    match controller.quirks().queue_entries.unwrap_or(allowed).min(MAX_ENTRIES) {
        // A queue with one entry is always empty (§3.3.1).
        0..2 => Err(Cause::Protocol("queues of less than two entries (CAP.MQES)")),
        entries => Ok(entries as u16),
    }
}

/// A namespace's block size in bytes, and its size in blocks.
fn block_format<R: Registers>(
    controller: &mut Controller<R>,
    nsid: u32,
) -> Result<(u32, u64), Cause> {
    let data: IdentifyNamespace = controller.identify(cns::NAMESPACE, nsid)?;
    if data.blocks == 0 {
        return Err(Cause::Unsupported("the namespace is not active, or empty"));
    }
    // The upper bits of the index count only where there are more than 16
    // formats.
    let low = data.format_in_use & 0xf;
    let index = if data.formats > 15 { low | data.format_in_use >> 1 & 0x30 } else { low };
    let format = data.format[usize::from(index)];
    if format & 0xffff != 0 {
        return Err(Cause::Unsupported("a format with metadata; format it without"));
    }
    match format >> 16 & 0xff {
        9 => Ok((512, data.blocks)),
        12 => Ok((4096, data.blocks)),
        _ => Err(Cause::Unsupported("blocks of neither 512 nor 4096 bytes")),
    }
}
