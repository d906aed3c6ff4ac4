//! The controller: reset, enabled, identified, shut down.

use super::queue_pair::QueuePair;
use super::quirks::Quirks;
use super::spec::{
    Capabilities, Command, CompletionEntry, Configuration, FEATURE_NUMBER_OF_QUEUES,
    IdentifyController, QUEUE_CONTIGUOUS, Status, VERSION_1_1, admin, cns, register,
};
use super::status;
use crate::dma::DmaBuffer;
use crate::pci::Endpoint;
use crate::place::Place;
use crate::platform::Platform;
use crate::queue::{Cause, DeviceError, Identity};
use crate::registers::Registers;
use crate::wait::{deadline_us, settle, wait_until};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use dormouse_handoff::units::PAGE_SIZE;
use zerocopy::FromBytes;

/// Entries of the admin queues: a submission queue of exactly one page, which
/// some controllers insist on.
const ADMIN_ENTRIES: u16 = 64;

/// Longest time for an admin command, in milliseconds.
const ADMIN_LIMIT_MS: u64 = 10_000;

/// How often a controller that is asked for an answer is looked after, in
/// microseconds.
const LOOK_US: u64 = 1000;

/// Longest and shortest time for a shutdown, in milliseconds, whatever the
/// controller says (as Linux and SPDK bound it).
const SHUTDOWN_LIMIT_MS: core::ops::RangeInclusive<u64> = 10_000..=60_000;

/// Most namespaces that are listed: one page of identifiers.
const MOST_NAMESPACES: usize = PAGE_SIZE as usize / 4;

const FATAL: Cause = Cause::Dead("the controller reports a fatal status (CSTS.CFS)");
const GONE: Cause = Cause::Dead("the controller is gone from the bus (CSTS reads all ones)");

/// A controller that is enabled and answers admin commands.
pub struct Controller<R: Registers> {
    platform: &'static dyn Platform,
    endpoint: Endpoint,
    registers: R,
    place: Place,
    quirks: Quirks,
    capabilities: Capabilities,
    admin: QueuePair,
    next_cid: u16,
    scratch: DmaBuffer,
    facts: Facts,
    running: bool,
}

/// What a controller says of itself.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Model and serial number.
    pub identity: Identity,
    /// Most bytes in a command; `None` where there is no limit.
    pub max_bytes: Option<u32>,
    /// Whether there is a volatile write cache.
    pub write_cache: bool,
    /// The highest namespace identifier.
    namespaces: u32,
    /// Longest time for a shutdown, in milliseconds.
    shutdown_limit_ms: u64,
}

impl<R: Registers> Controller<R> {
    /// Resets the controller, whatever its state, and enables it.
    pub fn bring_up(
        platform: &'static dyn Platform,
        endpoint: Endpoint,
        registers: R,
    ) -> Result<Self, DeviceError> {
        let place = Place::controller("nvme", endpoint.function().address);
        let quirks = Quirks::of(endpoint.function());
        let capabilities = Capabilities(registers.read64(register::CAP));
        if Status(registers.read32(register::CSTS)).gone() {
            return Err(place.error("enable", GONE));
        }
        let memory = QueuePair::allocate(
            platform,
            0,
            ADMIN_ENTRIES,
            size_of::<Command>().trailing_zeros(),
            capabilities.doorbell_stride(),
        )
        .and_then(|admin| Ok((admin, DmaBuffer::allocate(platform, PAGE_SIZE as usize)?)));
        let (admin, scratch) = memory.map_err(|_| place.error("enable", Cause::Exhausted))?;
        let mut controller = Self {
            platform,
            endpoint,
            registers,
            place,
            quirks,
            capabilities,
            admin,
            next_cid: 0,
            scratch,
            facts: Facts::default(),
            running: true,
        };
        controller.enable().map_err(|cause| controller.error("enable", cause))?;
        controller.facts =
            controller.read_facts().map_err(|cause| controller.error("identify", cause))?;
        Ok(controller)
    }

    /// What the controller says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How the controller differs from others.
    pub fn quirks(&self) -> &Quirks {
        &self.quirks
    }

    /// What its registers say that it can do.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Its registers.
    pub fn registers(&self) -> &R {
        &self.registers
    }

    /// The machine that it is part of.
    pub fn platform(&self) -> &'static dyn Platform {
        self.platform
    }

    /// Its name in messages.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether it is there and well.
    pub fn health(&self) -> Result<(), Cause> {
        let status = Status(self.registers.read32(register::CSTS));
        if status.gone() {
            Err(GONE)
        } else if status.fatal() {
            Err(FATAL)
        } else {
            Ok(())
        }
    }

    /// Reads an identify structure.
    pub fn identify<T: FromBytes>(&mut self, cns: u32, nsid: u32) -> Result<T, Cause> {
        self.scratch.clear();
        self.admin(Command {
            opcode: admin::IDENTIFY,
            nsid,
            prp1: self.scratch.address(0).0,
            dwords: [cns, 0, 0, 0, 0, 0],
            ..Command::default()
        })?;
        Ok(self.scratch.read(0))
    }

    /// The identifiers of namespaces that are active, in order; at most 1024.
    pub fn active_namespaces(&mut self) -> Result<Vec<u32>, Cause> {
        let most = (self.facts.namespaces as usize).min(MOST_NAMESPACES);
        if self.registers.read32(register::VS) < VERSION_1_1 {
            return Ok((1..=most as u32).collect());
        }
        let list: [u32; MOST_NAMESPACES] = self.identify(cns::ACTIVE_NAMESPACES, 0)?;
        Ok(list.into_iter().take(most).take_while(|nsid| *nsid != 0).collect())
    }

    /// Has the controller make an I/O queue pair.
    pub fn create(&mut self, queues: &QueuePair) -> Result<(), Cause> {
        let id = u32::from(queues.id());
        // Both counts of queues are counted from 0: one of each.
        self.admin(Command {
            opcode: admin::SET_FEATURES,
            dwords: [FEATURE_NUMBER_OF_QUEUES, 0, 0, 0, 0, 0],
            ..Command::default()
        })?;
        let size_and_id = u32::from(queues.entries() - 1) << 16 | id;
        self.admin(Command {
            opcode: admin::CREATE_CQ,
            prp1: queues.completions().0,
            dwords: [size_and_id, QUEUE_CONTIGUOUS, 0, 0, 0, 0],
            ..Command::default()
        })?;
        self.admin(Command {
            opcode: admin::CREATE_SQ,
            prp1: queues.submissions().0,
            dwords: [size_and_id, id << 16 | QUEUE_CONTIGUOUS, 0, 0, 0, 0],
            ..Command::default()
        })?;
        Ok(())
    }

    /// Has the controller forget an I/O queue pair.
    pub fn delete(&mut self, queues: &QueuePair) -> Result<(), Cause> {
        for opcode in [admin::DELETE_SQ, admin::DELETE_CQ] {
            let dwords = [u32::from(queues.id()), 0, 0, 0, 0, 0];
            self.admin(Command { opcode, dwords, ..Command::default() })?;
        }
        Ok(())
    }

    /// Notifies the controller of a normal shutdown, waits until it is complete
    /// and takes memory away from it. `CC.EN` stays set, as Linux leaves it,
    /// unless something may be in flight, which `idle` denies.
    pub fn shut_down(&mut self, idle: bool) -> Result<(), Cause> {
        if !self.running {
            return Ok(());
        }
        let configuration = self.configuration().difference(Configuration::SHUTDOWN_MASK);
        self.configure(configuration | Configuration::SHUTDOWN_NORMAL);
        let result = self.wait_for(self.facts.shutdown_limit_ms, Status::shut_down);
        if result.is_err() || !idle {
            self.stop();
        }
        self.endpoint.stop_dma();
        self.running = false;
        result
    }

    /// Takes memory away from the controller at once, and disables it. When this
    /// returns it has forgotten what was in flight (§3.7.2), so that whoever lets
    /// it reach memory again has nothing to fear from that.
    pub fn stop(&mut self) {
        if !self.running {
            return;
        }
        self.endpoint.stop_dma();
        self.running = false;
        if let Err(cause) = self.withdraw() {
            log::warn!("{}", self.error("disable", cause));
        }
    }

    fn error(&self, operation: &'static str, cause: Cause) -> DeviceError {
        self.place.error(operation, cause)
    }

    fn enable(&mut self) -> Result<(), Cause> {
        if self.capabilities.min_page_bytes() != PAGE_SIZE {
            return Err(Cause::Unsupported("the controller has no pages of 4096 bytes"));
        }
        if self.capabilities.lacks_nvm_commands() {
            return Err(Cause::Unsupported("the controller has no NVM command set"));
        }
        match self.reset_and_enable() {
            // A fatal status is cleared by a reset, unless it comes back.
            Err(FATAL) => self.reset_and_enable(),
            result => result,
        }
    }

    fn reset_and_enable(&mut self) -> Result<(), Cause> {
        self.disable()?;
        self.admin.clear();
        let last = u32::from(self.admin.entries() - 1);
        self.registers.write32(register::AQA, last << 16 | last);
        self.registers.write64(register::ASQ, self.admin.submissions().0);
        self.registers.write64(register::ACQ, self.admin.completions().0);
        self.endpoint.start_dma();
        self.configure(
            Configuration::ENABLE
                | Configuration::CQ_ENTRY_16
                | Configuration::sq_entry(self.quirks.sq_entry_shift),
        );
        self.wait_for(self.ready_limit_ms(), Status::ready)
    }

    /// Disables the controller from whatever state it was found in.
    fn disable(&self) -> Result<(), Cause> {
        let status = || Status(self.registers.read32(register::CSTS));
        let enabled = || self.configuration().contains(Configuration::ENABLE);
        let agreed = || {
            let status = status();
            let follows = status.ready() == enabled() && !status.shutting_down();
            follows || status.fatal() || status.shut_down()
        };
        // To change EN while RDY does not yet follow it is undefined
        // (§3.1.3.5). A controller that never agrees is disabled regardless:
        // there is nothing else left to try.
        if wait_until(self.platform, self.ready_limit_ms(), agreed).is_err() {
            log::warn!("{}: CSTS.RDY does not follow CC.EN; disabling", self.place);
        }
        self.withdraw()
    }

    /// Clears `CC.EN`, and waits until that is done.
    fn withdraw(&self) -> Result<(), Cause> {
        let limit_ms = self.ready_limit_ms();
        let status = || Status(self.registers.read32(register::CSTS));
        let configuration = self.configuration();
        if configuration.contains(Configuration::ENABLE) {
            self.configure(
                configuration.difference(Configuration::ENABLE | Configuration::SHUTDOWN_MASK),
            );
            settle(self.platform, self.quirks.settle_after_disable_ms * 1000);
        }
        let waited = wait_until(self.platform, limit_ms, || !status().ready() || status().gone());
        if status().gone() {
            return Err(GONE);
        }
        waited.map_err(|_| Cause::Timeout(limit_ms))
    }

    fn read_facts(&mut self) -> Result<Facts, Cause> {
        let data: IdentifyController = self.identify(cns::CONTROLLER, 0)?;
        let shutdown_ms = u64::from(data.shutdown_latency_us.div_ceil(1000));
        let pages = 1u32.checked_shl(data.mdts.into()).filter(|_| data.mdts != 0);
        Ok(Facts {
            identity: Identity { model: text(&data.model), serial: text(&data.serial) },
            max_bytes: pages.and_then(|pages| pages.checked_mul(PAGE_SIZE as u32)),
            write_cache: data.write_cache & 1 != 0,
            namespaces: data.namespaces,
            shutdown_limit_ms: shutdown_ms
                .clamp(*SHUTDOWN_LIMIT_MS.start(), *SHUTDOWN_LIMIT_MS.end()),
        })
    }

    /// Runs one admin command to its end.
    fn admin(&mut self, command: Command) -> Result<u32, Cause> {
        // Identifiers that return only after many others: a late answer to a
        // command is not taken for the next one's.
        let cid = self.next_cid;
        self.next_cid = if cid + 1 == ADMIN_ENTRIES { 0 } else { cid + 1 };
        self.admin.push(Command { cid, ..command });
        self.admin.ring(&self.registers);
        let deadline = deadline_us(self.platform, ADMIN_LIMIT_MS);
        // The answer comes to memory. A register costs a trip over the bus, under a
        // hypervisor an exit that the device's own work waits for.
        let mut look_us = self.platform.now_us() + LOOK_US;
        let entry = loop {
            let now = self.platform.now_us();
            if let Some(entry) = self.admin.pop() {
                break entry;
            }
            if now >= look_us {
                self.health()?;
                look_us = now + LOOK_US;
            }
            if now >= deadline {
                return Err(Cause::Timeout(ADMIN_LIMIT_MS));
            }
            core::hint::spin_loop();
        };
        self.admin.acknowledge(&self.registers);
        let CompletionEntry { result, sq_id, cid: answered, .. } = entry;
        if (sq_id, answered) != (0, cid) {
            return Err(Cause::Protocol("a completion of no admin command in flight"));
        }
        status::check(entry.status).map(|()| result)
    }

    /// Waits until the status is as wanted, the controller failed, or time is
    /// up.
    fn wait_for(&self, limit_ms: u64, wanted: impl Fn(Status) -> bool) -> Result<(), Cause> {
        let mut last = Status(0);
        let waited = wait_until(self.platform, limit_ms, || {
            last = Status(self.registers.read32(register::CSTS));
            last.gone() || last.fatal() || wanted(last)
        });
        if last.gone() {
            Err(GONE)
        } else if last.fatal() {
            Err(FATAL)
        } else {
            waited.map_err(|_| Cause::Timeout(limit_ms))
        }
    }

    /// Longest time for `CSTS.RDY` to follow `CC.EN`, in milliseconds. One unit
    /// is added, as Linux does, for controllers that take the whole of theirs.
    fn ready_limit_ms(&self) -> u64 {
        let ready = if self.capabilities.has_ready_timeouts() {
            self.registers.read32(register::CRTO) & 0xffff
        } else {
            0
        };
        let units = u64::from(ready).max(u64::from(self.capabilities.timeout())) + 1;
        units * 500
    }

    fn configuration(&self) -> Configuration {
        Configuration::from_bits_retain(self.registers.read32(register::CC))
    }

    fn configure(&self, configuration: Configuration) {
        self.registers.write32(register::CC, configuration.bits());
    }
}

impl<R: Registers> Drop for Controller<R> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A fixed field of ASCII as text: padding cut off, anything else shown as `?`.
fn text(field: &[u8]) -> String {
    let shown = |byte: &u8| match byte {
        0 => ' ',
        0x20..=0x7e => char::from(*byte),
        _ => '?',
    };
    field.iter().map(shown).collect::<String>().trim().to_string()
}
