//! A scripted NVMe controller for tests: it obeys the specification where the
//! script does not say otherwise, and insists that its driver does.

use super::controller::Controller;
use super::namespace::Namespace;
use super::spec::{Capabilities, Command, CompletionEntry, admin, cns, nvm, register};
use crate::fakes::FakeMachine;
use crate::faults::{Culprit, Fault, Faults};
use crate::models::Scripted;
use crate::pci::Endpoint;
use crate::queue::{BlockQueue, DeviceError};
use crate::registers::Registers;
use core::cell::{RefCell, RefMut};
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::{Lba, PAGE_SIZE, PhysAddr};
use std::collections::BTreeMap;
use std::rc::Rc;
use zerocopy::{FromBytes, IntoBytes};

const ENABLE: u32 = 1;
const READY: u32 = 1;
pub const FATAL: u32 = 1 << 1;
const SHUT_DOWN: u32 = 0b10 << 2;
const INTERNAL_ERROR: u16 = 0x06 << 1;
const PAGE: usize = PAGE_SIZE as usize;

/// How the controller is found, and how it behaves.
#[derive(Clone)]
pub struct Script {
    pub configuration: u32,
    pub status: u32,
    pub capabilities: u64,
    pub version: u32,
    /// How many reads of the status it takes until RDY follows EN.
    pub slowness: u32,
    pub never_ready: bool,
    /// How many times enabling ends in a fatal status.
    pub fatal_enables: u32,
    pub never_shuts_down: bool,
    pub mdts: u8,
    pub write_cache: bool,
    pub namespaces: Vec<u32>,
    /// Metadata bytes and block size as a power of two.
    pub format: u32,
    pub blocks: u64,
    /// I/O commands are kept until the test completes them.
    pub hold: bool,
    /// Every I/O command with this opcode ends with this status.
    pub refuse: Option<(u8, u16)>,
    /// The identify pages of controller and namespace, whatever is true.
    pub words: Option<Vec<u8>>,
}

impl Default for Script {
    /// A well-behaved controller as after power on: 64 entries a queue, five
    /// seconds to become ready, one namespace of 8 MiB in blocks of 512 bytes.
    fn default() -> Self {
        Self {
            configuration: 0,
            status: 0,
            capabilities: 10 << 24 | 1 << 37 | 63,
            version: 0x0001_0400,
            slowness: 2,
            never_ready: false,
            fatal_enables: 0,
            never_shuts_down: false,
            mdts: 0,
            write_cache: true,
            namespaces: vec![1],
            format: 9 << 16,
            blocks: 16384,
            hold: false,
            refuse: None,
            words: None,
        }
    }
}

/// What a driver did, as a controller notices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Enabled,
    Disabled,
    ShutDown,
    /// A submission queue's doorbell: how many commands were new.
    Submitted(usize),
    /// A completion queue's doorbell: how many entries were given back.
    Acknowledged(usize),
    Flushed,
    QueuesDeleted,
}

pub struct Model {
    machine: &'static FakeMachine,
    address: PciAddress,
    state: RefCell<State>,
    faults: Faults,
}

struct State {
    script: Script,
    admin_attributes: u32,
    admin_bases: [u32; 4],
    patience: u32,
    queues: BTreeMap<usize, Queues>,
    held: Vec<Command>,
    /// Commands whose answer is late: when it comes, and in which queue.
    late: Vec<(u64, usize, Command)>,
    disk: Vec<u8>,
    events: Vec<Event>,
}

#[derive(Clone, Copy, Default)]
struct Queues {
    submissions: u64,
    submission_entries: usize,
    head: usize,
    completions: u64,
    completion_entries: usize,
    tail: usize,
    acknowledged: usize,
    odd_round: bool,
}

impl Queues {
    fn has_room(&self) -> bool {
        (self.tail + 1) % self.completion_entries != self.acknowledged
    }
}

impl Model {
    pub fn new(machine: &'static FakeMachine, address: PciAddress, script: Script) -> Self {
        let bytes = script.blocks << (script.format >> 16 & 0xf);
        let state = State {
            admin_attributes: 0,
            admin_bases: [0; 4],
            patience: script.slowness,
            queues: BTreeMap::new(),
            held: Vec::new(),
            late: Vec::new(),
            disk: vec![0; bytes as usize],
            events: Vec::new(),
            script,
        };
        Self { machine, address, state: RefCell::new(state), faults: Faults::default() }
    }

    /// Changes the script while the controller runs.
    pub fn rewrite(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.state.borrow_mut().script);
    }

    /// What happened since the last time somebody asked.
    pub fn take_events(&self) -> Vec<Event> {
        core::mem::take(&mut self.state.borrow_mut().events)
    }

    pub fn stored(&self, start: usize, bytes: usize) -> Vec<u8> {
        self.state.borrow().disk[start..start + bytes].to_vec()
    }

    pub fn is_enabled(&self) -> bool {
        self.state.borrow().script.configuration & ENABLE != 0
    }

    /// The identifiers of commands that are held, oldest first.
    pub fn held(&self) -> Vec<u16> {
        self.state.borrow().held.iter().map(|command| command.cid).collect()
    }

    /// Carries out the held command with this identifier.
    pub fn complete(&self, cid: u16) {
        let mut state = self.state.borrow_mut();
        let index = state.held.iter().position(|command| command.cid == cid).expect("not held");
        let command = state.held.remove(index);
        let status = self.execute(&mut state, &command);
        self.post(&mut state, 1, CompletionEntry { cid, sq_id: 1, status, ..Default::default() });
    }

    /// Puts an entry of the test's making into the I/O completion queue.
    pub fn forge(&self, entry: CompletionEntry) {
        self.post(&mut self.state.borrow_mut(), 1, entry);
    }

    fn read(&self, address: u64, bytes: usize) -> Vec<u8> {
        assert!(self.machine.is_bus_master(self.address), "DMA without bus mastering");
        self.machine.read(PhysAddr(address), bytes)
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        assert!(self.machine.is_bus_master(self.address), "DMA without bus mastering");
        self.machine.write(PhysAddr(address), bytes);
    }

    fn post(&self, state: &mut State, id: usize, mut entry: CompletionEntry) {
        let queues = state.queues.get_mut(&id).expect("a completion for no queue");
        let entries = queues.completion_entries;
        assert!(queues.has_room(), "completion queue overflow");
        entry.sq_head = queues.head as u16;
        entry.status |= u16::from(!queues.odd_round);
        self.write(queues.completions + 16 * queues.tail as u64, entry.as_bytes());
        queues.tail = (queues.tail + 1) % entries;
        if queues.tail == 0 {
            queues.odd_round = !queues.odd_round;
        }
    }

    fn doorbell(&self, state: &mut State, index: usize, value: usize) {
        let (id, is_completion) = (index / 2, index % 2 == 1);
        assert_eq!(state.script.status, READY, "a doorbell of a controller that is not ready");
        let queues = state.queues.get_mut(&id).expect("a doorbell of no queue");
        if is_completion {
            let entries = queues.completion_entries;
            assert!(value < entries, "a doorbell past the end of the queue");
            let given_back = (value + entries - queues.acknowledged) % entries;
            queues.acknowledged = value;
            if id == 1 {
                state.events.push(Event::Acknowledged(given_back));
            }
            return;
        }
        let entries = queues.submission_entries;
        assert!(value < entries, "a doorbell past the end of the queue");
        let mut new = Vec::new();
        while queues.head != value {
            let bytes = self.read(queues.submissions + 64 * queues.head as u64, 64);
            new.push(Command::read_from_bytes(&bytes).unwrap());
            queues.head = (queues.head + 1) % entries;
        }
        if id == 1 {
            state.events.push(Event::Submitted(new.len()));
        }
        for command in new {
            if id == 1 && state.script.hold {
                state.held.push(command);
                continue;
            }
            self.serve(state, id, command);
            if self.faults.is_dead() {
                return;
            }
        }
    }

    /// Does a command and answers it, unless the script has another fate for it.
    fn serve(&self, state: &mut State, id: usize, command: Command) {
        let fault = self.faults.next(self.machine, culprit(id, &command));
        match fault {
            Some(Fault::Silence) => {}
            Some(fault @ (Fault::Late | Fault::TooLate)) => {
                state.late.push((self.machine.clock_us() + fault.delay_us(), id, command));
            }
            Some(Fault::Dead) => state.script.status = u32::MAX,
            Some(Fault::Status) => self.answer(state, id, command.cid, INTERNAL_ERROR),
            None | Some(Fault::Twice | Fault::WrongId) => {
                let status = self.perform(state, id, &command);
                let wrong = u16::from(fault == Some(Fault::WrongId));
                self.answer(state, id, command.cid ^ wrong, status);
                if fault == Some(Fault::Twice) && state.queues[&id].has_room() {
                    self.answer(state, id, command.cid, status);
                }
            }
        }
    }

    fn perform(&self, state: &mut State, id: usize, command: &Command) -> u16 {
        match id {
            0 => self.administer(state, command),
            _ => self.execute(state, command),
        }
    }

    fn answer(&self, state: &mut State, id: usize, cid: u16, status: u16) {
        let entry = CompletionEntry { cid, sq_id: id as u16, status, ..Default::default() };
        self.post(state, id, entry);
    }

    /// Answers what is late and due by now. A controller that may not reach
    /// memory has its answers lost on the bus.
    fn answer_late(&self, state: &mut State) {
        let now = self.machine.clock_us();
        while let Some(i) = state.late.iter().position(|(due, ..)| *due <= now) {
            let (_, id, command) = state.late.remove(i);
            if self.machine.is_bus_master(self.address) {
                let status = self.perform(state, id, &command);
                self.answer(state, id, command.cid, status);
            }
        }
    }

    fn administer(&self, state: &mut State, command: &Command) -> u16 {
        let id = (command.dwords[0] & 0xffff) as usize;
        let entries = (command.dwords[0] >> 16) as usize + 1;
        let most = Capabilities(state.script.capabilities).max_queue_entries() as usize;
        match command.opcode {
            admin::IDENTIFY => {
                let data = identify(&state.script, command.dwords[0], command.nsid);
                self.write(command.prp1, &data);
            }
            admin::SET_FEATURES => assert_eq!(command.dwords[0], 7, "an unknown feature"),
            admin::CREATE_CQ => {
                assert_eq!(command.dwords[1], 1, "contiguous, and no interrupts");
                assert!(entries <= most, "more entries than CAP.MQES");
                let queues = state.queues.entry(id).or_default();
                (queues.completions, queues.completion_entries) = (command.prp1, entries);
            }
            admin::CREATE_SQ => {
                assert_eq!(command.dwords[1], (id as u32) << 16 | 1);
                assert!(entries <= most, "more entries than CAP.MQES");
                let queues = state.queues.get_mut(&id).expect("no completion queue yet");
                (queues.submissions, queues.submission_entries) = (command.prp1, entries);
            }
            // The queue's commands are aborted with it.
            admin::DELETE_SQ => state.late.retain(|(_, queue, _)| *queue != id),
            admin::DELETE_CQ => {
                state.queues.remove(&id).expect("no such queue");
                state.events.push(Event::QueuesDeleted);
            }
            opcode => panic!("admin command {opcode:#x}"),
        }
        0
    }

    fn execute(&self, state: &mut State, command: &Command) -> u16 {
        if let Some((opcode, status)) = state.script.refuse
            && opcode == command.opcode
        {
            return status;
        }
        assert!(state.script.namespaces.contains(&command.nsid), "no such namespace");
        if command.opcode == nvm::FLUSH {
            state.events.push(Event::Flushed);
            return 0;
        }
        let block = 1usize << (state.script.format >> 16 & 0xf);
        let lba = u64::from(command.dwords[0]) | u64::from(command.dwords[1]) << 32;
        let bytes = (command.dwords[2] as usize & 0xffff) * block + block;
        assert_eq!(command.dwords[2] >> 16, 0, "flags that nobody asked for");
        let mdts = state.script.mdts;
        assert!(mdts == 0 || bytes <= PAGE << mdts, "more than MDTS");
        let mut place = lba as usize * block;
        if place + bytes > state.disk.len() {
            return 0x80 << 1;
        }
        for (address, bytes) in follow_prps(self.machine, command.prp1, command.prp2, bytes as u64)
        {
            let blocks = &mut state.disk[place..place + bytes as usize];
            match command.opcode {
                nvm::READ => self.write(address, blocks),
                nvm::WRITE => blocks.copy_from_slice(&self.read(address, bytes as usize)),
                opcode => panic!("I/O command {opcode:#x}"),
            }
            place += bytes as usize;
        }
        0
    }

    fn configure(&self, state: &mut State, value: u32) {
        let was = core::mem::replace(&mut state.script.configuration, value);
        if (was ^ value) & ENABLE != 0 {
            state.patience = state.script.slowness;
        }
        if was & ENABLE == 0 && value & ENABLE != 0 {
            assert_eq!(state.script.status & READY, 0, "EN set while RDY was");
            assert_eq!(value, 0x0046_0001, "64-byte and 16-byte entries, pages of 4096 bytes");
            state.events.push(Event::Enabled);
            let [sq_low, sq_high, cq_low, cq_high] = state.admin_bases.map(u64::from);
            state.queues.insert(
                0,
                Queues {
                    submissions: sq_low | sq_high << 32,
                    submission_entries: (state.admin_attributes & 0xfff) as usize + 1,
                    completions: cq_low | cq_high << 32,
                    completion_entries: (state.admin_attributes >> 16 & 0xfff) as usize + 1,
                    ..Queues::default()
                },
            );
            if state.script.fatal_enables > 0 {
                state.script.fatal_enables -= 1;
                state.script.status |= FATAL;
            }
        } else if was & ENABLE != 0 && value & ENABLE == 0 {
            state.events.push(Event::Disabled);
            state.script.status &= READY;
        } else if value >> 14 & 0b11 != 0 && !state.script.never_shuts_down {
            state.events.push(Event::ShutDown);
            state.script.status |= SHUT_DOWN;
        }
    }

    fn status(&self, state: &mut State) -> u32 {
        let script = &mut state.script;
        let wanted = script.configuration & ENABLE;
        let stuck = script.status & FATAL != 0 || script.never_ready && wanted != 0;
        if script.status != u32::MAX && script.status & READY != wanted && !stuck {
            if state.patience == 0 {
                script.status ^= READY;
                if script.status & READY == 0 {
                    // Not before: until then it may go on with what it has.
                    state.queues.clear();
                    state.held.clear();
                    state.late.clear();
                }
            }
            state.patience = state.patience.saturating_sub(1);
        }
        script.status
    }
}

impl Registers for Model {
    fn read32(&self, offset: usize) -> u32 {
        let state = &mut *self.state.borrow_mut();
        if state.script.status == u32::MAX {
            return u32::MAX;
        }
        self.answer_late(state);
        match offset {
            register::CAP => state.script.capabilities as u32,
            0x04 => (state.script.capabilities >> 32) as u32,
            register::VS => state.script.version,
            register::CC => state.script.configuration,
            register::CSTS => self.status(state),
            _ => panic!("read of register {offset:#x}"),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        let state = &mut *self.state.borrow_mut();
        if state.script.status == u32::MAX {
            return;
        }
        match offset {
            register::CC => self.configure(state, value),
            register::AQA => state.admin_attributes = value,
            register::ASQ..0x38 => state.admin_bases[(offset - register::ASQ) / 4] = value,
            register::DOORBELLS.. => {
                let stride = Capabilities(state.script.capabilities).doorbell_stride();
                let index = (offset - register::DOORBELLS) / stride;
                assert_eq!((offset - register::DOORBELLS) % stride, 0);
                self.doorbell(state, index, value as usize);
            }
            _ => panic!("write of register {offset:#x}"),
        }
    }
}

/// What the driver's error would call a command.
fn culprit(id: usize, command: &Command) -> Culprit {
    let lba = u64::from(command.dwords[0]) | u64::from(command.dwords[1]) << 32;
    let (operation, lba) = match (id, command.opcode) {
        (0, _) => ("administer", None),
        (_, nvm::READ) => ("read", Some(Lba(lba))),
        (_, nvm::WRITE) => ("write", Some(Lba(lba))),
        _ => ("flush", None),
    };
    Culprit { operation, lba }
}

impl Scripted for Model {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn open(self: Rc<Self>) -> Result<Box<dyn BlockQueue>, DeviceError> {
        let endpoint = Endpoint::enable(self.machine, self.address).expect("the fake PCI");
        let controller = Controller::bring_up(self.machine, endpoint, self)?;
        Ok(Box::new(Namespace::open(controller, 1)?))
    }

    fn introduce(&self, words: &[u8]) {
        self.state.borrow_mut().script.words = Some(words[..2 * PAGE].to_vec());
    }

    fn forge(&self, what: u64) {
        let state = &mut *self.state.borrow_mut();
        let [id, cid @ .., status, sq_id, _, _, _] = what.to_le_bytes();
        let id = usize::from(id & 1);
        let entry = CompletionEntry {
            cid: u16::from_le_bytes(cid),
            sq_id: u16::from(sq_id & 1),
            status: u16::from(status) << 1,
            ..Default::default()
        };
        let may_write = self.machine.is_bus_master(self.address);
        if may_write && state.queues.get(&id).is_some_and(Queues::has_room) {
            self.post(state, id, entry);
        }
    }

    fn revive(&self) {
        let mut state = self.state.borrow_mut();
        if state.script.status == u32::MAX {
            (state.script.status, state.script.configuration) = (0, 0);
            state.queues.clear();
            state.late.clear();
        }
    }

    fn settle(&self) {
        self.answer_late(&mut self.state.borrow_mut());
    }

    fn disk(&self) -> RefMut<'_, Vec<u8>> {
        RefMut::map(self.state.borrow_mut(), |state| &mut state.disk)
    }
}

fn identify(script: &Script, what: u32, nsid: u32) -> Vec<u8> {
    let mut data = vec![0; PAGE];
    match (&script.words, what) {
        (Some(words), cns::CONTROLLER) => return words[..PAGE].to_vec(),
        (Some(words), cns::NAMESPACE) => return words[PAGE..].to_vec(),
        _ => {}
    }
    match what {
        cns::CONTROLLER => {
            data[4..24].copy_from_slice(b"  S3RIAL            ");
            data[24..64].fill(b' ');
            data[24..36].copy_from_slice(b"Model \xff NVMe");
            data[77] = script.mdts;
            data[516..520].copy_from_slice(&8u32.to_le_bytes());
            data[525] = u8::from(script.write_cache);
        }
        cns::NAMESPACE if script.namespaces.contains(&nsid) => {
            data[..8].copy_from_slice(&script.blocks.to_le_bytes());
            data[25] = 3;
            data[26] = 2;
            data[128 + 8..128 + 12].copy_from_slice(&script.format.to_le_bytes());
        }
        cns::NAMESPACE => {}
        cns::ACTIVE_NAMESPACES => {
            for (place, nsid) in data.chunks_exact_mut(4).zip(&script.namespaces) {
                place.copy_from_slice(&nsid.to_le_bytes());
            }
        }
        _ => panic!("identify {what:#x}"),
    }
    data
}

/// Reads PRPs as a controller does, to (address, bytes) pieces (NVM Express
/// base specification 2.0, §4.1.1).
pub fn follow_prps(machine: &FakeMachine, prp1: u64, prp2: u64, bytes: u64) -> Vec<(u64, u64)> {
    let first = (PAGE_SIZE - prp1 % PAGE_SIZE).min(bytes);
    let mut pieces = vec![(prp1, first)];
    let mut left = bytes - first;
    if left > 0 && left <= PAGE_SIZE {
        assert!(prp2.is_multiple_of(PAGE_SIZE), "a second page that begins inside one");
        pieces.push((prp2, left));
        return pieces;
    }
    let mut list = prp2;
    while left > 0 {
        let entry = machine.read(PhysAddr(list), 8);
        let entry = u64::from_le_bytes(entry.try_into().unwrap());
        assert!(entry.is_multiple_of(PAGE_SIZE), "an entry inside a page");
        if (list + 8).is_multiple_of(PAGE_SIZE) && left > PAGE_SIZE {
            list = entry;
            continue;
        }
        pieces.push((entry, left.min(PAGE_SIZE)));
        left -= left.min(PAGE_SIZE);
        list += 8;
    }
    pieces
}
