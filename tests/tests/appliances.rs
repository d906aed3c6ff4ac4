//! Appliances from their disk images: power on, and Linux comes up; it sleeps;
//! power on, and it is woken.

use dormouse_tests::qemu::{DiskKind, Firmware};
use dormouse_tests::{Appliance, Artefacts, Failure, Fill, Options, scenario};

fn from_power_on_to_a_wake_up(appliance: Appliance, options: Options) -> Result<(), Failure> {
    let name = format!("appliance-{appliance:?}").to_lowercase();
    let options = Options { appliance: Some(appliance), ..options };
    Ok(scenario::round_trip(&name, options, &Fill::light())?)
}

#[test]
fn uefi_firmware_starts_one() -> Result<(), Failure> {
    let options = Options { firmware: Firmware::Ovmf, ..Options::default() };
    from_power_on_to_a_wake_up(Appliance::Efi, options)
}

#[test]
fn the_bootloader_crate_starts_one() -> Result<(), Failure> {
    let firmware = Firmware::Ovmf;
    if !Artefacts::from_environment()?.has_bootloader_disk(firmware) {
        return Ok(());
    }
    let options = Options { firmware, ..Options::default() };
    from_power_on_to_a_wake_up(Appliance::Bootloader, options)
}

#[test]
fn a_machine_with_the_reader_as_its_kernel_starts_one() -> Result<(), Failure> {
    from_power_on_to_a_wake_up(Appliance::Pvh, Options::default())
}

#[test]
fn a_bios_starts_one_by_way_of_grub() -> Result<(), Failure> {
    let options = Options { disk: DiskKind::Ahci, ..Options::default() };
    from_power_on_to_a_wake_up(Appliance::Grub, options)
}
