//! A guest that sleeps, and copies of its disks that readers are started on.

use super::replay;
use crate::checks::{self, Baseline};
use crate::disk;
use crate::error::Error;
use crate::fill::SECOND_DISK;
use crate::guest::{Guest, Ticket, ran};
use crate::life::{Asleep, Life};
use crate::qemu::{Format, Machine, Setup};
use crate::scenario;
use crate::untouched::Untouched;
use dormouse_guest::protocol::Call;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader may take to power off or to wake the guest, checks of the
/// guest included.
const PATIENCE: Duration = Duration::from_secs(120);

/// The copy of the disk that nobody touches, in each folder.
pub const BYSTANDER: &str = "bystander.raw";

/// Everything that waking a copy takes.
pub struct Sleeper {
    reader: Setup,
    linux: Setup,
    guest: Guest,
    ticket: Ticket,
    before: Baseline,
    target: String,
    untouched: Untouched,
}

/// The disks of one copy: overlays, and one that nobody touches.
pub struct Disks {
    folder: PathBuf,
    target: PathBuf,
    second: PathBuf,
    bystander: PathBuf,
    untouched: Untouched,
}

/// What a reader did.
pub enum Found {
    /// It refused, in these words, and powered off.
    Refused(String),
    /// The guest woke, and is what it was.
    Woke(Box<Woken>),
}

/// A guest that woke from a copy.
pub struct Woken {
    machine: Machine,
    guest: Guest,
}

impl Sleeper {
    /// The guest of `life`, which fell asleep and has to be equal to `before`
    /// when it wakes. It calls the disk `target` to which it went.
    pub fn of(
        life: &mut Life,
        asleep: &Asleep,
        before: &Baseline,
        target: String,
    ) -> Result<Self, Error> {
        let guest = life.guest.detached()?;
        Ok(Self {
            reader: life.reader(),
            linux: life.setup.clone(),
            guest,
            ticket: asleep.ticket.clone(),
            before: before.clone(),
            target,
            untouched: life.untouched().clone(),
        })
    }

    /// Starts a reader; what it did.
    pub fn wake(&self, disks: &Disks) -> Result<Found, Error> {
        let found = self.wake_from(disks, &self.guest, &self.ticket)?;
        disks.untouched.check()?;
        Ok(found)
    }

    fn wake_from(&self, disks: &Disks, guest: &Guest, ticket: &Ticket) -> Result<Found, Error> {
        let (mut machine, line) = disks.start(&self.reader)?;
        let mut guest = guest.twin(line)?;
        match guest.wait(ticket, PATIENCE) {
            Ok((answer, _)) => {
                scenario::said(&ran(answer)?, 0, &[])?;
                checks::all_good(&self.before.compare(&mut guest)?)?;
                Ok(Found::Woke(Box::new(Woken { machine, guest })))
            }
            Err(Error::Ended { .. }) => {
                let (words, _) = machine.console.wait_for("error: ", PATIENCE)?;
                let ended = machine.wait_for_end(PATIENCE)?;
                if ended.by_power_off() {
                    return Ok(Found::Refused(words));
                }
                Err(Error::verdict(format!("the reader ended with {}", ended.reason)))
            }
            Err(e) => Err(e),
        }
    }

    /// Starts a reader and cuts its power after `instant`; then starts another.
    pub fn wake_after_a_cut(&self, disks: &Disks, instant: Duration) -> Result<Found, Error> {
        let machine = disks.start(&self.reader)?;
        std::thread::sleep(instant);
        drop(machine);
        self.wake(disks)
    }

    /// Wakes the guest, has it hibernate again, and cuts its power after
    /// `instant`; then starts another reader.
    pub fn cut_while_hibernating(&self, disks: &Disks, instant: Duration) -> Result<Found, Error> {
        let Found::Woke(mut woken) = self.wake(disks)? else {
            return Err(Error::verdict("the untouched image does not wake"));
        };
        let argv = ["dormouse", "--json", "hibernate", "--target", &self.target];
        let argv = argv.map(str::to_owned).to_vec();
        let ticket = woken.guest.ask(Call::Run { argv })?;
        std::thread::sleep(instant);
        let Woken { machine, guest } = *woken;
        drop(machine);
        self.wake_from(disks, &guest, &ticket)
    }

    /// Boots Linux beside the image that was refused, writes to the second
    /// disk, and checks its file system.
    pub fn boot_linux(&self, disks: &Disks) -> Result<(), Error> {
        let (machine, line) = disks.start(&self.linux)?;
        let guest = Guest::greet(line, PATIENCE)?;
        let mut woken = Woken { machine, guest };
        let device = woken.guest.text(Call::FindDisk { serial: Life::SECOND_SERIAL.into() })?;
        woken.guest.call(Call::Mount { device, directory: SECOND_DISK.into() })?;
        let write = format!("echo written > {SECOND_DISK}/after-the-cut && sync");
        scenario::said(&woken.guest.run(&["sh", "-c", &write])?, 0, &[])?;
        woken.finish(disks)
    }
}

impl Woken {
    /// Ends the guest well, and checks the second disk's file system.
    pub fn finish(mut self, disks: &Disks) -> Result<(), Error> {
        self.guest.call(Call::Stop)?;
        self.guest.call(Call::Unmount { directory: SECOND_DISK.into() })?;
        self.guest.ask(Call::PowerOff)?;
        self.machine.wait_for_end(PATIENCE)?;
        let flat = disks.folder.join("second.flat");
        replay::flatten(&disks.second, &flat)?;
        disk::check_ext4(&flat)
    }
}

impl Disks {
    /// Fresh overlays in `folder` over both disk images of a sleeper.
    pub fn over(
        sleeper: &Sleeper,
        folder: &Path,
        target: &Path,
        second: &Path,
    ) -> Result<Self, Error> {
        let overlay = |name: &str, over: &Path| {
            let file = folder.join(name);
            replay::overlay(over, &file).map(|()| file)
        };
        let (target, second) = (overlay("target.qcow2", target)?, overlay("second.qcow2", second)?);
        let bystander = folder.join(BYSTANDER);
        let untouched = sleeper.untouched.of_copy(&bystander)?;
        Ok(Self { folder: folder.into(), target, second, bystander, untouched })
    }

    /// The same with a target that ends after `bytes` bytes.
    pub fn shorter(
        sleeper: &Sleeper,
        folder: &Path,
        target: &Path,
        second: &Path,
        bytes: u64,
    ) -> Result<Self, Error> {
        let disks = Self::over(sleeper, folder, target, second)?;
        replay::short_overlay(target, &disks.target, bytes)?;
        Ok(disks)
    }

    /// Starts a machine on them.
    fn start(&self, setup: &Setup) -> Result<(Machine, std::os::unix::net::UnixStream), Error> {
        let mut setup = setup.clone();
        for (disk, file) in setup.disks.iter_mut().zip([&self.target, &self.second]) {
            disk.file = file.clone();
            disk.format = Format::Overlay;
        }
        if let Some(disk) = setup.disks.last_mut() {
            disk.file = self.bystander.clone();
        }
        Machine::start(&setup, &self.folder)
    }
}
