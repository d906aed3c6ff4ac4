//! The scripted controllers as disks, for tests outside this crate: whole
//! drivers, with a fault at a command of one's choice.

use crate::ahci::model as ahci;
use crate::fakes::{FakeMachine, at};
use crate::faults::{Culprit, Fault, Faults};
use crate::guard::Guarded;
use crate::nvme::model as nvme;
use crate::platform::Platform;
use crate::queue::{BlockQueue, DeviceError};
use crate::virtio_blk::model as virtio_blk;
use dormouse_handoff::plan::{PciAddress, Transport};
use std::cell::RefMut;
use std::rc::Rc;

/// What a scripted controller offers to [`ModelDisk`].
pub(crate) trait Scripted {
    /// Its faults.
    fn faults(&self) -> &Faults;
    /// Starts its driver.
    fn open(self: Rc<Self>) -> Result<Box<dyn BlockQueue>, DeviceError>;
    /// Has it say `words` of itself.
    fn introduce(&self, words: &[u8]);
    /// Has it answer what nobody asked.
    fn forge(&self, what: u64);
    /// Does what is late and due by now, as far as it can.
    fn settle(&self);
    /// Makes a dead controller one that was just switched on.
    fn revive(&self);
    /// What lies on it.
    fn disk(&self) -> RefMut<'_, Vec<u8>>;
}

/// Which controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// NVMe.
    Nvme,
    /// AHCI, with commands queued in the disk.
    Ahci,
    /// AHCI, with commands queued in the controller.
    AhciPlain,
    /// virtio-blk.
    VirtioBlk,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Nvme, Self::Ahci, Self::AhciPlain, Self::VirtioBlk];

    /// How plan and image name it.
    pub fn transport(self) -> Transport {
        match self {
            Self::Nvme => Transport::Nvme,
            Self::Ahci | Self::AhciPlain => Transport::Ahci,
            Self::VirtioBlk => Transport::VirtioBlk,
        }
    }
}

/// A disk of 512-byte blocks behind a scripted controller.
pub struct ModelDisk {
    machine: &'static FakeMachine,
    model: Rc<dyn Scripted>,
}

impl ModelDisk {
    /// Where its controller is.
    pub const ADDRESS: PciAddress = at(0, 4, 0);

    /// A disk with these contents, the only one of the machine. It takes
    /// requests of at most 64 KiB where its interface can say so, so that small
    /// transfers are many commands.
    pub fn new(kind: Kind, machine: &'static FakeMachine, contents: Vec<u8>) -> Self {
        let blocks = contents.len() as u64 / 512;
        let model: Rc<dyn Scripted> = match kind {
            Kind::Nvme => {
                machine.add_function(Self::ADDRESS, (0x1b36, 0x0010), (1, 8, 2), 0);
                let script = nvme::Script { blocks, mdts: 4, ..Default::default() };
                Rc::new(nvme::Model::new(machine, Self::ADDRESS, script))
            }
            Kind::Ahci | Kind::AhciPlain => {
                machine.add_function(Self::ADDRESS, (0x8086, 0x2922), (1, 6, 1), 0);
                let ports = [ahci::Attached::Atapi, ahci::Attached::Disk];
                let model = ahci::Model::new(machine, Self::ADDRESS, &ports);
                model.port(0).data = Vec::new();
                model.port(1).identity = ahci::answer(blocks);
                if kind == Kind::AhciPlain {
                    model.capabilities.set(model.capabilities.get() & !ahci::QUEUES);
                }
                Rc::new(model)
            }
            Kind::VirtioBlk => {
                machine.add_function(Self::ADDRESS, (0x1af4, 0x1042), (1, 0, 0), 0);
                let model = virtio_blk::Model::new(machine, 0);
                model.set_sectors(blocks);
                Rc::new(virtio_blk::Shared { model, address: Self::ADDRESS })
            }
        };
        *model.disk() = contents;
        Self { machine, model }
    }

    /// Starts the driver, guarded, with nothing granted.
    ///
    /// # Errors
    /// The driver's.
    pub fn open(&self) -> Result<Guarded, DeviceError> {
        self.model.clone().open().map(Guarded::new)
    }

    /// Has the command go wrong that has the number `at` from now on, counted
    /// from 0, those of the driver's own included.
    pub fn fail(&self, at: usize, fault: Fault) {
        self.model.faults().set(Some((at, fault)));
    }

    /// Says what becomes of each of the next commands.
    pub fn script(&self, fates: Vec<Option<Fault>>) {
        self.model.faults().script(fates);
    }

    /// Has the device say `words` of itself: identify pages of an NVMe
    /// controller and its namespace, the answer of an ATA disk to IDENTIFY
    /// DEVICE, features (8 bytes), queue size (4) and configuration (64) of a
    /// virtio device. It may say of itself what is not so: nothing can be read
    /// or written then.
    ///
    /// # Panics
    /// Where there are fewer words than that.
    pub fn introduce(&self, words: &[u8]) {
        self.model.introduce(words);
    }

    /// Has the controller answer what nobody asked; which nonsense, `what`
    /// decides.
    pub fn forge(&self, what: u64) {
        self.model.forge(what);
    }

    /// Lets time pass.
    pub fn advance(&self, us: u64) {
        self.machine.advance(us);
    }

    /// A disk without faults, switched on anew if it was dead.
    pub fn repair(&self) {
        self.model.faults().set(None);
        self.machine.set_tick(1);
        self.model.revive();
    }

    /// How many commands the controller got since [`Self::fail`] or
    /// [`Self::repair`].
    pub fn commands(&self) -> usize {
        self.model.faults().seen()
    }

    /// The command that went wrong, if it came to that.
    pub fn culprit(&self) -> Option<Culprit> {
        self.model.faults().culprit()
    }

    /// What the old kernel does first with what was given back to it: the
    /// controller may reach memory again. And what comes of that: what is
    /// late happens now.
    pub fn go_back_to_linux(&self) {
        self.machine.set_tick(1);
        let command = self.machine.pci_read(Self::ADDRESS, 4);
        self.machine.pci_write(Self::ADDRESS, 4, command | 1 << 2);
        self.machine.advance(2 * Fault::TooLate.delay_us());
        if !self.model.faults().is_dead() {
            self.model.settle();
        }
        self.machine.pci_write(Self::ADDRESS, 4, command);
    }

    /// Whether the controller may reach memory.
    pub fn reaches_memory(&self) -> bool {
        self.machine.is_bus_master(Self::ADDRESS)
    }

    /// What lies on it.
    pub fn contents(&self) -> Vec<u8> {
        self.model.disk().clone()
    }
}
