//! Appliances from their disk images: power on, and Linux comes up; it sleeps;
//! power on, and it is woken.

use dormouse_tests::qemu::{DiskKind, Firmware, Setup};
use dormouse_tests::{Appliance, Artefacts, Error, Failure, Fill, Life, Options, scenario};

fn from_power_on_to_a_wake_up(appliance: Appliance, options: Options) -> Result<(), Failure> {
    let name = format!("appliance-{appliance}");
    let options = Options { appliance: Some(appliance), ..options };
    Ok(scenario::round_trip(&name, options, &Fill::light())?)
}

#[test]
fn uefi_firmware_starts_one() -> Result<(), Failure> {
    let options = Options { firmware: Firmware::Ovmf, ..Options::default() };
    from_power_on_to_a_wake_up(Appliance::Efi, options)
}

#[test]
fn the_bootloader_crate_starts_one_on_uefi() -> Result<(), Failure> {
    let firmware = Firmware::Ovmf;
    if !Artefacts::from_environment()?.has_bootloader_disk(firmware) {
        return Ok(());
    }
    let options = Options { firmware, ..Options::default() };
    from_power_on_to_a_wake_up(Appliance::Bootloader(firmware), options)
}

#[test]
fn the_bootloader_crate_starts_one_on_a_bios_and_the_same_on_uefi() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let appliance = Appliance::Bootloader(Firmware::SeaBios);
    if !artefacts.has_bootloader_disk(appliance.firmware()) {
        return Ok(());
    }
    let options = Options { appliance: Some(appliance), ..Options::default() };
    let mut life = Life::begin(&artefacts, "appliance-bootloader-bios", options)?;
    let before = life.fill(&Fill::light())?;
    let asleep = scenario::sleep(&mut life, &[])?;
    // What sleeps under a BIOS does not wake under UEFI: Linux comes up beside it.
    let uefi = Setup { firmware: Firmware::Ovmf, ..life.setup.clone() };
    uefi.prepare(&life.folder)?;
    life.beside_on(&uefi, |guest| guest.facts())?;
    let log = life.serial_log()?;
    let said = log.split_once("UEFI bootloader started").is_some_and(|(before, after)| {
        before.contains("BIOS boot") && after.contains("this machine is not as the image needs it")
    });
    if !said {
        let error = Error::verdict("loader and reader said something else");
        return Err(life.with_log(error).into());
    }
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    Ok(())
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
