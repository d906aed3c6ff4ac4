//! A virtio block device for tests, and what can be wrong with one.
//!
//! It judges the driver as the specification does: a chain that breaks a rule
//! fails the test.

use super::device::VirtioBlk;
use super::spec::{Descriptor, Features, Operation, RequestHeader, USED_NO_NOTIFY, UsedElement};
use super::spec::{config, status};
use crate::fakes::FakeMachine;
use crate::faults::{Culprit, Fault, Faults};
use crate::models::Scripted;
use crate::pci::Endpoint;
use crate::place::Place;
use crate::queue::{BlockQueue, DeviceError};
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::{Lba, PhysAddr};
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const SECTOR: usize = 512;

/// What the device is and how it behaves; tests change it at any time.
pub struct Model {
    machine: &'static FakeMachine,
    /// What it offers.
    pub features: Cell<Features>,
    /// Entries that it allows its queue.
    pub queue_size: Cell<u32>,
    /// Its configuration.
    pub config: RefCell<[u8; 64]>,
    /// What lies on it.
    pub disk: RefCell<Vec<u8>>,
    /// Its serial number, as GET_ID gives it.
    pub serial: Cell<[u8; 20]>,
    /// Whether it answers a request as soon as it is notified.
    pub answers_at_once: Cell<bool>,
    /// The status that it gives to the next requests instead of the true one.
    pub next_status: Cell<Option<u8>>,
    /// Whether writing 0 to its status resets it.
    pub can_reset: Cell<bool>,
    /// Bits of its status that it sets by itself.
    pub own_status: Cell<u32>,
    /// Features without which it does not go on.
    pub insists_on: Cell<u64>,
    /// How often it was notified.
    pub notifications: Cell<usize>,
    /// How many flushes it was asked for.
    pub flushes: Cell<usize>,
    status: Cell<u32>,
    /// Whether it was told to reset; it is done when its status is read.
    resetting: Cell<bool>,
    agreed: Cell<u64>,
    generation: Cell<u32>,
    /// How often its configuration is to change while it is read.
    pub restless: Cell<u32>,
    queue: RefCell<Option<Queue>>,
    faults: Faults,
}

/// The queue as the driver set it up, and the device's own counters.
struct Queue {
    size: u16,
    descriptors: PhysAddr,
    available: PhysAddr,
    used: PhysAddr,
    seen: u16,
    used_index: u16,
    /// Heads that wait for their answer.
    pending: Vec<u16>,
    /// Heads whose answer is late, and when it comes.
    late: Vec<(u64, u16)>,
}

/// The driver's side of a [`Model`].
pub struct ModelTransport(pub Rc<Model>);

impl Model {
    /// A device of `sectors` sectors with everything that a usual one has.
    pub fn new(machine: &'static FakeMachine, sectors: usize) -> Rc<Self> {
        let model = Self {
            machine,
            features: Cell::new(
                Features::SEG_MAX
                    | Features::BLK_SIZE
                    | Features::FLUSH
                    | Features::CONFIG_WCE
                    | Features::INDIRECT_DESC
                    | Features::VERSION_1,
            ),
            queue_size: Cell::new(256),
            config: RefCell::new([0; 64]),
            disk: RefCell::new(vec![0; sectors * SECTOR]),
            serial: Cell::new(*b"dormouse-1\0\0\0\0\0\0\0\0\0\0"),
            answers_at_once: Cell::new(true),
            next_status: Cell::new(None),
            can_reset: Cell::new(true),
            own_status: Cell::new(0),
            insists_on: Cell::new(0),
            notifications: Cell::new(0),
            flushes: Cell::new(0),
            status: Cell::new(0xf),
            resetting: Cell::new(false),
            agreed: Cell::new(0),
            generation: Cell::new(0),
            restless: Cell::new(0),
            queue: RefCell::new(None),
            faults: Faults::default(),
        };
        model.set_sectors(sectors as u64);
        model.set_config(config::SEG_MAX, &254u32.to_le_bytes());
        model.set_config(config::BLK_SIZE, &512u32.to_le_bytes());
        model.set_config(config::WRITEBACK, &[1]);
        Rc::new(model)
    }

    /// Changes its configuration.
    pub fn set_config(&self, offset: usize, bytes: &[u8]) {
        self.config.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Sets its capacity in sectors.
    pub fn set_sectors(&self, sectors: u64) {
        self.set_config(config::CAPACITY, &sectors.to_le_bytes());
    }

    /// Whether it may reach memory.
    pub fn is_running(&self) -> bool {
        self.queue.borrow().is_some()
    }

    /// How many requests wait for an answer.
    pub fn pending(&self) -> usize {
        self.queue.borrow().as_ref().map_or(0, |queue| queue.pending.len())
    }

    /// Answers the waiting request at this place of the order of arrival.
    pub fn answer(&self, place: usize) {
        let head = self.queue_mut(|queue| queue.pending.remove(place));
        let fault = self.faults.next(self.machine, self.culprit(head));
        match fault {
            Some(Fault::Silence | Fault::Dead) => return,
            Some(fault @ (Fault::Late | Fault::TooLate)) => {
                let due = self.machine.clock_us() + fault.delay_us();
                return self.queue_mut(|queue| queue.late.push((due, head)));
            }
            Some(Fault::Status) => self.next_status.set(Some(status::IOERR)),
            None | Some(Fault::Twice | Fault::WrongId) => {}
        }
        let written = self.serve(head);
        let wrong = u32::from(fault == Some(Fault::WrongId));
        self.put_used(u32::from(head) ^ wrong, written);
        if fault == Some(Fault::Twice) {
            self.put_used(u32::from(head), written);
        }
    }

    /// What the driver's error would call the request that begins at `head`.
    fn culprit(&self, head: u16) -> Culprit {
        let first = self.chain(head)[0];
        let header: RequestHeader = self.value(PhysAddr(first.address));
        let is = |operation| header.operation == operation as u32;
        let (operation, lba) = if is(Operation::Read) {
            ("read", Some(Lba(header.sector)))
        } else if is(Operation::Write) {
            ("write", Some(Lba(header.sector)))
        } else if is(Operation::Flush) {
            ("flush", None)
        } else {
            ("identify", None)
        };
        Culprit { operation, lba }
    }

    /// Answers what is late and due by now.
    fn answer_late(&self) {
        let now = self.machine.clock_us();
        let due = || {
            let mut queue = self.queue.borrow_mut();
            let late = &mut queue.as_mut()?.late;
            let place = late.iter().position(|(due, _)| *due <= now)?;
            Some(late.remove(place).1)
        };
        while let Some(head) = due() {
            let written = self.serve(head);
            self.put_used(u32::from(head), written);
        }
    }

    /// Puts an entry into the used ring, whatever it says.
    pub fn put_used(&self, id: u32, length: u32) {
        let (entry, index_at, index) = self.queue_mut(|queue| {
            let place = u64::from(queue.used_index % queue.size) * 8;
            queue.used_index = queue.used_index.wrapping_add(1);
            (PhysAddr(queue.used.0 + 4 + place), PhysAddr(queue.used.0 + 2), queue.used_index)
        });
        self.machine.write(entry, UsedElement { id, length }.as_bytes());
        self.machine.write(index_at, &index.to_le_bytes());
    }

    /// Moves the used ring's index on by `by` without writing entries.
    pub fn skip_used(&self, by: u16) {
        let (at, index) = self.queue_mut(|queue| {
            queue.used_index = queue.used_index.wrapping_add(by);
            (PhysAddr(queue.used.0 + 2), queue.used_index)
        });
        self.machine.write(at, &index.to_le_bytes());
    }

    /// Says whether it wants to be notified.
    pub fn suppress_notifications(&self, suppress: bool) {
        let at = self.queue_mut(|queue| queue.used);
        let flags = if suppress { USED_NO_NOTIFY } else { 0 };
        self.machine.write(at, &flags.to_le_bytes());
    }

    /// Looks for requests, as it does when it is notified.
    pub fn look(&self) {
        let fresh = self.queue_mut(|queue| {
            let index = self.value::<u16>(PhysAddr(queue.available.0 + 2));
            let fresh = index.wrapping_sub(queue.seen);
            assert!(fresh <= queue.size, "{fresh} chains in a queue of {}", queue.size);
            for _ in 0..fresh {
                let place = u64::from(queue.seen % queue.size) * 2;
                queue.pending.push(self.value(PhysAddr(queue.available.0 + 4 + place)));
                queue.seen = queue.seen.wrapping_add(1);
            }
            fresh
        });
        if self.answers_at_once.get() {
            (0..fresh).for_each(|_| self.answer(0));
        }
    }

    fn queue_mut<R>(&self, with: impl FnOnce(&mut Queue) -> R) -> R {
        with(self.queue.borrow_mut().as_mut().expect("the queue is not set up"))
    }

    fn value<T: FromBytes>(&self, address: PhysAddr) -> T {
        T::read_from_bytes(&self.machine.read(address, size_of::<T>())).unwrap()
    }

    /// The chain that begins at `head`, held against the rules.
    fn chain(&self, head: u16) -> Vec<Descriptor> {
        let (size, table) = self.queue_mut(|queue| (queue.size, queue.descriptors));
        let at = |table: PhysAddr, index: u16| {
            self.value::<Descriptor>(PhysAddr(table.0 + u64::from(index) * 16))
        };
        assert!(head < size, "head {head} is not in the queue");
        let first = at(table, head);
        let (table, entries, mut index) = match first.flags & Descriptor::INDIRECT {
            0 => (table, size, head),
            _ => {
                let agreed = Features::from_bits_truncate(self.agreed.get());
                assert!(agreed.contains(Features::INDIRECT_DESC), "a table without agreement");
                assert_eq!(first.flags, Descriptor::INDIRECT);
                (PhysAddr(first.address), (first.length / 16) as u16, 0)
            }
        };
        let mut chain = Vec::new();
        loop {
            assert!(index < entries, "link {index} of {entries}");
            assert!(chain.len() < usize::from(size), "a chain longer than the queue");
            let descriptor = at(table, index);
            chain.push(descriptor);
            index = descriptor.next;
            if descriptor.flags & Descriptor::NEXT == 0 {
                return chain;
            }
        }
    }

    /// Does what the request asks for; answers how many bytes it wrote.
    fn serve(&self, head: u16) -> u32 {
        let chain = self.chain(head);
        let [first, data @ .., last] = chain.as_slice() else { panic!("a chain of one") };
        assert_eq!((first.length, first.flags & Descriptor::WRITE), (16, 0));
        assert_eq!((last.length, last.flags), (1, Descriptor::WRITE));
        let header: RequestHeader = self.value(PhysAddr(first.address));
        let bytes: u32 = data.iter().map(|piece| piece.length).sum();
        let limits = *self.config.borrow();
        let limit = |offset: usize| u32::read_from_bytes(&limits[offset..offset + 4]).unwrap();
        if self.features.get().contains(Features::SEG_MAX) {
            // Nothing can be moved in no pieces: as in Linux, one is always meant.
            let most = limit(config::SEG_MAX).max(1);
            assert!(data.len() as u32 <= most, "{} pieces", data.len());
        }
        if self.features.get().contains(Features::SIZE_MAX) {
            assert!(data.iter().all(|piece| piece.length <= limit(config::SIZE_MAX)));
        }

        let is = |operation| header.operation == operation as u32;
        let writes_memory = is(Operation::Read) || is(Operation::GetId);
        for piece in data {
            assert_eq!(piece.flags & Descriptor::WRITE != 0, writes_memory, "direction");
        }
        let mut result = status::OK;
        let mut disk = self.disk.borrow_mut();
        let mut offset = header.sector as usize * SECTOR;
        if is(Operation::Read) || is(Operation::Write) {
            let bytes = bytes as usize;
            assert!(bytes.is_multiple_of(SECTOR) && offset + bytes <= disk.len());
            for piece in data {
                let range = offset..offset + piece.length as usize;
                offset = range.end;
                match writes_memory {
                    true => self.machine.write(PhysAddr(piece.address), &disk[range]),
                    false => disk[range].copy_from_slice(
                        &self.machine.read(PhysAddr(piece.address), piece.length as usize),
                    ),
                }
            }
        } else if is(Operation::GetId) {
            assert_eq!(bytes, 20);
            self.machine.write(PhysAddr(data[0].address), &self.serial.get());
        } else if is(Operation::Flush) {
            assert_eq!((header.sector, data.len()), (0, 0));
            self.flushes.set(self.flushes.get() + 1);
        } else {
            result = status::UNSUPP;
        }
        let result = self.next_status.take().unwrap_or(result);
        self.machine.write(PhysAddr(last.address), &[result]);
        if writes_memory { bytes + 1 } else { 1 }
    }
}

/// A [`Model`] in its place on PCI.
pub struct Shared {
    /// The device.
    pub model: Rc<Model>,
    /// Where it is.
    pub address: PciAddress,
}

impl Scripted for Shared {
    fn faults(&self) -> &Faults {
        &self.model.faults
    }

    fn open(self: Rc<Self>) -> Result<Box<dyn BlockQueue>, DeviceError> {
        let machine = self.model.machine;
        let endpoint = Endpoint::enable(machine, self.address).expect("the fake PCI");
        let place = Place::controller("virtio-blk", self.address);
        let transport = ModelTransport(self.model.clone());
        Ok(Box::new(VirtioBlk::start(machine, place, Some(endpoint), transport)?))
    }

    fn introduce(&self, words: &[u8]) {
        let (features, words) = words.split_at(8);
        let (queue_size, config) = words.split_at(4);
        let features = u64::from_le_bytes(features.try_into().unwrap());
        self.model.features.set(Features::from_bits_retain(features));
        self.model.queue_size.set(u32::from_le_bytes(queue_size.try_into().unwrap()));
        self.model.set_config(0, &config[..64]);
    }

    fn forge(&self, what: u64) {
        if !self.model.is_running() {
            return;
        }
        let (kind, what) = (what as u8 & 3, (what >> 8) as u32);
        match kind {
            0 => self.model.put_used(what & 0x1ff, what >> 16),
            1 => self.model.put_used(what, 1),
            2 => self.model.skip_used(what as u16),
            _ => self.model.own_status.set(what & 0xc0),
        }
    }

    fn revive(&self) {
        self.model.own_status.set(0);
        self.model.status.set(0);
        *self.model.queue.borrow_mut() = None;
    }

    fn settle(&self) {
        if self.model.machine.is_bus_master(self.address) {
            self.model.answer_late();
        }
    }

    fn disk(&self) -> RefMut<'_, Vec<u8>> {
        self.model.disk.borrow_mut()
    }
}

impl Transport for ModelTransport {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        self.0.features.get().bits()
    }

    fn write_driver_features(&mut self, features: u64) {
        assert_eq!(features & !self.0.features.get().bits(), 0, "features that were not offered");
        self.0.agreed.set(features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        assert_eq!(queue, 0);
        self.0.queue_size.get()
    }

    fn notify(&mut self, queue: u16) {
        assert_eq!(queue, 0);
        assert!(self.get_status().contains(DeviceStatus::DRIVER_OK), "notified too early");
        self.0.notifications.set(self.0.notifications.get() + 1);
        self.0.look();
    }

    fn get_status(&self) -> DeviceStatus {
        if self.0.faults.is_dead() {
            return DeviceStatus::from_bits_retain(0xff);
        }
        self.0.answer_late();
        if self.0.resetting.get() && self.0.can_reset.get() {
            self.0.resetting.set(false);
            self.0.status.set(0);
            self.0.agreed.set(0);
            *self.0.queue.borrow_mut() = None;
        }
        DeviceStatus::from_bits_retain(self.0.status.get() | self.0.own_status.get())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        if self.0.faults.is_dead() {
            return;
        }
        let mut bits = status.bits();
        if bits == 0 {
            self.0.resetting.set(true);
            return;
        }
        assert_eq!(bits & self.0.status.get(), self.0.status.get(), "a status bit was cleared");
        if self.0.insists_on.get() & !self.0.agreed.get() != 0 {
            bits &= !DeviceStatus::FEATURES_OK.bits();
        }
        self.0.status.set(bits);
    }

    fn set_guest_page_size(&mut self, _: u32) {
        panic!("only the legacy interface has a page size");
    }

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, driver: u64, device: u64) {
        assert_eq!(queue, 0);
        assert!(size.is_power_of_two() && size <= self.0.queue_size.get());
        assert_eq!((descriptors % 16, driver % 2, device % 4), (0, 0, 0));
        assert!(self.get_status().contains(DeviceStatus::FEATURES_OK));
        *self.0.queue.borrow_mut() = Some(Queue {
            size: size as u16,
            descriptors: PhysAddr(descriptors),
            available: PhysAddr(driver),
            used: PhysAddr(device),
            seen: 0,
            used_index: 0,
            pending: Vec::new(),
            late: Vec::new(),
        });
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, _: u16) -> bool {
        self.0.is_running()
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.0.generation.get()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        if let Some(left) = self.0.restless.get().checked_sub(1) {
            self.0.restless.set(left);
            self.0.generation.set(self.0.generation.get() + 1);
        }
        let config = self.0.config.borrow();
        Ok(T::read_from_bytes(&config[offset..offset + size_of::<T>()]).unwrap())
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        panic!("the driver changes no configuration");
    }
}
