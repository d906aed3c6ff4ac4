//! The driver against a device that follows a script.

use super::device::VirtioBlk;
use super::model::{Model, ModelTransport};
use super::spec::{Features, config, status};
use crate::conformance::{Subject, conforms};
use crate::fakes::{FakeMachine, at};
use crate::pci::Endpoint;
use crate::place::Place;
use crate::queue::{
    BlockQueue, Cause, Completion, DeviceError, Direction, Request, Segment, SubmitError,
};
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::{Lba, PhysAddr};
use std::rc::Rc;

mod faults;
mod requests;
mod start;

const ADDRESS: PciAddress = at(0, 4, 0);
const PAGE: u32 = 4096;

struct Bench {
    machine: &'static FakeMachine,
    model: Rc<Model>,
}

impl Bench {
    /// A machine with a device of 4 MiB.
    fn new() -> Self {
        let machine = FakeMachine::new();
        machine.add_function(ADDRESS, (0x1af4, 0x1042), (1, 0, 0), 0);
        Self { machine, model: Model::new(machine, 8192) }
    }

    fn start(&self) -> Result<VirtioBlk<ModelTransport>, DeviceError> {
        let endpoint = Endpoint::enable(self.machine, ADDRESS).unwrap();
        let place = Place::controller("virtio-blk", ADDRESS);
        VirtioBlk::start(self.machine, place, Some(endpoint), ModelTransport(self.model.clone()))
    }

    fn device(&self) -> VirtioBlk<ModelTransport> {
        self.start().unwrap()
    }

    fn refusal(&self) -> Cause {
        self.start().err().expect("the device was accepted").cause
    }

    /// Pages that do not follow each other, each filled with its number.
    fn scattered(&self, pages: u32) -> Vec<Segment> {
        let list = (0..pages).map(|i| {
            let address = self.machine.pages(2);
            self.machine.write(address, &vec![i as u8 + 1; PAGE as usize]);
            Segment { address, bytes: PAGE }
        });
        list.collect()
    }

    fn read_all(&self, segments: &[Segment]) -> Vec<u8> {
        segments.iter().flat_map(|s| self.machine.read(s.address, s.bytes as usize)).collect()
    }
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
        Box::new(self.device())
    }

    fn stored(&self, first_byte: usize, bytes: usize) -> Vec<u8> {
        self.model.disk.borrow()[first_byte..][..bytes].to_vec()
    }
}

conforms!(Bench);

fn write(lba: u64, segments: &[Segment], tag: u32) -> Request<'_> {
    Request { direction: Direction::Write, lba: Lba(lba), segments, tag }
}

fn read(lba: u64, segments: &[Segment], tag: u32) -> Request<'_> {
    Request { direction: Direction::Read, lba: Lba(lba), segments, tag }
}

fn polled(device: &mut VirtioBlk<ModelTransport>) -> Completion {
    device.poll().unwrap().expect("nothing was completed")
}
