//! Every way in for the reader: one guest a firmware sleeps, and each loader
//! there wakes a copy of it. Where the machine has a screen, it is looked at as
//! well.

use dormouse_guest::protocol::Call;
use dormouse_tests::checks::Baseline;
use dormouse_tests::qemu::{Machine, Picture, Setup, watch_the_bar_grow};
use dormouse_tests::{Artefacts, Asleep, Entry, Error, Failure, Fill, Life, Options, scenario};
use std::fs;

/// The same with a screen, and with a disk slow enough to watch the bar on it.
fn with_screen(options: Options) -> Options {
    Options {
        qemu: ["-vga", "std"].map(String::from).to_vec(),
        limit: Some(120 << 20),
        // 1024 by 768 pixels of 16 bits, where a BIOS sets it; UEFI has its own.
        command_line: "vga=0x317".into(),
        ..options
    }
}

/// A guest that sleeps, and copies of its disks.
struct Sleeper {
    artefacts: Artefacts,
    life: Life,
    before: Baseline,
    asleep: Asleep,
    has_screen: bool,
}

impl Sleeper {
    fn new(name: &str, options: Options) -> Result<Self, Failure> {
        let artefacts = Artefacts::from_environment()?;
        let has_screen = options.qemu.iter().any(|word| word == "std");
        let mut life = Life::begin(&artefacts, name, options)?;
        let before = life.fill(&Fill::light())?;
        if has_screen {
            // Memory is not drawn on, whoever says that it is the screen.
            let no_screen = ["--no-write", "--test-plan", "framebuffer=16777216"];
            let attempt = life.dormouse("rehearse", &no_screen)?;
            life.standstill(&attempt, "the screen is left alone: it is said to lie in memory")?;
            let ran = life.return_from(&attempt)?;
            life.logged(|_| scenario::said(&ran, 0, &[]))?;
            go_back_by_the_keyboard(&mut life, &before)?;
        }
        let attempt = life.hibernate(&[])?;
        if has_screen {
            life.logged(|life| {
                let folder = life.folder.clone();
                watch_the_bar_grow(&mut life.machine()?.monitor, &folder, "sleeping").map(drop)
            })?;
        }
        let asleep = life.fall_asleep(attempt)?;
        let sleeper = Self { artefacts, life, before, asleep, has_screen };
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
        let (mut machine, line) = Machine::start(&setup, &self.life.folder)?;
        // Who enters by these doors tells of the screen.
        let tells = matches!(entry, Entry::Multiboot2 | Entry::Linux | Entry::Uefi);
        if self.has_screen && tells {
            let folder = self.life.folder.clone();
            let name = format!("waking-{entry}");
            self.life.logged(|_| watch_the_bar_grow(&mut machine.monitor, &folder, &name))?;
        }
        let awake = self.life.woken_on(machine, line, &self.asleep)?;
        self.life.logged(|_| scenario::said(&awake.said, 0, &[]))?;
        Ok(scenario::well(&mut self.life, &self.before)?)
    }

    /// The same by the loader of the `bootloader` crate, for which there is a disk
    /// where the compiler that it takes can be had.
    fn wake_by_bootloader(&mut self) -> Result<(), Failure> {
        let firmware = self.life.setup.firmware;
        if !self.artefacts.has_bootloader_disk(firmware) {
            return Ok(());
        }
        self.wake_by(Entry::Bootloader(firmware))
    }

    /// Whether what the woken Linux draws is on the screen.
    fn linux_draws(&mut self) -> Result<(), Failure> {
        let (path, contents) = ("/dev/fb0".to_owned(), "U".repeat(64));
        self.life.guest.call(Call::Write { path, contents })?;
        let folder = self.life.folder.clone();
        let picture = Picture::take(&mut self.life.machine()?.monitor, &folder)?;
        // 0x55 in each byte, of which a channel of 16 bits takes five or six.
        let first = picture.pixels.first();
        if ![Some(&[0x55; 3]), Some(&[0x52, 0xaa, 0xad])].contains(&first) {
            return Err(Error::verdict(format!("{first:x?} on the screen")).into());
        }
        Ok(())
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

/// A user who looks at the screen, reads there how to go back, and does.
fn go_back_by_the_keyboard(life: &mut Life, before: &Baseline) -> Result<(), Error> {
    let limit = life.options.limit;
    life.limit_disk(Some(scenario::SLOW))?;
    let attempt = life.hibernate(&[])?;
    let folder = life.folder.clone();
    life.logged(|life| {
        let machine = life.machine()?;
        let picture = watch_the_bar_grow(&mut machine.monitor, &folder, "going-back")?;
        if !picture.has_hint() {
            return Err(Error::verdict("the screen does not say how to go back"));
        }
        scenario::press_escape(machine)
    })?;
    let ran = life.return_from(&attempt)?;
    life.limit_disk(limit)?;
    life.logged(|_| scenario::said(&ran, 1, &[scenario::KEY.1]))?;
    scenario::well(life, before)
}

#[test]
fn grub_kexec_and_the_bootloader_crate_wake_it_on_a_pc_with_a_bios() -> Result<(), Failure> {
    // The machine is the same for all, and has the screen that the bootloader crate
    // needs.
    let mut sleeper = Sleeper::new("entries-bios", with_screen(Options::default()))?;
    sleeper.wake_by(Entry::Multiboot2)?;
    sleeper.wake_by(Entry::Linux)?;
    sleeper.linux_draws()?;
    sleeper.wake_by(Entry::Kexec)?;
    sleeper.wake_by_bootloader()?;
    sleeper.finish()
}

#[test]
fn uefi_firmware_and_loaders_on_it_wake_it() -> Result<(), Failure> {
    let options =
        Options { firmware: Entry::Uefi.firmware(), entry: Entry::Uefi, ..Options::default() };
    let mut sleeper = Sleeper::new("entries-uefi", with_screen(options))?;
    sleeper.wake_by(Entry::Multiboot2)?;
    sleeper.wake_by(Entry::Uefi)?;
    sleeper.linux_draws()?;
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
