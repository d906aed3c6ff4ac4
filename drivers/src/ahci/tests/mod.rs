//! The driver against a controller and disks that follow a script.

use super::controller::{Controller, register_bytes};
use super::disk::Disk;
use super::list_disks;
use super::model::{Attached, FakePort, Model, QUEUES};
use super::spec::{Fault, host};
use crate::conformance::{Subject, conforms};
use crate::fakes::{FakeMachine, at};
use crate::faults::Fault as Played;
use crate::models::Scripted;
use crate::pci::Endpoint;
use crate::place::Place;
use crate::queue::{
    BlockQueue, Cause, Completion, DeviceError, Direction, Request, Segment, SubmitError,
};
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::Lba;

mod faults;
mod requests;
mod start;

const ADDRESS: PciAddress = at(0, 31, 2);
const WIDE: u32 = 1 << 31;

struct Bench {
    machine: &'static FakeMachine,
    model: &'static Model,
}

impl Bench {
    fn with(ports: &[Attached]) -> Self {
        let machine = FakeMachine::new();
        machine.add_function(ADDRESS, (0x8086, 0x2922), (1, 6, 1), 0);
        Self { machine, model: Box::leak(Box::new(Model::new(machine, ADDRESS, ports))) }
    }

    /// A machine with a disk of 4 MiB on port 1, beside an empty CD drive.
    fn new() -> Self {
        Self::with(&[Attached::Atapi, Attached::Disk])
    }

    /// The same without queued commands.
    fn plain() -> Self {
        let bench = Self::new();
        bench.model.capabilities.set(bench.model.capabilities.get() & !QUEUES);
        bench
    }

    fn take_over(&self) -> Result<Controller<&'static Model>, Cause> {
        Controller::take_over(self.machine, self.model)
    }

    fn start(&self) -> Result<Disk<&'static Model>, DeviceError> {
        let place = Place::controller("ahci", ADDRESS).unit("port", 1);
        let endpoint = Endpoint::enable(self.machine, ADDRESS).unwrap();
        let controller = self.take_over().map_err(|cause| place.error("take over", cause))?;
        Disk::start(self.machine, place, endpoint, controller, 1)
    }

    fn disk(&self) -> Disk<&'static Model> {
        self.start().unwrap()
    }

    fn refusal(&self) -> Cause {
        self.start().err().expect("the disk was accepted").cause
    }

    fn page(&self, fill: u8) -> [Segment; 1] {
        let address = self.machine.pages(1);
        self.machine.write(address, &[fill; 4096]);
        [Segment { address, bytes: 4096 }]
    }

    /// Flushes and standbys so far.
    fn rests(&self) -> (usize, usize) {
        let port = self.model.port(1);
        (port.flushes, port.standbys)
    }

    fn list(&self) -> Vec<u32> {
        let endpoint = Endpoint::enable(self.machine, ADDRESS).unwrap();
        let controller = Controller::take_over(self.machine, self.model).unwrap();
        list_disks(self.machine, &endpoint, &controller).unwrap()
    }
}

fn write(lba: u64, segments: &[Segment], tag: u32) -> Request<'_> {
    Request { direction: Direction::Write, lba: Lba(lba), segments, tag }
}

fn polled(disk: &mut Disk<&'static Model>) -> Completion {
    (0..100).find_map(|_| disk.poll().unwrap()).expect("nothing was completed")
}

impl Subject for Bench {
    fn new() -> Self {
        Bench::new()
    }

    fn machine(&self) -> &'static FakeMachine {
        self.machine
    }

    fn address(&self) -> PciAddress {
        ADDRESS
    }

    fn open(&self) -> Box<dyn BlockQueue> {
        Box::new(self.disk())
    }

    fn stored(&self, first_byte: usize, bytes: usize) -> Vec<u8> {
        self.model.port(1).data[first_byte..][..bytes].to_vec()
    }
}

conforms!(Bench);

mod plain {
    use super::*;

    /// A disk that does not queue, with blocks of 4096 bytes.
    struct Plain(Bench);

    impl Subject for Plain {
        fn new() -> Self {
            let bench = Bench::plain();
            {
                let mut port = bench.model.port(1);
                port.block = 4096;
                port.identity = crate::ahci::model::answer(1024);
                port.identity[106] = 1 << 14 | 1 << 12;
                port.identity[117] = 2048;
            }
            Self(bench)
        }

        fn machine(&self) -> &'static FakeMachine {
            self.0.machine
        }

        fn address(&self) -> PciAddress {
            ADDRESS
        }

        fn open(&self) -> Box<dyn BlockQueue> {
            self.0.open()
        }

        fn stored(&self, first_byte: usize, bytes: usize) -> Vec<u8> {
            self.0.stored(first_byte, bytes)
        }
    }

    conforms!(Plain);
}
