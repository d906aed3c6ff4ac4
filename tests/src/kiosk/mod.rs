//! `examples/kiosk`: a web server that is simply there at power-on; made, and
//! timed.

mod system;

pub use system::System;

use crate::appliance::{Appliance, Layout};
use crate::artefacts::Artefacts;
use crate::error::Error;
use crate::qemu::{self, Boot, Chipset, Disk, DiskKind, Firmware, Format, Machine, Setup};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use system::Built;

/// How long the kiosk may take to come up and make its snapshot, or to answer.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often the kiosk is asked, until it answers.
const EVERY: Duration = Duration::from_millis(25);

/// How long one try waits: whoever asks before the kiosk can hear it is not
/// answered later either.
const TRY: Duration = Duration::from_secs(2);

/// The reader's first line on the console has this.
const READER: &str = "dormouse: reader ";

/// A machine that a kiosk runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// QEMU's machine type.
    pub chipset: Chipset,
    /// Who starts the reader.
    pub appliance: Appliance,
}

impl Model {
    /// Every machine that `cargo xtask bench` times.
    pub const ALL: [Self; 4] = [
        Self { chipset: Chipset::Pc, appliance: Appliance::Pvh },
        Self { chipset: Chipset::Microvm, appliance: Appliance::Pvh },
        Self { chipset: Chipset::Q35, appliance: Appliance::Grub },
        Self { chipset: Chipset::Q35, appliance: Appliance::Efi },
    ];

    fn disk(self) -> DiskKind {
        match self.chipset {
            Chipset::Microvm => DiskKind::VirtioBlk,
            Chipset::Pc | Chipset::Q35 => DiskKind::Nvme,
        }
    }

    /// What it has beside disk and network, as QEMU's arguments. It never suspends to
    /// RAM: a machine that QEMU itself starts says so, for then the reader need not move
    /// (docs/appliances.md).
    fn qemu_arguments<'a>(self) -> impl Iterator<Item = &'a str> {
        let no_s3: &[&str] = match (self.chipset, self.appliance) {
            (Chipset::Pc, Appliance::Pvh) => &["-global", "PIIX4_PM.disable_s3=1"],
            (Chipset::Q35, Appliance::Pvh) => &["-global", "ICH9-LPC.disable_s3=1"],
            _ => &[],
        };
        self.appliance.qemu_arguments().iter().chain(no_s3).copied()
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        let firmware = match self.appliance.firmware() {
            Firmware::Ovmf => "OVMF",
            _ if self.chipset == Chipset::Microvm => "qboot",
            _ if self.appliance == Appliance::Pvh => "QEMU's",
            _ => "SeaBIOS",
        };
        format!("{}, {firmware}, {}", self.chipset, self.appliance)
    }
}

/// How the kiosk comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Linux boots: QEMU hands it over, with no loader in between.
    Cold,
    /// Linux boots like that, and resumes its own hibernation.
    Swsusp,
    /// The reader finds no image, and boots Linux from the boot partition.
    ByReader,
    /// The reader wakes a reusable snapshot.
    Dormouse,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cold, Self::ByReader, Self::Swsusp, Self::Dormouse];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold boot",
            Self::Swsusp => "swsusp",
            Self::ByReader => "cold, reader",
            Self::Dormouse => "dormouse",
        }
    }
}

/// How long it took from power-on to the first answer, and what of it took how
/// long, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Took {
    /// Until the reader's first word.
    pub firmware: f64,
    /// The reader's time, but for the reading.
    pub reader: f64,
    /// Reading pages into place.
    pub reading: f64,
    /// Linux: booting, or waking its devices and programs.
    pub kernel: f64,
    /// From there to the answer.
    pub service: f64,
    /// MiB that the reader read.
    pub read_mib: u64,
}

impl Took {
    /// From power-on to the answer.
    pub fn total(&self) -> f64 {
        self.firmware + self.reader + self.reading + self.kernel + self.service
    }
}

/// A kiosk, with its disk.
pub struct Kiosk {
    folder: PathBuf,
    /// The machine, which starts the reader.
    setup: Setup,
    artefacts: Artefacts,
    initramfs: Option<PathBuf>,
    command_line: String,
    layout: Layout,
    port: u16,
}

impl Kiosk {
    /// Builds the disk of a kiosk that has not been started yet, in a fresh folder of
    /// this name. The disk is in `disks`, where that is another one.
    pub fn new(
        artefacts: &Artefacts,
        name: &str,
        system: &System,
        model: Model,
        disks: Option<&Path>,
    ) -> Result<Self, Error> {
        let folder = artefacts.fresh_run(name)?;
        let file = disks.unwrap_or(&folder).join("kiosk.img");
        let built = system.build(artefacts, model, &folder, &file)?;
        let Built { memory_mib, command_line, initramfs, layout } = built;
        let port = free_port()?;
        let disk = Disk {
            file,
            kind: model.disk(),
            serial: "dormouse-kiosk".into(),
            block_size: 512,
            limit: None,
            format: Format::Raw,
        };
        let card = match model.chipset {
            Chipset::Microvm => "virtio-net-device,netdev=net",
            Chipset::Pc | Chipset::Q35 => "virtio-net-pci,netdev=net,romfile=",
        };
        let forward = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:80");
        let network = ["-netdev", &forward, "-device", card];
        let more = model.qemu_arguments().chain(network);
        let setup = Setup {
            chipset: model.chipset,
            memory_mib,
            cpus: 1,
            cpu: "max".into(),
            firmware: model.appliance.firmware(),
            disks: vec![disk],
            boot: model.appliance.boot(artefacts),
            sampled: false,
            count_instructions: false,
            paused: false,
            more: more.map(String::from).collect(),
        };
        setup.prepare(&folder)?;
        let artefacts = artefacts.clone();
        Ok(Self { folder, setup, artefacts, initramfs, command_line, layout, port })
    }

    /// Its disk.
    pub fn disk(&self) -> &Path {
        &self.setup.disks[0].file
    }

    /// How a person starts it.
    pub fn by_hand(&self) -> String {
        self.setup.by_hand(&self.folder)
    }

    /// Where its pages are.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Brings it up once, so that it can be started in this way from then on; how
    /// long that took.
    pub fn put_to_sleep(&self, way: Way) -> Result<Duration, Error> {
        match way {
            Way::Cold | Way::ByReader => Ok(Duration::ZERO),
            Way::Swsusp => self.hibernate_by_linux(),
            Way::Dormouse => self.make_snapshot(),
        }
    }

    /// The power is cut afterwards, as everybody does with a kiosk.
    fn make_snapshot(&self) -> Result<Duration, Error> {
        let (mut machine, _line) = self.start(&self.setup)?;
        loop {
            let line = machine.console.wait_for("kiosk: ", PATIENCE);
            let (line, at) = line.map_err(|error| self.with_log(error))?;
            if line.contains("snapshot made") {
                return Ok(at - machine.started);
            }
            if line.contains("no snapshot") {
                return Err(self.with_log(Error::verdict("the kiosk made no snapshot")));
            }
        }
    }

    fn hibernate_by_linux(&self) -> Result<Duration, Error> {
        let (machine, _line) = self.start(&self.linux("kiosk=swsusp hibernate=nocompress"))?;
        let started = machine.started;
        let ended = machine.wait_for_end(PATIENCE).map_err(|error| self.with_log(error))?;
        if ended.by_power_off() {
            return Ok(ended.at - started);
        }
        let what = format!("the kiosk ended with {} instead of a sleep", ended.reason);
        Err(self.with_log(Error::verdict(what)))
    }

    /// Starts it, waits for its first answer, and leaves it running.
    pub fn power_on(&self, way: Way) -> Result<(Running, Took), Error> {
        let setup = match way {
            Way::Cold => self.linux("kiosk=cold"),
            Way::Swsusp => {
                self.linux(&format!("resume={} resumewait", self.layout.for_linux("image-a")?))
            }
            Way::ByReader | Way::Dormouse => self.setup.clone(),
        };
        let mut running = self.running(&setup)?;
        let took = running.first_answer(way, None).map_err(|error| self.with_log(error))?;
        Ok((running, took))
    }

    /// Wakes it with a disk that lets so many bytes a second through, with no burst while
    /// the reader reads pages.
    pub fn wake_limited(&self, limit: u64) -> Result<(Running, Took), Error> {
        let setup = qemu::limited(&self.setup, limit, &self.folder)?;
        let mut running = self.running(&setup)?;
        let mut timed = || {
            let Machine { console, .. } = &mut running.machine;
            let (_, entered) = console.wait_for(READER, PATIENCE)?;
            // Its second line is held back until it reads pages.
            console.wait_for("dormouse: ", PATIENCE)?;
            running.machine.spend_burst(limit)?;
            running.first_answer(Way::Dormouse, Some(entered))
        };
        let took = timed().map_err(|error| self.with_log(error))?;
        Ok((running, took))
    }

    fn running(&self, setup: &Setup) -> Result<Running, Error> {
        let (machine, line) = self.start(setup)?;
        Ok(Running { machine, _line: line, port: self.port })
    }

    fn start(&self, setup: &Setup) -> Result<(Machine, std::os::unix::net::UnixStream), Error> {
        Machine::start(setup, &self.folder)
    }

    /// The same machine and disk with Linux handed over by QEMU, told more `words`.
    fn linux(&self, words: &str) -> Setup {
        self.setup.booting(Boot::Linux {
            kernel: self.artefacts.kernel().into(),
            initramfs: self.initramfs.clone(),
            command_line: format!("{} {words}", self.command_line),
        })
    }

    fn with_log(&self, error: Error) -> Error {
        crate::life::with_log(error, &self.folder)
    }

    /// Removes the disk and all that was made for it.
    pub fn remove(self) -> Result<(), Error> {
        self.remove_disk()?;
        std::fs::remove_dir_all(&self.folder)
            .map_err(Error::host(format!("removing {}", self.folder.display())))
    }

    /// Removes the disk alone: the logs tell why it failed.
    pub fn remove_disk(&self) -> Result<(), Error> {
        let disk = self.disk();
        std::fs::remove_file(disk).map_err(Error::host(format!("removing {}", disk.display())))
    }
}

/// A kiosk that answers.
pub struct Running {
    machine: Machine,
    _line: std::os::unix::net::UnixStream,
    port: u16,
}

impl Running {
    /// What it answers to a request for `path`.
    pub fn get(&self, path: &str) -> Result<String, Error> {
        let awaited = || format!("the kiosk's answer to {path}");
        ask(self.port, path, PATIENCE)
            .ok_or_else(|| Error::Deadline { awaited: awaited(), waited: PATIENCE })
    }

    /// `entered`: when the reader's first line came, if it was waited for.
    fn first_answer(&mut self, way: Way, entered: Option<Instant>) -> Result<Took, Error> {
        let started = self.machine.started;
        let (answer, answers) = mpsc::channel();
        let answered = loop {
            let (port, answer) = (self.port, answer.clone());
            // Each ends by itself after one try.
            std::thread::spawn(move || {
                if ask(port, "/", TRY).is_some() {
                    // Another may have been answered first.
                    let _ = answer.send(Instant::now());
                }
            });
            match answers.recv_timeout(EVERY) {
                Ok(at) => break at,
                Err(_) if started.elapsed() > PATIENCE => {
                    let awaited = "the kiosk's first answer".into();
                    return Err(Error::Deadline { awaited, waited: PATIENCE });
                }
                Err(_) => {}
            }
        };
        // The console's lines know when they came.
        let mut line = |words: &str| self.machine.console.wait_for(words, PATIENCE);
        let mut took = Took::default();
        let since = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        let up = match way {
            Way::Cold | Way::Swsusp => {
                let up = if way == Way::Cold { "kiosk: serving" } else { "kiosk: woken" };
                let (_, up) = line(up)?;
                took.kernel = since(started, up.min(answered));
                up
            }
            Way::ByReader | Way::Dormouse => {
                let entered = match entered {
                    Some(at) => at,
                    None => line(READER)?.1,
                };
                took.firmware = since(started, entered);
                let (jump, up) = if way == Way::Dormouse {
                    let (read, jump) = line(" MiB read in ")?;
                    let (mib, ms) = figures(&read).ok_or_else(|| Error::verdict(read.clone()))?;
                    took.reading = ms / 1e3;
                    took.read_mib = mib;
                    (jump, line("kiosk: woken")?.1)
                } else {
                    let (_, jump) = line("dormouse: starting Linux")?;
                    (jump, line("kiosk: serving")?.1)
                };
                took.reader = (since(entered, jump) - took.reading).max(0.0);
                took.kernel = since(jump, up.min(answered));
                up
            }
        };
        took.service = since(up, answered);
        Ok(took)
    }
}

/// MiB and milliseconds of the reader's line.
fn figures(line: &str) -> Option<(u64, f64)> {
    let (before, after) = line.split_once(" MiB read in ")?;
    let mib = before.rsplit(' ').next()?.parse().ok()?;
    let ms = after.split(' ').next()?.parse().ok()?;
    Some((mib, ms))
}

/// What is answered to a request for `path`, if it is within `patience`.
fn ask(port: u16, path: &str, patience: Duration) -> Option<String> {
    let answer = || {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let is_good = |answer: &String| {
        answer.split_whitespace().nth(1) == Some("200") && answer.starts_with("HTTP/1.")
    };
    answer().ok().filter(is_good)
}

/// A port that nobody has.
fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::host("finding a port"))?;
    Ok(listener.local_addr().map_err(Error::host("finding a port"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_own_figures_are_taken() {
        let line = "[  0.3] dormouse: 138 MiB read in 112 ms; jumping into the old kernel";
        assert_eq!(figures(line), Some((138, 112.0)));
        assert_eq!(figures("kiosk: woken"), None);
    }
}
