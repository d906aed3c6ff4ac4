//! `examples/kiosk`: a web server that is simply there at power-on; made, and
//! timed.

use crate::artefacts::Artefacts;
use crate::disk;
use crate::entry::{self, Entry};
use crate::error::Error;
use crate::initramfs;
use crate::life::image_room;
use crate::qemu::{self, Boot, Chipset, Disk, DiskKind, Firmware, Format, Machine, Setup};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the kernel is told.
const COMMAND_LINE: &str = "console=ttyS0,115200 panic=-1 random.trust_cpu=on no_timer_check quiet";

/// Memory of the machine.
const MEMORY_MIB: u64 = 384;

/// How long the kiosk may take to come up and make its snapshot, or to answer.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often the kiosk is asked, until it answers.
const EVERY: Duration = Duration::from_millis(25);

/// How long one try waits: whoever asks before the kiosk can hear it is not
/// answered later either.
const TRY: Duration = Duration::from_secs(2);

/// A machine that a kiosk runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// QEMU's machine type.
    pub chipset: Chipset,
    /// Who starts the reader.
    pub entry: Entry,
}

impl Model {
    /// Every machine that `cargo xtask bench` times.
    pub const ALL: [Self; 4] = [
        Self { chipset: Chipset::Pc, entry: Entry::Pvh },
        Self { chipset: Chipset::Microvm, entry: Entry::Pvh },
        Self { chipset: Chipset::Q35, entry: Entry::Multiboot2 },
        Self { chipset: Chipset::Q35, entry: Entry::Uefi },
    ];

    fn disk(self) -> DiskKind {
        match self.chipset {
            Chipset::Microvm => DiskKind::VirtioBlk,
            Chipset::Pc | Chipset::Q35 => DiskKind::Nvme,
        }
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        let firmware = match self.entry.firmware() {
            Firmware::Ovmf => "OVMF",
            _ if self.chipset == Chipset::Microvm => "qboot",
            _ if self.entry == Entry::Pvh => "QEMU's",
            _ => "SeaBIOS",
        };
        format!("{}, {firmware}, {}", self.chipset, self.entry)
    }
}

/// How the kiosk comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Linux boots.
    Cold,
    /// Linux boots and resumes its own hibernation.
    Swsusp,
    /// The reader wakes a reusable snapshot.
    Dormouse,
}

impl Way {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold boot",
            Self::Swsusp => "swsusp",
            Self::Dormouse => "dormouse",
        }
    }
}

/// How long it took from power-on to the first answer, and what of it took how
/// long, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Took {
    /// Until the first word of the reader, or of Linux.
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
    linux: Setup,
    reader: Boot,
    model: Model,
    port: u16,
}

impl Kiosk {
    /// Builds the root and makes a blank disk, in a fresh folder of this name.
    /// The disk is in `disks`, where that is another one.
    pub fn new(
        artefacts: &Artefacts,
        name: &str,
        model: Model,
        disks: Option<&Path>,
    ) -> Result<Self, Error> {
        let folder = artefacts.fresh_run(name)?;
        let root = folder.join("initramfs");
        initramfs::write_kiosk(artefacts, &source(), &root)?;
        let file = disks.unwrap_or(&folder).join("kiosk.img");
        disk::blank(&file, image_room(MEMORY_MIB << 20))?;
        let port = free_port()?;
        let firmware = model.entry.firmware();
        let kernel = artefacts.kernel();
        let linux = entry::linux(firmware, &folder, kernel, &root, COMMAND_LINE)?;
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
        let network = ["-netdev".into(), forward, "-device".into(), card.into()];
        let setup = Setup {
            chipset: model.chipset,
            memory_mib: MEMORY_MIB,
            cpus: 1,
            cpu: "max".into(),
            firmware,
            disks: vec![disk],
            boot: linux,
            sampled: false,
            count_instructions: false,
            paused: false,
            more: network.to_vec(),
        };
        setup.prepare(&folder)?;
        let reader = model.entry.boot(artefacts, &folder)?;
        Ok(Self { folder, linux: setup, reader, model, port })
    }

    /// Brings it up once, so that it can be started in this way from then on.
    pub fn put_to_sleep(&self, way: Way) -> Result<(), Error> {
        let word = match way {
            Way::Cold => return Ok(()),
            Way::Swsusp => "kiosk=swsusp hibernate=nocompress",
            Way::Dormouse => "kiosk=snapshot",
        };
        let (machine, _line) = self.start(&self.linux(word))?;
        let ended = machine.wait_for_end(PATIENCE).map_err(|error| self.with_log(error))?;
        if ended.by_power_off() {
            return Ok(());
        }
        let what = format!("the kiosk ended with {} instead of a sleep", ended.reason);
        Err(self.with_log(Error::verdict(what)))
    }

    /// Starts it, waits for its first answer, and leaves it running.
    pub fn power_on(&self, way: Way) -> Result<(Running, Took), Error> {
        let setup = match way {
            Way::Cold => self.linux(""),
            Way::Swsusp => self.linux(&format!("resume={} resumewait", self.disk_in_linux())),
            Way::Dormouse => self.linux.booting(self.reader.clone()),
        };
        let (machine, line) = self.start(&setup)?;
        let mut running = Running { machine, _line: line, port: self.port };
        let took = running.first_answer(way).map_err(|error| self.with_log(error))?;
        Ok((running, took))
    }

    fn start(&self, setup: &Setup) -> Result<(Machine, std::os::unix::net::UnixStream), Error> {
        Machine::start(setup, &self.folder)
    }

    fn disk_in_linux(&self) -> &'static str {
        match self.model.disk() {
            DiskKind::Nvme => "/dev/nvme0n1",
            DiskKind::VirtioBlk => "/dev/vda",
            DiskKind::Ahci => "/dev/sda",
        }
    }

    fn linux(&self, words: &str) -> Setup {
        let mut setup = self.linux.clone();
        if let Boot::Linux { command_line, .. } = &mut setup.boot {
            // Without KVM's clock Linux finds nothing on a microvm to measure by.
            if self.model.chipset == Chipset::Microvm {
                let khz = qemu::host_tsc_khz();
                command_line.push_str(&format!(" tsc=reliable tsc_early_khz={khz}"));
            }
            command_line.push_str(&format!(" {words}"));
        }
        setup
    }

    fn with_log(&self, error: Error) -> Error {
        crate::life::with_log(error, &self.folder)
    }

    /// Removes the disk and all that was made for it.
    pub fn remove(self) -> Result<(), Error> {
        let disks = self.linux.disks.iter().map(|disk| &disk.file);
        disks.for_each(|file| drop(std::fs::remove_file(file)));
        std::fs::remove_dir_all(&self.folder)
            .map_err(Error::host(format!("removing {}", self.folder.display())))
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

    fn first_answer(&mut self, way: Way) -> Result<Took, Error> {
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
        let up = if way == Way::Dormouse {
            let (_, entered) = line("dormouse: reader ")?;
            let (read, jump) = line(" MiB read in ")?;
            let (mib, ms) = figures(&read).ok_or_else(|| Error::verdict(read.clone()))?;
            let (_, woken) = line("kiosk: woken")?;
            took.firmware = since(started, entered);
            took.reading = ms / 1e3;
            took.reader = (since(entered, jump) - took.reading).max(0.0);
            took.read_mib = mib;
            took.kernel = since(jump, woken.min(answered));
            woken
        } else {
            let up = if way == Way::Cold { "kiosk: serving" } else { "kiosk: woken" };
            let (_, up) = line(up)?;
            took.kernel = since(started, up.min(answered));
            up
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

/// The example's own files.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/kiosk")
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
