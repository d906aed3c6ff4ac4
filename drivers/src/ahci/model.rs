//! An AHCI controller with disks for tests, and what can be wrong with them.
//!
//! It judges the driver as the specification does: an access that breaks a rule
//! fails the test.

use super::controller::Controller;
use super::disk::Disk;
use super::identify::{BLOCKS, MODEL, SERIAL, WORDS};
use super::spec::{CAP2_HANDOFF, Command, DETECT_UP, Fault, Global, Handoff, host, port};
use crate::fakes::FakeMachine;
use crate::faults::{Culprit, Fault as Played, Faults};
use crate::models::Scripted;
use crate::pci::Endpoint;
use crate::place::Place;
use crate::platform::Platform;
use crate::queue::{BlockQueue, DeviceError};
use crate::registers::Registers;
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::{Lba, PhysAddr};
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;

/// A disk's status when it is ready, when it failed a command, and before its
/// first word after a reset.
const READY: u32 = 0x50;
const FAILED: u32 = 0x51;
const SILENT: u32 = 0x7f;

/// The capability to queue commands in the disk (CAP.SNCQ).
pub const QUEUES: u32 = 1 << 30;
/// The port with the disk, for tests outside this crate.
const DISK_PORT: u32 = 1;

/// What is on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// Nothing.
    Nothing,
    /// A disk.
    Disk,
    /// A CD drive.
    Atapi,
}

/// A port and what is on it; tests change it at any time.
pub struct FakePort {
    /// What is there.
    pub attached: Attached,
    /// What a disk says of itself.
    pub identity: [u16; WORDS],
    /// What lies on it.
    pub data: Vec<u8>,
    /// Bytes in a block.
    pub block: usize,
    /// Whether it answers a command as soon as it is issued.
    pub answers_at_once: bool,
    /// A block that cannot be read or written.
    pub bad_block: Option<u64>,
    /// Whether the slot of a failed command is given back, as QEMU does.
    pub gives_failed_back: bool,
    /// Bits of slots that it says are under way though nobody issued them.
    pub stray: u32,
    /// The command list never stops.
    pub never_stops: bool,
    /// The receiver never stops.
    pub always_receives: bool,
    /// When a disk is ready after a reset, on the machine's clock.
    pub ready_at_us: u64,
    /// Slots that wait for an answer, in the order of arrival.
    pub pending: Vec<u32>,
    /// Slots whose answer is late, and when it comes.
    late: Vec<(u64, u32)>,
    /// Writes that the disk has taken, data and all, and does late: when, where
    /// and what. Its port has forgotten them.
    taken: Vec<(u64, usize, Vec<u8>)>,
    /// Resets of the link, flushes and standbys so far.
    pub link_resets: usize,
    pub flushes: usize,
    pub standbys: usize,
    /// The most queued commands at a time so far.
    pub most_queued: u32,
    clb: u64,
    fb: u64,
    interrupts: u32,
    command: u32,
    task_file: u32,
    signature: u32,
    control: u32,
    reset_since_us: u64,
    queued: u32,
    issued: u32,
    /// The first FIS after a reset has not been taken yet.
    owes_fis: bool,
    /// A command failed: nothing is worked on until the list is stopped.
    halted: bool,
    /// A queued command failed: none is taken until the link is reset.
    wants_reset: bool,
}

impl FakePort {
    fn new(attached: Attached) -> Self {
        Self {
            attached,
            identity: answer(8192),
            data: vec![0; 4 << 20],
            block: 512,
            answers_at_once: true,
            bad_block: None,
            gives_failed_back: false,
            stray: 0,
            never_stops: false,
            always_receives: false,
            ready_at_us: 0,
            pending: Vec::new(),
            late: Vec::new(),
            taken: Vec::new(),
            link_resets: 0,
            flushes: 0,
            standbys: 0,
            most_queued: 0,
            clb: 0,
            fb: 0,
            interrupts: 0,
            command: 0,
            task_file: SILENT,
            signature: u32::MAX,
            control: 0,
            reset_since_us: 0,
            queued: 0,
            issued: 0,
            owes_fis: true,
            halted: false,
            wants_reset: false,
        }
    }

    /// Whether it works on commands or takes FISes: both reach memory.
    pub fn is_live(&self) -> bool {
        Command::from_bits_retain(self.command).intersects(Command::START | Command::RECEIVE)
    }

    /// Raises a fault, as for a command under way.
    pub fn fault(&mut self, fault: Fault) {
        self.interrupts |= fault.bits();
        self.halted = true;
    }

    /// As after a reset of link or controller.
    fn reset(&mut self) {
        (self.task_file, self.signature) = (SILENT, u32::MAX);
        (self.queued, self.issued) = (0, 0);
        self.pending.clear();
        self.late.clear();
        self.taken.clear();
        (self.owes_fis, self.wants_reset) = (true, false);
    }

    /// A command list that is working when the driver finds it.
    pub fn leave_running(&mut self) {
        let live = Command::START | Command::RECEIVE | Command::RUNNING | Command::RECEIVING;
        self.command = live.bits();
        (self.task_file, self.signature, self.owes_fis) = (READY, 0x101, false);
    }

    /// A disk that has hung on a command when the driver finds it.
    pub fn leave_busy(&mut self) {
        self.leave_running();
        self.task_file = 0xd0;
    }
}

/// A command as it lies in a slot: its FIS, its direction, and its memory.
struct Task {
    fis: Vec<u8>,
    writes: bool,
    pieces: Vec<(u64, usize)>,
}

/// The first block that a command names.
fn block_of(fis: &[u8]) -> u64 {
    u64::from_le_bytes([fis[4], fis[5], fis[6], fis[8], fis[9], fis[10], 0, 0])
}

/// The controller.
pub struct Model {
    machine: &'static FakeMachine,
    address: PciAddress,
    /// Its capabilities.
    pub capabilities: Cell<u32>,
    /// Whether firmware owns it, is busy, and lets go of it.
    pub firmware_owns: Cell<bool>,
    pub firmware_is_busy: Cell<bool>,
    pub firmware_lets_go: Cell<bool>,
    /// Whether it turns to AHCI.
    pub can_speak_ahci: Cell<bool>,
    /// Whether it says which ports there are.
    pub names_ports: Cell<bool>,
    /// Resets so far.
    pub resets: Cell<usize>,
    /// Whether a reset never ends.
    pub never_resets: Cell<bool>,
    global: Cell<u32>,
    ports: RefCell<Vec<FakePort>>,
    faults: Faults,
}

impl Model {
    /// A controller with these ports, 32 command slots and all abilities.
    pub fn new(machine: &'static FakeMachine, address: PciAddress, ports: &[Attached]) -> Self {
        let queues_and_wide = 1 << 30 | 1 << 31;
        Self {
            machine,
            address,
            capabilities: Cell::new(queues_and_wide | 31 << 8 | (ports.len() as u32 - 1)),
            firmware_owns: Cell::new(false),
            firmware_is_busy: Cell::new(false),
            firmware_lets_go: Cell::new(true),
            can_speak_ahci: Cell::new(true),
            names_ports: Cell::new(true),
            resets: Cell::new(0),
            never_resets: Cell::new(false),
            global: Cell::new(0),
            ports: RefCell::new(ports.iter().map(|kind| FakePort::new(*kind)).collect()),
            faults: Faults::default(),
        }
    }

    /// One of the ports.
    pub fn port(&self, number: usize) -> RefMut<'_, FakePort> {
        RefMut::map(self.ports.borrow_mut(), |ports| &mut ports[number])
    }

    /// Answers the waiting command at this place of the order of arrival.
    pub fn answer(&self, number: usize, place: usize) {
        let slot = self.port(number).pending.remove(place);
        self.serve(&mut self.port(number), slot);
    }

    fn write_port(&self, number: usize, register: usize, value: u32) {
        let speaks = Global::from_bits_retain(self.global.get()).contains(Global::ENABLE);
        assert!(speaks, "a port was touched before GHC.AE");
        let now = self.machine.now_us();
        let mut port = self.port(number);
        let started = port.command & Command::START.bits() != 0;
        let receives = port.command & Command::RECEIVE.bits() != 0;
        match register {
            port::CLB | 0x04 => {
                assert!(!started, "PxCLB changed while PxCMD.ST");
                set_half(&mut port.clb, register - port::CLB, value);
            }
            port::FB | 0x0c => {
                assert!(!receives, "PxFB changed while PxCMD.FRE");
                set_half(&mut port.fb, register - port::FB, value);
            }
            port::IS => port.interrupts &= !value,
            port::IE => assert_eq!(value, 0, "interrupts on a polled port"),
            port::CMD => self.set_command(&mut port, value, now),
            port::SCTL => {
                assert_eq!(value & 0xf00, 0x300, "the link may save power");
                if value & 0xf == 1 && port.control & 0xf != 1 {
                    assert!(!started, "a link reset while PxCMD.ST");
                    port.reset_since_us = now;
                }
                if value & 0xf == 0 && port.control & 0xf == 1 {
                    assert!(now - port.reset_since_us >= 1000, "a link reset of under 1 ms");
                    port.link_resets += 1;
                    port.reset();
                }
                port.control = value;
            }
            port::SERR => {}
            port::SACT => {
                assert!(started, "PxSACT set while not PxCMD.ST");
                port.queued |= value;
                port.most_queued = port.most_queued.max(port.queued.count_ones());
            }
            port::CI => {
                assert!(started, "PxCI set while not PxCMD.ST");
                assert!(self.machine.is_bus_master(self.address), "it cannot reach memory");
                assert_eq!(port.issued & value, 0, "a slot was issued twice");
                port.issued |= value;
                let slots = (0..32).filter(|slot| value & 1 << slot != 0);
                port.pending.extend(slots);
                while port.answers_at_once && !port.pending.is_empty() {
                    let slot = port.pending.remove(0);
                    self.serve(&mut port, slot);
                }
            }
            _ => panic!("port register {register:#x} was written"),
        }
    }

    fn read_port(&self, number: usize, register: usize) -> u32 {
        let now = self.machine.now_us();
        let mut port = self.port(number);
        deliver_fis(&mut port, now);
        self.do_what_is_due(&mut port, now);
        match register {
            port::IS => port.interrupts,
            port::CMD => port.command,
            port::TFD => port.task_file,
            port::SIG => port.signature,
            port::SSTS if port.attached == Attached::Nothing || port.control & 0xf == 1 => 0,
            port::SSTS => DETECT_UP | 1 << 8 | 1 << 4,
            port::SCTL => port.control,
            port::SACT => port.queued | port.stray,
            port::CI => port.issued | port.stray,
            _ => panic!("port register {register:#x} was read"),
        }
    }

    /// Does what is late and due by now. Of a controller that may not reach
    /// memory nothing comes of that but what the disk has already.
    fn do_what_is_due(&self, port: &mut FakePort, now: u64) {
        while let Some(i) = port.late.iter().position(|(due, _)| *due <= now) {
            let (_, slot) = port.late.remove(i);
            if self.machine.is_bus_master(self.address) {
                self.finish(port, slot, None);
            }
        }
        while let Some(i) = port.taken.iter().position(|(due, ..)| *due <= now) {
            let (_, at, data) = port.taken.remove(i);
            port.data[at..at + data.len()].copy_from_slice(&data);
        }
    }

    /// The list stops: the controller forgets its commands, unless it does not
    /// stop. The disk forgets none that it has taken.
    fn forget(&self, port: &mut FakePort) {
        if port.never_stops {
            return;
        }
        for (due, slot) in std::mem::take(&mut port.late) {
            let Task { fis, pieces, .. } = self.task(port, slot);
            if matches!(fis[2], 0x35 | 0x61) {
                let read = |&(address, bytes)| self.machine.read(PhysAddr(address), bytes);
                let data = pieces.iter().flat_map(read).collect();
                port.taken.push((due, block_of(&fis) as usize * port.block, data));
            }
        }
        (port.queued, port.issued, port.halted) = (0, 0, false);
        port.pending.clear();
    }

    /// Does what the command in a slot asks for, unless the script has another
    /// fate for it.
    fn serve(&self, port: &mut FakePort, slot: u32) {
        if port.halted || port.issued & 1 << slot == 0 || self.faults.is_dead() {
            return;
        }
        match self.faults.next(self.machine, self.culprit(port, slot)) {
            // A slot has no second answer: its bit is clear already.
            None | Some(Played::Twice) => self.finish(port, slot, None),
            Some(Played::Status) => self.finish(port, slot, Some(0x04)),
            Some(Played::Silence | Played::Dead) => {}
            Some(fault @ (Played::Late | Played::TooLate)) => {
                port.late.push((self.machine.clock_us() + fault.delay_us(), slot));
            }
            Some(Played::WrongId) => {
                let before = (port.issued, port.queued);
                self.finish(port, slot, None);
                // Some other command's bit is cleared in its stead.
                let others = before.0 & !(1 << slot);
                let cleared = others & others.wrapping_neg();
                (port.issued, port.queued) = (before.0 & !cleared, before.1 & !cleared);
            }
        }
    }

    fn set_command(&self, port: &mut FakePort, value: u32, now: u64) {
        let is = |bit: Command| value & bit.bits() != 0;
        if is(Command::START) && port.command & Command::START.bits() == 0 {
            deliver_fis(port, now);
            assert!(is(Command::RECEIVE), "PxCMD.ST without FRE");
            assert_eq!(port.task_file & 0x88, 0, "PxCMD.ST while the device is busy");
            assert_ne!(port.clb, 0);
        }
        if !is(Command::START) {
            self.forget(port);
        }
        let own = Command::RUNNING | Command::RECEIVING | Command::LINK_ACTIVE;
        port.command = value & !own.bits();
        if is(Command::START) || port.never_stops {
            port.command |= Command::RUNNING.bits();
        }
        if is(Command::RECEIVE) || port.always_receives {
            port.command |= Command::RECEIVING.bits();
        }
        deliver_fis(port, now);
    }

    /// What the driver's error would call the command in a slot.
    fn culprit(&self, port: &FakePort, slot: u32) -> Culprit {
        let Task { fis, .. } = self.task(port, slot);
        let lba = block_of(&fis);
        let (operation, lba) = match fis[2] {
            0x25 | 0x60 => ("read", Some(Lba(lba))),
            0x35 | 0x61 => ("write", Some(Lba(lba))),
            0xec => ("identify", None),
            0xea => ("flush", None),
            _ => ("standby", None),
        };
        Culprit { operation, lba }
    }

    /// What lies in a slot.
    fn task(&self, port: &FakePort, slot: u32) -> Task {
        let word = |address: u64| {
            u32::from_le_bytes(self.machine.read(PhysAddr(address), 4).try_into().unwrap())
        };
        let header = port.clb + u64::from(slot) * 32;
        let (flags, table) = (word(header), u64::from(word(header + 8)));
        let table = table | u64::from(word(header + 12)) << 32;
        assert!(table.is_multiple_of(128));
        assert_eq!(flags & 0x1f, 5, "words in the command FIS");
        let writes = flags & 1 << 6 != 0;
        let fis = self.machine.read(PhysAddr(table), 20);
        assert_eq!((fis[0], fis[1]), (0x27, 0x80));
        let pieces: Vec<(u64, usize)> = (0..u64::from(flags >> 16))
            .map(|i| table + 0x80 + i * 16)
            .map(|at| {
                let count = word(at + 12);
                assert!(count & 1 == 1 && count < 4 << 20, "a piece of {count} + 1 bytes");
                (u64::from(word(at)) | u64::from(word(at + 4)) << 32, count as usize + 1)
            })
            .collect();
        Task { fis, writes, pieces }
    }

    /// Does a command, or fails it with an error register of `told`.
    fn finish(&self, port: &mut FakePort, slot: u32, told: Option<u32>) {
        let Task { fis, writes, pieces } = self.task(port, slot);
        let bytes: usize = pieces.iter().map(|piece| piece.1).sum();

        let lba = block_of(&fis);
        let is_queued = matches!(fis[2], 0x60 | 0x61);
        let count = match is_queued {
            true => {
                assert_eq!(u32::from(fis[12]), slot << 3, "the tag is not the slot");
                assert_ne!(port.queued & 1 << slot, 0, "a queued command without PxSACT");
                u16::from_le_bytes([fis[3], fis[11]])
            }
            false => {
                assert_eq!(port.queued, 0, "a plain command among queued ones");
                u16::from_le_bytes([fis[12], fis[13]])
            }
        };
        let failure = match fis[2] {
            _ if told.is_some() => told,
            0xec => {
                assert_eq!((bytes, writes), (512, false));
                let answer: Vec<u8> = port.identity.iter().flat_map(|w| w.to_le_bytes()).collect();
                self.machine.write(PhysAddr(pieces[0].0), &answer);
                None
            }
            0xea => {
                port.flushes += 1;
                None
            }
            0xe0 => {
                port.standbys += 1;
                None
            }
            0x25 | 0x35 | 0x60 | 0x61 => {
                assert_eq!(writes, matches!(fis[2], 0x35 | 0x61), "direction");
                assert_eq!(fis[7], 0x40);
                assert_eq!(bytes, usize::from(count) * port.block, "bytes and blocks");
                let blocks = lba..lba + u64::from(count);
                if port.bad_block.is_some_and(|bad| blocks.contains(&bad)) {
                    Some(0x40)
                } else if is_queued && port.wants_reset {
                    Some(0x04)
                } else {
                    self.transfer(port, lba as usize * port.block, &pieces, writes);
                    None
                }
            }
            _ => Some(0x04),
        };
        let bit = 1 << slot;
        match failure {
            None => {
                port.issued &= !bit;
                port.queued &= !bit;
            }
            Some(error) => {
                port.task_file = error << 8 | FAILED;
                port.fault(Fault::TASK_FILE);
                if is_queued {
                    // The disk had taken all of them.
                    port.wants_reset = true;
                    port.issued = 0;
                } else if port.gives_failed_back {
                    port.issued &= !bit;
                }
            }
        }
    }

    fn transfer(
        &self,
        port: &mut FakePort,
        mut offset: usize,
        pieces: &[(u64, usize)],
        writes: bool,
    ) {
        for &(address, bytes) in pieces {
            let range = offset..offset + bytes;
            offset = range.end;
            match writes {
                true => {
                    port.data[range].copy_from_slice(&self.machine.read(PhysAddr(address), bytes))
                }
                false => self.machine.write(PhysAddr(address), &port.data[range]),
            }
        }
    }
}

fn set_half(register: &mut u64, half: usize, value: u32) {
    let shift = half * 8;
    *register = *register & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift;
}

/// The FIS by which a device says that its reset is done.
fn deliver_fis(port: &mut FakePort, now: u64) {
    let receives = port.command & Command::RECEIVE.bits() != 0;
    if port.owes_fis && receives && now >= port.ready_at_us && port.control & 0xf == 0 {
        let signature = match port.attached {
            Attached::Nothing => return,
            Attached::Disk => 0x101,
            Attached::Atapi => 0xeb14_0101,
        };
        (port.task_file, port.signature, port.owes_fis) = (READY, signature, false);
    }
}

impl Scripted for Model {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn open(self: Rc<Self>) -> Result<Box<dyn BlockQueue>, DeviceError> {
        let place = Place::controller("ahci", self.address).unit("port", DISK_PORT);
        let endpoint = Endpoint::enable(self.machine, self.address).expect("the fake PCI");
        let machine = self.machine;
        let controller = Controller::take_over(machine, self)
            .map_err(|cause| place.error("take over", cause))?;
        Ok(Box::new(Disk::start(machine, place, endpoint, controller, DISK_PORT)?))
    }

    fn introduce(&self, words: &[u8]) {
        let mut port = self.port(DISK_PORT as usize);
        for (word, bytes) in port.identity.iter_mut().zip(words.chunks_exact(2)) {
            *word = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
    }

    fn forge(&self, what: u64) {
        let mut port = self.port(DISK_PORT as usize);
        let (kind, what) = (what as u8 & 3, (what >> 8) as u32);
        match kind {
            0 => port.stray = what,
            1 => port.fault(Fault::from_bits_truncate(what)),
            2 => port.task_file = what & 0xffff | FAILED,
            _ => (port.stray, port.never_stops) = (0, what & 1 != 0),
        }
    }

    fn revive(&self) {
        for port in self.ports.borrow_mut().iter_mut() {
            port.command = 0;
            (port.halted, port.interrupts) = (false, 0);
            (port.stray, port.never_stops) = (0, false);
            port.reset();
        }
        self.global.set(0);
    }

    fn settle(&self) {
        self.do_what_is_due(&mut self.port(DISK_PORT as usize), self.machine.clock_us());
    }

    fn disk(&self) -> RefMut<'_, Vec<u8>> {
        RefMut::map(self.port(DISK_PORT as usize), |port| &mut port.data)
    }
}

/// A usual disk of this many blocks of 512 bytes: queued commands, 32 at a
/// time, and a write cache.
pub fn answer(blocks: u64) -> [u16; WORDS] {
    let mut words = [0; WORDS];
    put_text(&mut words[SERIAL], "  DM-0001");
    put_text(&mut words[MODEL], "Dormouse disk");
    words[49] = 1 << 9 | 1 << 8;
    words[75] = 31;
    words[76] = 1 << 8;
    words[83] = 1 << 14 | 1 << 13 | 1 << 10;
    words[85] = 1 << 5;
    words[87] = 1 << 14;
    for (i, word) in words[BLOCKS].iter_mut().enumerate() {
        *word = (blocks >> (16 * i)) as u16;
    }
    words
}

/// Writes text as ATA does, the bytes of each word swapped.
pub fn put_text(words: &mut [u16], text: &str) {
    let padded = format!("{text:width$}", width = words.len() * 2);
    for (word, pair) in words.iter_mut().zip(padded.as_bytes().chunks(2)) {
        *word = u16::from_be_bytes([pair[0], pair[1]]);
    }
}

impl Registers for Model {
    fn read32(&self, offset: usize) -> u32 {
        if self.faults.is_dead() {
            return u32::MAX;
        }
        match offset {
            host::CAP => self.capabilities.get(),
            host::GHC => self.global.get(),
            host::PI if self.names_ports.get() => (1 << self.ports.borrow().len()) - 1,
            host::PI => 0,
            host::CAP2 => CAP2_HANDOFF,
            host::BOHC => {
                let mut handoff = Handoff::empty();
                handoff.set(Handoff::FIRMWARE, self.firmware_owns.get());
                handoff.set(Handoff::BUSY, self.firmware_is_busy.get());
                handoff.bits()
            }
            _ => self.read_port((offset - host::PORTS) / 0x80, offset % 0x80),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        if self.faults.is_dead() {
            return;
        }
        match offset {
            host::GHC => {
                let mut global = Global::from_bits_retain(value);
                assert!(!global.contains(Global::INTERRUPTS));
                global.set(Global::ENABLE, self.can_speak_ahci.get());
                if global.contains(Global::RESET) {
                    self.resets.set(self.resets.get() + 1);
                    if !self.never_resets.get() {
                        for port in self.ports.borrow_mut().iter_mut() {
                            (port.never_stops, port.command) = (false, 0);
                            port.reset();
                        }
                        global = Global::empty();
                    }
                }
                self.global.set(global.bits());
            }
            host::BOHC => {
                assert_ne!(value & Handoff::SYSTEM.bits(), 0);
                self.firmware_owns.set(!self.firmware_lets_go.get());
            }
            _ => self.write_port((offset - host::PORTS) / 0x80, offset % 0x80, value),
        }
    }
}
