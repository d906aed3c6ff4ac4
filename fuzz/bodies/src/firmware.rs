//! What firmware leaves in memory and on PCI.

use crate::bytes::Bytes;
use crate::devices::machine;
use dormouse_drivers::fakes::at;
use dormouse_drivers::{open, take_over, units};
use dormouse_handoff::plan::{Address, Plan, Step};
use dormouse_handoff::screen::Framebuffer;
use dormouse_handoff::units::PageRange;
use dormouse_power::methods::{Followed, follow};
use dormouse_power::{facts_by_search, iommus};

const AML: &[u8] = include_bytes!("../../../power/tests/fixtures/dsdt.aml");
const METHODS: &[u8] = include_bytes!("../../../power/tests/fixtures/methods.aml");

/// The first two bytes are the length of the FADT; a table of AML follows.
///
/// As `writer.elf` reads them. The interpreter of the CLI is another crate's
/// and may panic; the CLI catches that, which a fuzzer does not.
pub fn acpi(data: &[u8]) {
    let mut bytes = Bytes(data);
    let length = usize::from(u16::from_le_bytes([bytes.u8(), bytes.u8()]));
    let fadt = bytes.take(length);
    let aml = bytes.0;
    let _ = facts_by_search(fadt, &[aml]);
    // With checksums and signatures that fit.
    let _ = facts_by_search(&as_table(*b"FACP", fadt), &[&as_table(*b"DSDT", aml)]);
    // As the CLI follows methods.
    let memory = [PageRange::new(0x100, 0x3ff00)];
    let followed = follow(&as_table(*b"FACP", fadt), &[&as_table(*b"DSDT", aml)], &memory);
    for steps in followed.iter().flatten() {
        if let Followed::Steps(steps) = steps {
            let good = |step: &Step| step.register.space <= 1 && step.register.width <= 32;
            assert!(steps.all().iter().all(good));
        }
    }
    if let Some(framebuffer) = Framebuffer::of_screen_info(data)
        && framebuffer.check(memory).is_ok()
    {
        assert!(framebuffer.bytes() > 0);
    }
    let mut found = Plan::empty().iommus;
    for table in [aml, &as_table(*b"DMAR", aml)[..], &as_table(*b"IVRS", aml)] {
        assert!(iommus(table, &[], &mut found) <= found.len());
        assert!(iommus(&[], table, &mut found) <= found.len());
    }
}

fn as_table(signature: [u8; 4], bytes: &[u8]) -> Vec<u8> {
    let mut table = bytes.to_vec();
    table.resize(table.len().max(36), 0);
    let length = table.len() as u32;
    table[..4].copy_from_slice(&signature);
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table[9] = 0;
    table[9] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    table
}

pub fn acpi_seeds() -> Vec<Vec<u8>> {
    let mut fadt = vec![0; 244];
    fadt[8] = 3;
    fadt[64..68].copy_from_slice(&0x604u32.to_le_bytes());
    fadt[89] = 2;
    fadt[172..184].copy_from_slice(&[1, 16, 0, 0, 4, 6, 0, 0, 0, 0, 0, 0]);
    let with =
        |fadt: &[u8], aml: &[u8]| [&(fadt.len() as u16).to_le_bytes()[..], fadt, aml].concat();
    // A DMAR with one unit (VT-d 4.1, §8.3).
    let mut dmar = vec![0; 48];
    dmar.extend_from_slice(&[0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0]);
    let methods = with(&fadt, METHODS);
    vec![with(&fadt, AML), with(&fadt[..116], AML), methods, with(&fadt, &dmar)]
}

/// Functions whose configuration space the bytes are, in pieces of 256.
pub fn pci(data: &[u8]) {
    let machine = machine();
    for (i, piece) in data.chunks(256).take(8).enumerate() {
        let address = at(i as u8 / 4, i as u8 % 4, 0);
        machine.add_function(address, (0, 0), (0, 0, 0), 0);
        for (word, bytes) in piece.chunks_exact(4).enumerate() {
            let value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            machine.set_config(address, word as u16 * 4, value);
        }
    }
    let (_quieted, controllers) = take_over(machine, &[]);
    for controller in controllers {
        // Registers are not mapped here: this ends where they would be.
        let _ = units(machine, controller);
        assert!(open(machine, controller, 1).is_err());
        let Address::Pci(address) = controller.address else { panic!("not on PCI") };
        assert!(!machine.is_bus_master(address));
    }
}

pub fn pci_seeds() -> Vec<Vec<u8>> {
    let function = |ids: [u8; 4], class: [u8; 4], header: u8| {
        let mut space = vec![0; 256];
        space[..4].copy_from_slice(&ids);
        space[6] = 0x10;
        space[8..12].copy_from_slice(&class);
        space[14] = header;
        space[16..20].copy_from_slice(&0xfebf_0004u32.to_le_bytes());
        space[0x24..0x28].copy_from_slice(&0xfebe_0000u32.to_le_bytes());
        space[0x34] = 0x40;
        space[0x40..0x44].copy_from_slice(&[1, 0x50, 3, 0]);
        // Virtio: common configuration in BAR 4 (virtio 1.2, §4.1.4).
        space[0x50..0x60].copy_from_slice(&[9, 0x60, 16, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]);
        space[0x60..0x64].copy_from_slice(&[5, 0, 0x80, 0]);
        space
    };
    let nvme = function([0x36, 0x1b, 0x10, 0], [2, 2, 8, 1], 0);
    let ahci = function([0x86, 0x80, 0x22, 0x29], [2, 1, 6, 1], 0x80);
    let virtio = function([0xf4, 0x1a, 0x42, 0x10], [1, 0, 0, 1], 0);
    let mut bridge = function([0x36, 0x1b, 12, 0], [0, 0, 4, 6], 1);
    bridge[0x18..0x1b].copy_from_slice(&[0, 1, 1]);
    vec![nvme.clone(), ahci.clone(), [bridge, nvme, ahci, virtio.clone()].concat(), virtio]
}
