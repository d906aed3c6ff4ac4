//! One life of a guest: booted once, put to sleep and woken as often as a
//! scenario likes, on one machine after the other.

use crate::appliance::Appliance;
use crate::artefacts::Artefacts;
use crate::checks::{Baseline, Check};
use crate::disk;
use crate::entry;
use crate::error::Error;
use crate::fill::{Fill, SECOND_DISK};
use crate::guest::{Guest, Ticket, ran};
use crate::initramfs;
use crate::options::Options;
use crate::qemu::{
    self, Boot, Chipset, Disk, DiskKind, Ended, Firmware, Format, Machine, SERIAL_LOG, Sample,
    Setup,
};
use crate::untouched::{self, Untouched};
use dormouse_guest::protocol::{Answer, Call, Ran};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What every kernel is told. Random numbers come from the processor at once, as
/// in distributions' kernels: otherwise the first program of a fresh guest that
/// wants some waits for seconds. The timer is not put to the test, which a busy
/// host can fail ("IO-APIC + timer doesn't work!").
const COMMAND_LINE: &str = "console=ttyS0,115200 panic=-1 random.trust_cpu=on no_timer_check";

/// What all processors had in their registers when something did not come.
const REGISTERS: &str = "registers.txt";

/// How long a guest may take to boot.
const BOOT: Duration = Duration::from_secs(90);

/// The same with U-Boot, which reads kernel and initramfs two bytes at a time:
/// most of a minute where the host has nothing else to do.
const BOOT_BY_U_BOOT: Duration = Duration::from_secs(360);

/// How long a hibernation or a wake-up may take before it counts as hung.
const SLEEP: Duration = Duration::from_secs(300);

/// How long a guest may take to power off.
const POWER_OFF: Duration = Duration::from_secs(30);

/// Serial number of the disk that the image goes to.
const TARGET_SERIAL: &str = "dormouse-target";

/// Serial number of the disk that nobody touches.
const BYSTANDER_SERIAL: &str = "dormouse-bystander";

/// Bytes of the second disk.
const SECOND_BYTES: u64 = 384 << 20;

/// Files in a life's folder.
const INITRAMFS: &str = "initramfs";
const TARGET_DISK: &str = "disk.img";
const SECOND_DISK_IMAGE: &str = "second.img";
const BOOT_DISK: &str = "boot.img";
const BYSTANDER: &str = "bystander.img";

/// A guest, and the machine that it runs on.
pub struct Life {
    /// The folder of logs and disks.
    pub folder: PathBuf,
    /// The agent in the guest.
    pub guest: Guest,
    /// The machine as Linux was booted on it.
    pub setup: Setup,
    /// What the guest is like.
    pub options: Options,
    machine: Option<Machine>,
    reader: Boot,
    /// Whether the second disk is in use.
    mounted: bool,
    untouched: Untouched,
    /// What the second disk held when the guest stood still.
    standing: Option<u64>,
}

/// A `dormouse hibernate` under way in the guest.
pub struct Attempt {
    pub(crate) ticket: Ticket,
    /// When it was asked for.
    pub asked: Instant,
}

impl Attempt {
    /// The guest as it is in an image of the time when this was under way,
    /// although it has ended since.
    pub fn in_its_image(&self) -> Asleep {
        Asleep {
            ticket: self.ticket.clone(),
            asked: self.asked,
            off: Instant::now(),
            samples: Vec::new(),
        }
    }
}

/// A guest that sleeps.
pub struct Asleep {
    pub(crate) ticket: Ticket,
    /// When it was asked to.
    pub asked: Instant,
    /// When its machine's power was off.
    pub off: Instant,
    /// What its target's disk had moved when, where that was looked at.
    pub samples: Vec<Sample>,
}

/// A guest that woke.
pub struct Awake {
    /// What `dormouse hibernate` said in the end.
    pub said: Ran,
    /// When the machine was started that it woke on.
    pub started: Instant,
    /// When `dormouse hibernate` ended.
    pub answered: Instant,
}

impl Life {
    /// Serial number of the disk with a file system that is in use.
    pub const SECOND_SERIAL: &str = "dormouse-second";
    /// Serial number of the disk with a boot partition, where there is one.
    pub const BOOT_SERIAL: &str = "dormouse-boot";

    /// Makes the disks and the initramfs in a fresh folder, boots, and mounts
    /// the second disk.
    pub fn begin(artefacts: &Artefacts, name: &str, options: Options) -> Result<Self, Error> {
        let mut life = Self::begin_bare(artefacts, name, options)?;
        life.logged(Self::mount_second_disk)?;
        Ok(life)
    }

    /// The same without mounting anything: for kernels without the drivers.
    pub fn begin_bare(artefacts: &Artefacts, name: &str, options: Options) -> Result<Self, Error> {
        let folder = artefacts.fresh_run(name)?;
        let initramfs = folder.join(INITRAMFS);
        initramfs::write(artefacts, &options.files, &initramfs)?;
        let target = target_disk(&options, &folder);
        if options.appliance.is_none() {
            let bytes = options.target_bytes.unwrap_or_else(|| image_room(options.memory()));
            disk::blank(&target, bytes)?;
        }
        if options.allocated {
            disk::allocate(&target)?;
        }
        if let Some(table) = options.partition {
            table.write(&target)?;
        }
        let partitioned = options.partition.is_some();
        let untouched = Untouched::begin(&target, partitioned, &folder.join(BYSTANDER))?;
        disk::ext4(&folder.join(SECOND_DISK_IMAGE), SECOND_BYTES)?;
        let kernel = options.kernel.clone().unwrap_or_else(|| artefacts.kernel().into());
        let clock = match options.chipset {
            // Without KVM's clock Linux finds nothing there to measure its own by, and
            // where it doubts the counter it counts ticks, of which it loses some.
            Chipset::Microvm => format!("tsc=reliable tsc_early_khz={}", qemu::host_tsc_khz()),
            Chipset::Pc | Chipset::Q35 => String::new(),
        };
        let command_line = format!("{COMMAND_LINE} {clock} {}", options.command_line);
        let reader = match options.appliance {
            Some(appliance) => {
                let (memory, line) = (options.memory_mib, &command_line);
                appliance.build(artefacts, &target, &kernel, &initramfs, line, memory)?
            }
            None => options.entry.boot(artefacts, &folder)?,
        };
        let linux = if options.appliance.is_some() {
            reader.clone()
        } else if options.by_reader {
            let disk = folder.join(BOOT_DISK);
            entry::boot_partition(&disk, &kernel, Some(&initramfs), &command_line)?;
            reader.clone()
        } else {
            entry::linux(options.firmware, &folder, &kernel, &initramfs, &command_line)?
        };
        let setup = setup(&options, &folder, linux);
        setup.prepare(&folder)?;
        let (machine, line) = Machine::start(&setup, &folder)?;
        let patience = match setup.firmware {
            Firmware::UBoot => BOOT_BY_U_BOOT,
            Firmware::SeaBios | Firmware::Ovmf => BOOT,
        };
        let guest = Guest::greet(line, patience).map_err(|e| with_log(e, &folder))?;
        let machine = Some(machine);
        let (mounted, standing) = (false, None);
        Ok(Self { folder, guest, setup, options, machine, reader, mounted, untouched, standing })
    }

    fn mount_second_disk(&mut self) -> Result<(), Error> {
        let device = self.guest.text(Call::FindDisk { serial: Life::SECOND_SERIAL.into() })?;
        let directory = SECOND_DISK.into();
        self.guest.call(Call::Mount { device, directory })?;
        self.mounted = true;
        Ok(())
    }

    /// The target's path in the guest.
    pub fn target(&mut self) -> Result<String, Error> {
        let disk = self.guest.text(Call::FindDisk { serial: TARGET_SERIAL.into() })?;
        let separator = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        Ok(match (self.options.appliance, self.options.partition) {
            (Some(_), _) => format!("{disk}{separator}{}", Appliance::IMAGE),
            (None, Some(table)) => format!("{disk}{separator}{}", table.number()),
            (None, None) => disk,
        })
    }

    /// Starts the workloads.
    pub fn fill(&mut self, fill: &Fill) -> Result<Baseline, Error> {
        self.logged(|life| {
            let workloads =
                if life.mounted { fill.workloads() } else { fill.workloads_in_memory() };
            for workload in workloads {
                life.guest.verdicts(Call::Start(workload))?;
            }
            Baseline::take(&mut life.guest)
        })
    }

    /// Whether the guest is what it was.
    pub fn compare(&mut self, before: &Baseline) -> Result<Vec<Check>, Error> {
        self.logged(|life| before.compare(&mut life.guest))
    }

    /// Begins `dormouse hibernate` to the target, with more arguments.
    pub fn hibernate(&mut self, more: &[&str]) -> Result<Attempt, Error> {
        let target = self.target()?;
        let words = ["dormouse", "--json", "hibernate", "--target", &target];
        self.attempt(&[&words, more].concat())
    }

    /// Begins any other of `dormouse`'s commands with the target, and with more
    /// arguments.
    pub fn dormouse(&mut self, command: &str, more: &[&str]) -> Result<Attempt, Error> {
        let target = self.target()?;
        let words = ["dormouse", "--json", command, "--target", &target];
        self.attempt(&[&words, more].concat())
    }

    /// Waits until the machine is suspended to RAM for the `number`-th time;
    /// when it was. Where the attempt ended instead, its own words are the error.
    pub fn suspended(&mut self, attempt: &Attempt, number: usize) -> Result<Instant, Error> {
        let waited = self.machine()?.monitor.wait_for_nth("SUSPEND", number, POWER_OFF);
        match waited {
            Ok(at) => Ok(at),
            Err(e) => match self.guest.wait(&attempt.ticket, Duration::ZERO) {
                Ok((answer, _)) => Err(came_back(&ran(answer)?)),
                Err(_) => Err(self.with_log(e)),
            },
        }
    }

    /// Wakes a machine that is suspended to RAM, and waits for the attempt to
    /// say so; what it said, and seconds from the wake-up to there.
    pub fn wake_from_ram(&mut self, attempt: &Attempt) -> Result<(Ran, f64), Error> {
        self.logged(|life| {
            let asked = Instant::now();
            let monitor = &mut life.machine()?.monitor;
            monitor.command("system_wakeup", serde_json::json!({}))?;
            let (answer, answered) = life.guest.wait(&attempt.ticket, SLEEP)?;
            Ok((ran(answer)?, (answered - asked).as_secs_f64()))
        })
    }

    /// Lets Linux suspend to RAM by itself, as the `number`-th suspend of this
    /// machine, and wakes it: when it was suspended, and seconds from the wake-up
    /// to the answer.
    pub fn suspend_by_linux(&mut self, number: usize) -> Result<(Instant, f64), Error> {
        self.logged(|life| {
            let (path, contents) = ("/sys/power/state".to_owned(), "mem".to_owned());
            let ticket = life.guest.ask(Call::Write { path, contents })?;
            let monitor = &mut life.machine()?.monitor;
            let down = monitor.wait_for_nth("SUSPEND", number, POWER_OFF)?;
            let asked = Instant::now();
            monitor.command("system_wakeup", serde_json::json!({}))?;
            match life.guest.wait(&ticket, POWER_OFF)? {
                (Answer::Done, at) => Ok((down, (at - asked).as_secs_f64())),
                (other, _) => Err(Error::verdict(format!("{other:?}"))),
            }
        })
    }

    /// Resets the machine, which is suspended to RAM: all of memory is lost.
    pub fn lose_ram(&mut self, attempt: Attempt) -> Result<Asleep, Error> {
        self.logged(|life| {
            life.machine()?.monitor.command("system_reset", serde_json::json!({}))?;
            let ended = life.end()?;
            let Ended { at: off, samples, .. } = ended;
            Ok(Asleep { ticket: attempt.ticket, asked: attempt.asked, off, samples })
        })
    }

    /// Begins a program that puts the guest to sleep.
    pub fn attempt(&mut self, argv: &[&str]) -> Result<Attempt, Error> {
        self.standing = None;
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let ticket = self.guest.ask(Call::Run { argv })?;
        Ok(Attempt { ticket, asked: Instant::now() })
    }

    /// The machine that the guest runs on.
    pub fn machine(&mut self) -> Result<&mut Machine, Error> {
        self.machine.as_mut().ok_or_else(|| Error::verdict("the guest sleeps: it has no machine"))
    }

    /// Waits for a line on the console while the guest stands still; when it came.
    /// Where the attempt ended instead, its own words are the error.
    pub fn standstill(&mut self, attempt: &Attempt, line: &str) -> Result<Instant, Error> {
        let at = self.said_meanwhile(attempt, line)?;
        self.standing = Some(untouched::sum_of_all(&self.second_disk())?);
        Ok(at)
    }

    /// The same without a look at the second disk, for what does not wait.
    pub fn said_meanwhile(&mut self, attempt: &Attempt, line: &str) -> Result<Instant, Error> {
        let waited = self.machine()?.console.wait_for(line, POWER_OFF * 2);
        match waited {
            Ok((_, at)) => Ok(at),
            Err(e) => match self.guest.wait(&attempt.ticket, Duration::ZERO) {
                Ok((answer, _)) => Err(came_back(&ran(answer)?)),
                Err(_) => Err(self.with_log(e)),
            },
        }
    }

    /// Waits for the attempt to end in sleep.
    pub fn fall_asleep(&mut self, attempt: Attempt) -> Result<Asleep, Error> {
        self.go_down(attempt, Ended::POWER_OFF)
    }

    /// Waits for the attempt to end the machine in this way.
    pub fn go_down(&mut self, attempt: Attempt, reason: &str) -> Result<Asleep, Error> {
        self.logged(|life| match life.guest.wait(&attempt.ticket, SLEEP) {
            Ok((answer, _)) => Err(came_back(&ran(answer)?)),
            Err(Error::Ended { .. }) => {
                let ended = life.end()?;
                if ended.reason != reason || !ended.status.success() {
                    let what = format!(
                        "the writer ended with {}, not {reason}, QEMU with {}",
                        ended.reason, ended.status
                    );
                    return Err(Error::verdict(what));
                }
                life.check_untouched()?;
                if let Some(standing) = life.standing.take() {
                    life.check_second_disk(standing, "the writer")?;
                }
                let Ended { at: off, samples, .. } = ended;
                Ok(Asleep { ticket: attempt.ticket, asked: attempt.asked, off, samples })
            }
            Err(e) => Err(e),
        })
    }

    /// Waits for the attempt to end in a return, with what it said, or in
    /// sleep.
    pub fn end_of(&mut self, attempt: Attempt) -> Result<Result<Ran, Asleep>, Error> {
        self.logged(|life| match life.guest.wait(&attempt.ticket, SLEEP) {
            Ok((answer, _)) => life.came_back_well(answer).map(Ok),
            Err(Error::Ended { .. }) => life.fall_asleep(attempt).map(Err),
            Err(e) => Err(e),
        })
    }

    /// Waits for the attempt to end in a return; what it said.
    pub fn return_from(&mut self, attempt: &Attempt) -> Result<Ran, Error> {
        self.logged(|life| {
            let (answer, _) = life.guest.wait(&attempt.ticket, SLEEP)?;
            life.came_back_well(answer)
        })
    }

    fn came_back_well(&mut self, answer: Answer) -> Result<Ran, Error> {
        self.check_untouched()?;
        ran(answer)
    }

    /// Makes sure that nothing was written that is nobody's to write.
    fn check_untouched(&self) -> Result<(), Error> {
        self.untouched.check()
    }

    /// Makes sure that `who` has not written to the second disk, which held
    /// something of this sum before.
    fn check_second_disk(&self, before: u64, who: &str) -> Result<(), Error> {
        match untouched::sum_of_all(&self.second_disk())? == before {
            true => Ok(()),
            false => Err(Error::verdict(format!("{who} has written to the second disk"))),
        }
    }

    /// Wakes the guest on a new machine.
    pub fn wake(&mut self, asleep: &Asleep) -> Result<Awake, Error> {
        let setup = self.reader();
        self.wake_on(asleep, &setup)
    }

    /// Wakes the guest on a new machine like this.
    pub fn wake_on(&mut self, asleep: &Asleep, setup: &Setup) -> Result<Awake, Error> {
        let (machine, line) = Machine::start(setup, &self.folder)?;
        self.woken_on(machine, line, asleep)
    }

    /// Waits for the guest to wake on this machine, at the end of `line`.
    pub fn woken_on(
        &mut self,
        machine: Machine,
        line: UnixStream,
        asleep: &Asleep,
    ) -> Result<Awake, Error> {
        self.logged(|life| {
            let started = machine.started;
            life.machine = Some(machine);
            life.guest.move_to(line)?;
            let (answer, answered) = match life.guest.wait(&asleep.ticket, SLEEP) {
                Err(Error::Ended { awaited, .. }) => {
                    let ended = life.end()?;
                    let how = format!("{}, {}", ended.reason, ended.status);
                    return Err(Error::Ended { awaited, how });
                }
                answer => answer?,
            };
            life.check_untouched()?;
            Ok(Awake { said: ran(answer)?, started, answered })
        })
    }

    /// Starts the reader; the guest has not woken yet, whichever it will be.
    pub fn power_on(&mut self) -> Result<(), Error> {
        self.machine = None;
        let (machine, line) = Machine::start(&self.reader(), &self.folder)?;
        self.machine = Some(machine);
        self.guest.move_to(line)
    }

    /// Starts a reader that is expected to refuse, in words that contain
    /// `reason`, and to power off.
    pub fn be_refused(&mut self, setup: &Setup, reason: &str) -> Result<(), Error> {
        self.logged(|life| {
            // Where it is in use; a bare life's may be another target.
            let second = life.mounted.then(|| untouched::sum_of_all(&life.second_disk()));
            let second = second.transpose()?;
            Self::refused(setup, &life.folder, reason)?;
            life.check_untouched()?;
            second.map_or(Ok(()), |second| life.check_second_disk(second, "the reader"))
        })
    }

    /// The same without a guest that sleeps; logs go to `folder`.
    pub fn refused(setup: &Setup, folder: &Path, reason: &str) -> Result<(), Error> {
        let refused = || {
            let (mut machine, _line) = Machine::start(setup, folder)?;
            machine.console.wait_for(reason, POWER_OFF)?;
            let ended = machine.wait_for_end(POWER_OFF)?;
            if ended.by_power_off() {
                Ok(())
            } else {
                Err(Error::verdict(format!("the reader ended with {}", ended.reason)))
            }
        };
        refused().map_err(|error| with_log(error, folder))
    }

    /// While the guest sleeps, boots another Linux on the same machine, for
    /// `work`, and powers it off again. It leaves the second disk alone.
    pub fn beside<T>(
        &mut self,
        work: impl FnOnce(&mut Guest) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let setup = self.setup.clone();
        self.beside_on(&setup, work)
    }

    /// The same on a machine like this.
    pub fn beside_on<T>(
        &mut self,
        setup: &Setup,
        work: impl FnOnce(&mut Guest) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.logged(|life| {
            let (machine, line) = Machine::start(setup, &life.folder)?;
            let mut guest = Guest::greet(line, BOOT)?;
            let result = work(&mut guest)?;
            guest.ask(Call::PowerOff)?;
            machine.wait_for_end(POWER_OFF)?;
            Ok(result)
        })
    }

    /// The machine with the reader instead of Linux.
    pub fn reader(&self) -> Setup {
        self.setup.booting(self.reader.clone())
    }

    /// Changes how many bytes a second the target's disk lets through, on this
    /// machine and on those to come.
    pub fn limit_disk(&mut self, limit: Option<u64>) -> Result<(), Error> {
        self.options.limit = limit;
        if let Some(target) = self.setup.disks.first_mut() {
            target.limit = limit;
        }
        self.machine()?.limit_disk(limit)
    }

    /// Waits for the machine to end by itself, as after a dump.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<Ended, Error> {
        self.logged(|life| {
            let machine = life.machine.take();
            let machine = machine.ok_or_else(|| Error::verdict("the guest has no machine"))?;
            machine.wait_for_end(patience)
        })
    }

    /// Cuts the machine's power.
    pub fn cut_power(&mut self) {
        self.machine = None;
    }

    /// Waits for the machine's end.
    fn end(&mut self) -> Result<Ended, Error> {
        let machine = self.machine.take();
        let machine = machine.ok_or_else(|| Error::verdict("the guest has no machine to end"))?;
        machine.wait_for_end(POWER_OFF)
    }

    /// Ends the workloads, unmounts, powers off, checks the second disk's file
    /// system, and removes the disks.
    pub fn finish(mut self) -> Result<Check, Error> {
        self.logged(|life| {
            life.guest.call(Call::Stop)?;
            if life.mounted {
                life.guest.call(Call::Unmount { directory: SECOND_DISK.into() })?;
            }
            life.guest.ask(Call::PowerOff)?;
            let ended = life.end()?;
            if !ended.by_power_off() {
                return Err(Error::verdict(format!("the guest ended with {}", ended.reason)));
            }
            disk::check_ext4(&life.second_disk())
        })?;
        self.abandon()?;
        Ok(Check::new("file system", true, "clean after unmounting"))
    }

    /// Ends the life as it is, and removes the disks.
    pub fn abandon(mut self) -> Result<(), Error> {
        // A machine that still runs is in the middle of nothing that matters.
        self.machine = None;
        self.logged(|life| life.check_untouched())?;
        if self.options.keep_disks {
            return Ok(());
        }
        let mut files =
            [SECOND_DISK_IMAGE, BYSTANDER, INITRAMFS].map(|name| self.folder.join(name)).to_vec();
        files.push(self.target_disk());
        files.extend(self.options.by_reader.then(|| self.folder.join(BOOT_DISK)));
        files.iter().try_for_each(|file| {
            std::fs::remove_file(file).map_err(Error::host(format!("removing {}", file.display())))
        })
    }

    /// The target's disk image on the host.
    pub fn target_disk(&self) -> PathBuf {
        target_disk(&self.options, &self.folder)
    }

    /// What nobody may write.
    pub fn untouched(&self) -> &Untouched {
        &self.untouched
    }

    /// A page of the target, as the host sees it.
    pub fn target_page(&self, number: u64) -> Result<Vec<u8>, Error> {
        use std::os::unix::fs::FileExt;
        let path = self.target_disk();
        let mut page = vec![0; 4096];
        let at = self.options.target_start() + number * page.len() as u64;
        let read = std::fs::File::open(&path).and_then(|disk| disk.read_exact_at(&mut page, at));
        read.map_err(Error::host(format!("reading {}", path.display())))?;
        Ok(page)
    }

    /// The second disk's image on the host.
    pub fn second_disk(&self) -> PathBuf {
        self.folder.join(SECOND_DISK_IMAGE)
    }

    /// All that the machines of this life have written on their consoles so far.
    pub fn serial_log(&self) -> Result<String, Error> {
        if let Some(machine) = &self.machine {
            machine.console.catch_up()?;
        }
        let log = self.folder.join(SERIAL_LOG);
        let bytes = std::fs::read(&log);
        let bytes = bytes.map_err(Error::host(format!("reading {}", log.display())))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Does something, and adds the serial log's end to what went wrong.
    pub fn logged<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        work(self).map_err(|error| self.with_log(error))
    }

    /// Adds the serial log's end to an error; and where something was awaited in
    /// vain, what the processors are at instead.
    pub fn with_log(&mut self, error: Error) -> Error {
        // What is missing where that fails is not worth another error.
        let _ = self.machine.as_ref().map(|machine| machine.console.catch_up());
        let in_vain = matches!(error, Error::Deadline { .. });
        let error = with_log(error, &self.folder);
        match self.machine.as_mut().filter(|_| in_vain).map(|it| it.monitor.registers()) {
            Some(Ok(registers)) => with_registers(error, &registers, &self.folder),
            _ => error,
        }
    }
}

/// Bytes of a disk that can take the image of a machine with this much memory.
pub(crate) fn image_room(memory: u64) -> u64 {
    use dormouse_handoff::image::Layout;
    use dormouse_handoff::units::PAGE_SIZE;
    // A partition table takes a MiB at either end.
    Layout::for_pages(memory / PAGE_SIZE).total() + (2 << 20)
}

fn setup(options: &Options, folder: &Path, boot: Boot) -> Setup {
    let target = Disk {
        file: target_disk(options, folder),
        kind: options.disk,
        serial: TARGET_SERIAL.into(),
        block_size: options.block_size,
        limit: options.limit,
        format: Format::Raw,
    };
    let second = Disk {
        file: folder.join(SECOND_DISK_IMAGE),
        kind: DiskKind::VirtioBlk,
        serial: Life::SECOND_SERIAL.into(),
        block_size: 512,
        limit: None,
        format: Format::Raw,
    };
    let boot_disk =
        Disk { file: folder.join(BOOT_DISK), serial: Life::BOOT_SERIAL.into(), ..second.clone() };
    let bystander = Disk {
        file: folder.join(BYSTANDER),
        kind: options.bystander.unwrap_or(options.disk),
        serial: BYSTANDER_SERIAL.into(),
        ..second.clone()
    };
    let mut disks = vec![target, second];
    disks.extend(options.by_reader.then_some(boot_disk));
    disks.push(bystander);
    Setup {
        chipset: options.chipset,
        firmware: options.firmware,
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        cpu: options.cpu.clone(),
        disks,
        boot,
        sampled: options.sampled,
        count_instructions: options.count_instructions,
        paused: false,
        more: options
            .appliance
            .map_or(options.entry.qemu_arguments(), Appliance::qemu_arguments)
            .iter()
            .map(|word| (*word).into())
            .chain(options.qemu.clone())
            .collect(),
    }
}

fn target_disk(options: &Options, folder: &Path) -> PathBuf {
    options.target_folder.as_deref().unwrap_or(folder).join(TARGET_DISK)
}

/// What `dormouse hibernate` said when it was not expected to say anything.
fn came_back(said: &Ran) -> Error {
    let words = format!("{}{}", said.stdout, said.stderr);
    Error::verdict(format!("hibernation came back, code {:?}: {}", said.code, words.trim()))
}

/// Adds the last lines of the folder's serial log.
pub(crate) fn with_log(error: Error, folder: &Path) -> Error {
    const LINES: usize = 30;
    if let Error::Logged { .. } = error {
        return error;
    }
    let log = folder.join(SERIAL_LOG);
    let bytes = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
    Error::Logged { error: Box::new(error), log, tail }
}

/// The same with where each processor is; all of their registers become a file.
fn with_registers(error: Error, registers: &str, folder: &Path) -> Error {
    let Error::Logged { error, log, mut tail } = error else { return error };
    let file = folder.join(REGISTERS);
    if std::fs::write(&file, registers).is_ok() {
        let wanted = |line: &&str| ["CPU#", "RIP=", "CR0="].iter().any(|word| line.contains(word));
        let lines: Vec<&str> = registers.lines().filter(wanted).collect();
        tail += &format!("\n--- the processors, from {}:\n{}", file.display(), lines.join("\n"));
    }
    Error::Logged { error, log, tail }
}
