//! Every way in for the reader: one guest a firmware sleeps, and each loader
//! there wakes a copy of it.

use dormouse_tests::checks::Baseline;
use dormouse_tests::qemu::{Firmware, Setup};
use dormouse_tests::{Artefacts, Asleep, Entry, Error, Failure, Fill, Life, Options, scenario};
use std::fs;

/// A guest that sleeps, and copies of its disks.
struct Sleeper {
    artefacts: Artefacts,
    life: Life,
    before: Baseline,
    asleep: Asleep,
}

impl Sleeper {
    fn new(name: &str, options: Options) -> Result<Self, Failure> {
        let artefacts = Artefacts::from_environment()?;
        let mut life = Life::begin(&artefacts, name, options)?;
        let before = life.fill(&Fill::light())?;
        let asleep = scenario::sleep(&mut life, &[])?;
        let sleeper = Self { artefacts, life, before, asleep };
        for disk in [sleeper.life.target_disk(), sleeper.life.second_disk()] {
            let copy = disk.with_extension("asleep");
            fs::copy(&disk, &copy).map_err(Error::host("copying a disk"))?;
        }
        Ok(sleeper)
    }

    /// The machine as this entry starts the reader there.
    fn entered_by(&self, entry: Entry) -> Result<Setup, Failure> {
        Ok(self.life.setup.booting(entry.boot(&self.artefacts, &self.life.folder)?))
    }

    /// Wakes the guest from the disks as they were when it fell asleep.
    fn wake_by(&mut self, entry: Entry) -> Result<(), Failure> {
        let setup = self.entered_by(entry)?;
        self.put_disks_back()?;
        let awake = self.life.wake_on(&self.asleep, &setup)?;
        self.life.logged(|_| scenario::said(&awake.said, 0, &[]))?;
        Ok(scenario::well(&mut self.life, &self.before)?)
    }

    /// The same by the loader of the `bootloader` crate, for which there is a disk
    /// where the compiler that it takes can be had.
    fn wake_by_bootloader(&mut self) -> Result<(), Failure> {
        let firmware = self.life.setup.firmware;
        if self.artefacts.bootloader_disk(firmware).is_err() {
            eprintln!("skipped: there is no disk of the bootloader crate");
            return Ok(());
        }
        self.wake_by(Entry::Bootloader(firmware))
    }

    fn put_disks_back(&mut self) -> Result<(), Failure> {
        self.life.cut_power();
        for disk in [self.life.target_disk(), self.life.second_disk()] {
            let copy = disk.with_extension("asleep");
            fs::copy(&copy, &disk).map_err(Error::host("copying a disk back"))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        for disk in [self.life.target_disk(), self.life.second_disk()] {
            let copy = disk.with_extension("asleep");
            fs::remove_file(copy).map_err(Error::host("removing a disk"))?;
        }
        self.life.finish()?;
        Ok(())
    }
}

#[test]
fn grub_kexec_and_the_bootloader_crate_wake_it_on_a_pc_with_a_bios() -> Result<(), Failure> {
    // The machine is the same for all.
    let qemu = Entry::Bootloader(Firmware::SeaBios).qemu_arguments();
    let qemu = qemu.iter().map(ToString::to_string).collect();
    let mut sleeper = Sleeper::new("entries-bios", Options { qemu, ..Options::default() })?;
    sleeper.wake_by(Entry::Multiboot2)?;
    sleeper.wake_by(Entry::Linux)?;
    sleeper.wake_by(Entry::Kexec)?;
    sleeper.wake_by_bootloader()?;
    sleeper.finish()
}

#[test]
fn uefi_firmware_and_loaders_on_it_wake_it() -> Result<(), Failure> {
    let options =
        Options { firmware: Entry::Uefi.firmware(), entry: Entry::Uefi, ..Options::default() };
    let mut sleeper = Sleeper::new("entries-uefi", options)?;
    sleeper.wake_by(Entry::Multiboot2)?;
    sleeper.wake_by(Entry::Uefi)?;
    sleeper.wake_by_bootloader()?;
    sleeper.finish()
}

#[test]
fn u_boot_wakes_it() -> Result<(), Failure> {
    let options =
        Options { firmware: Entry::UBoot.firmware(), entry: Entry::UBoot, ..Options::default() };
    let mut sleeper = Sleeper::new("entries-uboot", options)?;
    sleeper.wake_by(Entry::UBoot)?;
    sleeper.finish()
}
