//! What devices say of themselves.

use crate::bytes::padded;
use dormouse_drivers::fakes::FakeMachine;
use dormouse_drivers::models::{Kind, ModelDisk};
use dormouse_drivers::queue::BlockQueue;
use std::cell::Cell;

/// Longer than anything may take: model time, in microseconds.
const PATIENCE_US: u64 = 3_600_000_000;

thread_local! {
    /// Machines live for ever: one for each thread is enough.
    static MACHINE: Cell<Option<&'static FakeMachine>> = const { Cell::new(None) };
}

/// A machine with nothing in it.
pub fn machine() -> &'static FakeMachine {
    let machine = MACHINE.get().unwrap_or_else(FakeMachine::new);
    MACHINE.set(Some(machine));
    machine.rewind();
    machine.limit_time(PATIENCE_US);
    machine
}

/// Opens a device that says `words` of itself. What a driver makes of it is a
/// refusal, or a geometry that its users can work with.
fn introduced(kind: Kind, words: &[u8]) {
    let machine = machine();
    let disk = ModelDisk::new(kind, machine, vec![0; 1 << 20]);
    disk.introduce(words);
    machine.set_tick(1000);
    if let Ok(mut device) = disk.open() {
        let geometry = device.geometry();
        assert!(matches!(geometry.block_size, 512 | 4096));
        assert!(geometry.blocks > 0 && geometry.depth > 0 && geometry.max_segments > 0);
        assert!(geometry.blocks.checked_mul(geometry.block_size.into()).is_some());
        assert!(geometry.max_bytes > 0 && geometry.max_bytes % 4096 == 0);
        let _ = device.shutdown();
    }
    assert!(!disk.reaches_memory());
}

/// An identify page of the controller, then one of the namespace.
pub fn nvme_identify(data: &[u8]) {
    introduced(Kind::Nvme, &padded::<8192>(data));
}

pub fn nvme_identify_seeds() -> Vec<Vec<u8>> {
    let mut page = vec![0; 8192];
    page[4..24].fill(b'S');
    page[24..64].fill(b'M');
    page[77] = 5;
    page[516] = 1;
    page[525] = 1;
    page[4096..4104].copy_from_slice(&2048u64.to_le_bytes());
    page[4096 + 128..4096 + 132].copy_from_slice(&(9u32 << 16).to_le_bytes());
    let mut large = page.clone();
    large[4096 + 128 + 2] = 12;
    vec![page[..4096 + 256].to_vec(), large[..4096 + 256].to_vec()]
}

/// The answer to IDENTIFY DEVICE.
pub fn ahci_identify(data: &[u8]) {
    introduced(Kind::Ahci, &padded::<512>(data));
}

pub fn ahci_identify_seeds() -> Vec<Vec<u8>> {
    let mut words = [0u16; 256];
    words[10..20].fill(0x5320);
    words[49] = 1 << 9 | 1 << 8;
    words[75] = 31;
    words[76] = 1 << 8;
    words[83] = 1 << 14 | 1 << 13 | 1 << 10;
    words[85] = 1 << 5;
    words[87] = 1 << 14;
    words[100] = 2048;
    let mut large = words;
    large[106] = 1 << 14 | 1 << 12;
    large[117] = 2048;
    [words, large].map(|words| words.iter().flat_map(|word| word.to_le_bytes()).collect()).to_vec()
}

/// Features, queue size, configuration.
pub fn virtio_config(data: &[u8]) {
    introduced(Kind::VirtioBlk, &padded::<76>(data));
}

pub fn virtio_config_seeds() -> Vec<Vec<u8>> {
    let seed = |features: u64, queue: u32| {
        let mut config = [0; 64];
        config[..8].copy_from_slice(&2048u64.to_le_bytes());
        config[8..12].copy_from_slice(&65536u32.to_le_bytes());
        config[12..16].copy_from_slice(&254u32.to_le_bytes());
        config[20..24].copy_from_slice(&512u32.to_le_bytes());
        config[32] = 1;
        [&features.to_le_bytes()[..], &queue.to_le_bytes(), &config].concat()
    };
    // SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, CONFIG_WCE, INDIRECT_DESC, VERSION_1.
    let all = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 9 | 1 << 11 | 1 << 28 | 1 << 32;
    vec![seed(all, 256), seed(1 << 32 | 1 << 2, 16), seed(1 << 32, 2)]
}
