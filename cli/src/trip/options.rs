//! What can be asked for on the command line.

use super::Purpose;
use crate::linux::consoles::SerialConsole;
use crate::old_kernel;
use crate::planner::Wishes;
use crate::shrink;
use crate::slots::Generation;
use crate::system::System;
use crate::writer_file;
use clap::{Args, ValueEnum};
use dormouse_handoff::plan::{self, Fault, Flags, PciAddress, Plan, Stage};
use dormouse_handoff::units::PhysAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// What every trip takes.
#[derive(Args, Debug)]
pub struct Options {
    /// Before the jump, have Linux give up what it can read again until no more
    /// than this is in use, least recently used first: bytes, or with K, M or G.
    /// Without it, everything in use is saved
    #[arg(long, value_name = "BYTES", value_parser = shrink::parse_bytes)]
    pub image_size: Option<u64>,

    /// Before the jump, drop every cache that is not dirty
    #[arg(long)]
    pub drop_caches: bool,

    /// The program that saves memory
    #[arg(long, value_name = "PATH", default_value = writer_file::DEFAULT_PATH)]
    pub writer: PathBuf,

    /// Serial line on which it reports: auto, none, or an I/O port such as 0x3f8
    #[arg(long, value_name = "PORT", default_value = "auto")]
    pub console: ConsoleChoice,

    /// Draw nothing on the screen
    #[arg(long)]
    pub no_screen: bool,

    /// Tell no other program: neither systemd's sleep hooks nor those in
    /// /etc/dormouse/sleep.d and wake.d
    #[arg(long)]
    pub no_hooks: bool,

    /// Once the image is used up, tell the disk to forget it (TRIM). Whether
    /// the bytes are gone from its flash then is up to the disk
    #[arg(long)]
    pub wipe: bool,

    /// Keep a copy of the writer with the plan inside
    #[arg(long, value_name = "PATH")]
    pub keep_stamped: Option<PathBuf>,

    /// For tests: wait for a key on the console
    #[arg(long, value_enum, hide = true)]
    pub test_wait: Vec<TestWait>,

    /// For benchmarks: move everything twice, and log what each step takes
    #[arg(long, hide = true)]
    pub test_measure: bool,

    /// For tests: put the driver through its paces, which spoils what lies on the
    /// target (`rehearse --no-write` only)
    #[arg(long, hide = true)]
    pub test_exercise: bool,

    /// For tests: a window elsewhere than boot loaders put the reader, which has to
    /// move then
    #[arg(long, hide = true)]
    pub test_move: bool,

    /// For tests: let a stage fail (STAGE:error, STAGE:panic, STAGE:page-fault)
    #[arg(long, hide = true, value_parser = parse_fault)]
    pub test_fault: Option<(Stage, Fault)>,

    /// For tests: be killed right before the jump
    #[arg(long, hide = true)]
    pub test_kill: bool,

    /// For tests: scribble over all that was left out as free, at the wake-up
    #[arg(long, hide = true)]
    pub test_scribble: bool,

    /// For tests: change a field of the plan (FIELD=VALUE)
    #[arg(long, hide = true)]
    pub test_plan: Vec<TestPlan>,
}

impl Options {
    /// The options and the trip's purpose as the plan puts them.
    pub fn wishes(
        &self,
        system: &System,
        purpose: Purpose,
        attempts: u32,
        generation: Generation,
    ) -> Wishes {
        let mut flags =
            self.test_wait.iter().fold(purpose.flags(), |flags, wait| flags | wait.flag());
        flags.set(Flags::SCRIBBLE_FREE_PAGES, self.test_scribble);
        flags.set(Flags::MEASURE, self.test_measure);
        flags.set(Flags::EXERCISE, self.test_exercise);
        Wishes {
            action: purpose.action(),
            image: purpose.image(),
            attempts,
            generation,
            console: match self.console {
                ConsoleChoice::Auto => old_kernel::serial_console(system),
                ConsoleChoice::None => None,
                ConsoleChoice::Port(port) => {
                    let rate = old_kernel::serial_console(system)
                        .filter(|console| console.port == port)
                        .map_or(ConsoleChoice::RATE, |console| console.rate);
                    Some(SerialConsole { port, rate })
                }
            },
            screen: !self.no_screen,
            flags,
            fault: self.test_fault,
        }
    }
}

/// Where the writer prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleChoice {
    /// Where the kernel does, if that is a serial line.
    Auto,
    /// Nowhere.
    None,
    /// At this I/O port.
    Port(u16),
}

impl ConsoleChoice {
    /// Baud at a port of which the kernel knows no rate.
    const RATE: u32 = 115_200;
}

impl FromStr for ConsoleChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => text
                .strip_prefix("0x")
                .and_then(|digits| u16::from_str_radix(digits, 16).ok())
                .filter(|port| (0x100..=0xfff8).contains(port))
                .map(Self::Port)
                .ok_or("not `auto`, `none` or an I/O port such as 0x3f8"),
        }
    }
}

/// A point at which a test stops the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TestWait {
    /// Before the first write.
    BeforeWrite,
    /// Between commit and power-off.
    BeforePower,
}

impl TestWait {
    fn flag(self) -> Flags {
        match self {
            Self::BeforeWrite => Flags::WAIT_BEFORE_WRITE,
            Self::BeforePower => Flags::WAIT_BEFORE_POWER,
        }
    }
}

fn parse_fault(text: &str) -> Result<(Stage, Fault), String> {
    let (stage, fault) = text.split_once(':').ok_or("not STAGE:FAULT")?;
    let stage = Stage::ALL.into_iter().find(|known| known.name() == stage);
    let fault = match fault {
        "error" => Some(Fault::Error),
        "panic" => Some(Fault::Panic),
        "page-fault" => Some(Fault::PageFault),
        _ => None,
    };
    stage.zip(fault).ok_or_else(|| "no such stage or fault".to_owned())
}

/// A change to a plan that an attempt would never make by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestPlan {
    /// A checksum that does not match.
    Checksum,
    /// Another version.
    Version(u32),
    /// Another place on PCI.
    Pci(PciAddress),
    /// Another serial number.
    Serial(String),
    /// Another number of blocks of the device.
    DeviceBlocks(u64),
    /// Another checksum of the target's first page.
    FirstPage(u64),
    /// Fewer blocks in the target's only extent.
    ExtentBlocks(u64),
    /// A sleep type that no chipset has.
    SleepType(u32),
    /// The registers of sleep and reset at a port where nothing is.
    DeadPower,
    /// A framebuffer at another place.
    Framebuffer(u64),
}

/// An I/O port at which QEMU's machines have nothing.
const NOBODYS_PORT: u64 = 0xeee0;

/// The address space of I/O ports (ACPI 6.5 §5.2.3.2).
const SYSTEM_IO: u32 = 1;

impl TestPlan {
    /// Makes the change.
    pub fn apply(&self, plan: &mut Plan) {
        match self {
            Self::Checksum => {
                plan.checksum ^= 1;
                return;
            }
            // Outside of what the checksum covers.
            Self::Version(version) => plan.version = *version,
            Self::Pci(address) => plan.target.pci = *address,
            Self::Serial(serial) => plan::set_text(&mut plan.target.serial, serial),
            Self::DeviceBlocks(blocks) => plan.target.device_blocks = *blocks,
            Self::FirstPage(checksum) => plan.target.first_page_checksum = *checksum,
            Self::ExtentBlocks(blocks) => plan.extents[0].blocks = *blocks,
            Self::SleepType(number) => plan.power.s5_type_a = *number,
            Self::DeadPower => {
                let power = &mut plan.power;
                for register in
                    [&mut power.pm1a_control, &mut power.sleep_control, &mut power.reset]
                {
                    (register.space, register.address) = (SYSTEM_IO, NOBODYS_PORT);
                }
            }
            Self::Framebuffer(address) => plan.framebuffer.address = PhysAddr(*address),
        }
        plan.seal();
    }
}

impl FromStr for TestPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, value) = text.split_once('=').ok_or("not FIELD=VALUE")?;
        let number = || value.parse::<u64>().map_err(|e| e.to_string());
        match field {
            "checksum" => Ok(Self::Checksum),
            "version" => value.parse().map(Self::Version).map_err(|e| format!("{e}")),
            "pci" => parse_pci(value).map(Self::Pci).ok_or("not SSSS:BB:DD.F".to_owned()),
            "serial" => Ok(Self::Serial(value.to_owned())),
            "device-blocks" => number().map(Self::DeviceBlocks),
            "first-page" => number().map(Self::FirstPage),
            "extent-blocks" => number().map(Self::ExtentBlocks),
            "sleep-type" => value.parse().map(Self::SleepType).map_err(|e| format!("{e}")),
            "power" if value == "dead" => Ok(Self::DeadPower),
            "framebuffer" => number().map(Self::Framebuffer),
            _ => Err("no such field: checksum, version, pci, serial, device-blocks, first-page, \
                      extent-blocks, sleep-type, power, framebuffer"
                .into()),
        }
    }
}

fn parse_pci(text: &str) -> Option<PciAddress> {
    let mut fields = text.split([':', '.']);
    let mut next = || u16::from_str_radix(fields.next()?, 16).ok();
    let (segment, bus, device, function) = (next()?, next()?, next()?, next()?);
    Some(PciAddress {
        segment,
        bus: u8::try_from(bus).ok()?,
        device: u8::try_from(device).ok()?,
        function: u8::try_from(function).ok()?,
        reserved: [0; 3],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_handoff::plan::{CheckedPlan, PlanError};
    use zerocopy::IntoBytes;

    #[test]
    fn consoles_are_words_or_ports() {
        assert_eq!("auto".parse(), Ok(ConsoleChoice::Auto));
        assert_eq!("0x2f8".parse(), Ok(ConsoleChoice::Port(0x2f8)));
        for wrong in ["0x3", "0xffff", "ttyS0", "1016", ""] {
            assert!(wrong.parse::<ConsoleChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_name_a_stage() {
        assert_eq!(parse_fault("write:page-fault"), Ok((Stage::Write, Fault::PageFault)));
        assert!(parse_fault("write:fire").is_err());
        assert!(parse_fault("nowhere:error").is_err());
    }

    #[test]
    fn changed_plans_are_refused_for_the_right_reason() {
        let refused = |change: &str| {
            let mut plan = Plan::empty();
            plan.seal();
            change.parse::<TestPlan>().unwrap().apply(&mut plan);
            CheckedPlan::parse(plan.as_bytes()).map(|_| ()).unwrap_err()
        };
        assert_eq!(refused("checksum=bad"), PlanError::Checksum);
        assert_eq!(refused("version=7"), PlanError::Version(7));
        assert_eq!(refused("pci=0000:00:1f.7"), PlanError::Field("action"));
        assert!("colour=blue".parse::<TestPlan>().is_err());
    }
}
