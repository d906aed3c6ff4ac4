//! The reader: find the image, check it, put everything back, jump.
//!
//! True on entry: some loader has put us somewhere below 4 GiB; firmware may
//! have left controllers running; nothing in memory is worth keeping.
//! True on leaving by the jump: memory is what it was when the old kernel called
//! the writer, the window excepted, which its return path fills; the image is
//! consumed; controllers are quiet; the processor's state is the one saved.
//! True on leaving otherwise: the image is as it was, but for the count of
//! attempts.

pub mod boot;
mod find;
mod firmware;
mod relocate;

use crate::arch::paging::{AddressSpace, MapError};
use crate::arch::{cpu, time, window};
use crate::entry::{self, Loader};
use crate::machine::MACHINE;
use crate::mailbox::Mailbox;
use crate::observer::Observer;
use crate::power::Fallback;
use crate::ram::{self, Ram};
use crate::save::way_out;
use crate::screen;
use crate::{console, failure, linux, power, seed};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use boot::Boot;
use dormouse_drivers::guard::Guarded;
use dormouse_drivers::iommu::{self, Translating};
use dormouse_drivers::platform::Platform;
use dormouse_drivers::queue::{BlockQueue, DeviceError};
use dormouse_drivers::{mmio_on_command_line, open, quiet_all};
use dormouse_handoff::image::{Header, Kind};
use dormouse_handoff::mailbox::{Outcome, Statistics};
use dormouse_handoff::memory_map::MemoryKind;
use dormouse_handoff::plan::{self, CheckedPlan, Flags, Stage};
use dormouse_handoff::units::{PAGE_SIZE, Pfn, PhysAddr};
use dormouse_screen::{Line, title};
use dormouse_transfer::image::{self, Opened};
use dormouse_transfer::memory::Buffer;
use dormouse_transfer::restore::{Buffers, TABLE_BUFFER_PAGES, restore};
use dormouse_transfer::save::{Observer as _, SCRATCH_BYTES};
use dormouse_transfer::stream::Stream;
use dormouse_transfer::{check, error, measure};
use find::Found;
use firmware::Firmware;
use spin::Mutex;

/// CR4.LA57: five levels of page tables (Intel SDM volume 3, 2.5).
const CR4_LA57: u64 = 1 << 12;

/// What ends a wake-up.
enum Error {
    Map(MapError),
    Iommu(Translating),
    Device(DeviceError),
    Transfer(error::Error),
    /// No disk carries an image that is valid.
    NoImage,
    /// More than one disk does.
    Several(usize),
    /// Another build of this program wrote the image.
    OtherBuild {
        /// Checksum of the one that did.
        needed: u64,
        /// Checksum of this one.
        here: u64,
    },
    /// The image needs something else of this program or machine.
    Unfit(&'static str),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Map(error) => write!(f, "{error}"),
            Self::Iommu(error) => write!(f, "{error}"),
            Self::Device(error) => write!(f, "{error}"),
            Self::Transfer(error) => write!(f, "{error}"),
            Self::NoImage => write!(f, "no disk carries an image to wake"),
            Self::Several(n) => write!(
                f,
                "{n} valid images were found, and only one can be the session that was put to \
                 sleep last: boot normally and throw the others away with `dormouse discard`"
            ),
            Self::OtherBuild { needed, here } => write!(
                f,
                "the image was written by another build of writer.elf ({needed:016x}; this one \
                 is {here:016x}): start the reader of that build"
            ),
            Self::Unfit(what) => write!(f, "{what}"),
        }
    }
}

impl From<MapError> for Error {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<error::Error> for Error {
    fn from(error: error::Error) -> Self {
        Self::Transfer(error)
    }
}

impl From<dormouse_drivers::platform::Exhausted> for Error {
    fn from(_: dormouse_drivers::platform::Exhausted) -> Self {
        Self::Transfer(error::Error::NoBuffers)
    }
}

/// What the reader knows, and takes along when it moves.
struct Reader {
    boot: Boot,
    firmware: Firmware,
    /// The images that are still to be tried, the next one first; `None` before
    /// they were looked for.
    found: Option<VecDeque<Found>>,
    /// What is to be said of those that were tried and are not woken.
    passed_over: String,
}

impl Reader {
    /// What is left where a reader was.
    fn nothing() -> Self {
        let (boot, firmware) = (Boot::new(PhysAddr(0)), Firmware::default());
        Self { boot, firmware, found: None, passed_over: String::new() }
    }

    /// Takes the next image instead of the one that could not be woken; which
    /// generation it is. `None`: there is none.
    fn pass_over(&mut self, error: &Error) -> Option<u32> {
        use core::fmt::Write;
        let found = self.found.as_mut()?;
        let failed = found.pop_front()?;
        let next = found.front()?;
        let generation = failed.header.generation;
        // Formatting into a string cannot fail.
        let _ = writeln!(self.passed_over, "generation {generation} was passed over: {error}");
        Some(next.header.generation)
    }

    /// Where disks without a bus are said to be.
    fn mmio(&self) -> Vec<PhysAddr> {
        let mut mmio = mmio_on_command_line(self.boot.command_line());
        mmio.extend(&self.firmware.mmio);
        mmio.sort_unstable();
        mmio.dedup();
        mmio
    }
}

static READER: Mutex<Option<Reader>> = Mutex::new(None);

/// Wakes the old kernel, or ends as the fallback says.
pub fn run(loader: Loader) -> ! {
    let mut space = own_tables();
    let clock = time::calibrate(0);
    // SAFETY: we came by this door, and have overwritten nothing but our own
    // window.
    let boot = match unsafe { loader.boot(&mut space) } {
        Ok(boot) => boot,
        Err(error) => {
            console::open(0x3f8, 115_200);
            log::error!("{error}");
            power::give_up(Fallback::Halt, None)
        }
    };
    console::open(boot.console_port(), 115_200);
    log::info!(
        "reader {} at {}, entered by {loader:?}",
        env!("CARGO_PKG_VERSION"),
        window::range()
    );
    log::info!("time-stamp counter: {} MHz ({clock:?})", time::khz() / 1000);
    failure::reader(boot.fallback(), None);
    MACHINE.set_space(space);
    open_screen(&boot);
    let firmware = Firmware::read(&boot);
    failure::reader(boot.fallback(), firmware.power);
    MACHINE.use_ecam(&firmware.ecam);
    log::info!("{} devices were still writing into memory: stopped", quiet_all(&MACHINE));
    seed::gather();
    wake_or_give_up(Reader { boot, firmware, found: None, passed_over: String::new() })
}

/// Goes on after the move: the tables are those of the entry code again.
pub fn go_on() -> ! {
    MACHINE.set_space(own_tables());
    // SAFETY: the former window was left with all devices quiet, and no driver
    // came along.
    unsafe { MACHINE.dma_release_all() };
    let Some(reader) = READER.lock().take() else { failure::fatal("the reader is lost") };
    MACHINE.use_ecam(&reader.firmware.ecam);
    open_screen(&reader.boot);
    wake_or_give_up(reader)
}

/// Draws on the screen that the entry found.
fn open_screen(boot: &Boot) {
    let kinds = [MemoryKind::Ram, MemoryKind::AcpiNvs];
    let memory = kinds.into_iter().flat_map(|kind| boot.memory(kind));
    screen::open(boot.framebuffer(), memory, title::WAKING);
    screen::paint();
}

/// Page tables of our own, in use. Only while the entry code's are.
fn own_tables() -> AddressSpace {
    match AddressSpace::new().and_then(|mut space| space.activate().map(|()| space)) {
        Ok(space) => space,
        Err(error) => failure::unexpected(format_args!("{error}")),
    }
}

fn wake_or_give_up(mut reader: Reader) -> ! {
    let error = loop {
        let error = match wake(&mut reader) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        log::error!("{}: {error}", failure::stage().name());
        let Some(older) = reader.pass_over(&error) else { break error };
        log::warn!("going back to generation {older} of the snapshot");
    };
    log::info!(
        "nothing was brought back: `dormouse inspect` tells what lies on a disk, `dormouse \
         discard` gives up what sleeps there"
    );
    let mmio = reader.mmio();
    // SAFETY: `wake` dropped every driver that it opened, after which no device
    // uses their memory.
    let Err(not_started) = unsafe { linux::start(&reader.boot, &mmio) };
    log::error!("Linux is not started: {not_started}");
    screen::let_read(format_args!("{}: {error}", failure::stage().name()));
    power::give_up(reader.boot.fallback(), reader.firmware.power.as_ref())
}

fn wake(reader: &mut Reader) -> Result<core::convert::Infallible, Error> {
    MACHINE
        .with_space(|space| {
            let ram = reader.boot.memory(MemoryKind::Ram);
            ram.into_iter().try_for_each(|range| space.map_ram(range))
        })
        .unwrap_or(Ok(()))?;

    failure::set_stage(Stage::Find);
    iommu::check(&MACHINE, &reader.firmware.iommus).map_err(Error::Iommu)?;
    let next = match &reader.found {
        Some(found) => found.front().cloned(),
        None => {
            // SAFETY: this is where the first driver is opened.
            let found = unsafe { find::images(&reader.mmio())? };
            reader.found.insert(found.into()).front().cloned()
        }
    };
    let found = next.ok_or(Error::NoImage)?;
    // SAFETY: all that were opened to find it, or to try another, are gone again.
    unsafe { MACHINE.dma_release_all() };
    let mut scratch = ram::buffer(SCRATCH_BYTES)?;
    let mut device = open(&MACHINE, found.controller, found.unit)?;
    let opened = image::open(&mut device, found.start, &mut scratch)?;
    let plan = opened.plan()?;

    failure::set_stage(Stage::Check);
    log::info!(
        "image of Linux {}, {}, {} MiB stored, on {:?} {} unit {} block {}",
        plan::text(&plan.kernel_release),
        InWords(&opened.header),
        opened.header.counts.stored >> 8,
        found.controller.transport,
        found.controller.address,
        found.unit,
        found.start,
    );
    let stored_mib = opened.header.counts.stored >> 8;
    let release = plan::text(&plan.kernel_release);
    screen::say(Line::Subject, format_args!("Linux {release}, {stored_mib} MiB"));
    if plan.framebuffer.is_there() && plan.framebuffer != *reader.boot.framebuffer() {
        log::warn!("the screen is not set up as it was: a console there may show nothing");
    }
    let program = window::program();
    if opened.jump_back.program != program {
        return Err(Error::OtherBuild { needed: opened.jump_back.program, here: program });
    }
    check::both(
        check::machine(&plan.machine, &reader.firmware.machine()),
        check::memory(plan.memory(), |kind| reader.boot.memory(kind)),
    )?;
    if plan.window_bytes != window::bytes() {
        return Err(Error::Unfit(
            "the image was written by another version of writer.elf: boot with that one",
        ));
    }
    match_depth(opened.jump_back.cr4 & CR4_LA57 != 0)?;

    if plan.window() != window::range() {
        failure::set_stage(Stage::Move);
        device.shutdown()?;
        log::info!("moving to the image's window at {}", plan.window());
        let to = plan.window();
        *READER.lock() = Some(core::mem::replace(reader, Reader::nothing()));
        screen::forget();
        relocate::go(to)?;
    }
    put_back(device, &opened, &plan, scratch, &reader.passed_over)
}

/// Reads everything into place and jumps.
fn put_back(
    mut device: Guarded,
    opened: &Opened,
    plan: &CheckedPlan<'_>,
    mut scratch: Buffer,
    note: &str,
) -> Result<core::convert::Infallible, Error> {
    let header = &opened.header;
    device.grant(plan.extents().extents());
    let mut stream = Stream::new(&mut device, plan.extents())?;
    let attempts =
        image::count_attempt(&mut stream, &mut scratch, header, plan.attempts, seed::renew)?;
    if attempts.begun > 1 {
        log::warn!("{} wake-ups of this image did not get to their end", attempts.begun - 1);
    }

    let mut ram =
        MACHINE.with_space(|space| Ram::map(space, plan.memory())).ok_or(MapError::Full)??;
    let mut observer = Observer::of_reader(plan, &header.counts);
    observer.stage(Stage::Read)?;
    let first_data_us = time::now_us();
    let buffers = Buffers {
        runs: ram::buffer(TABLE_BUFFER_PAGES << 12)?,
        chunks: ram::buffer(TABLE_BUFFER_PAGES << 12)?,
    };
    restore(&mut stream, &mut ram, plan, header, window::range(), buffers, &mut observer)?;
    let data_us = time::now_us() - first_data_us;
    if plan.flags().contains(Flags::MEASURE) {
        let buffer = ram::buffer(TABLE_BUFFER_PAGES << 12)?;
        measure::restoring(&mut stream, header, buffer, &observer)?;
    }
    let data_done_us = time::now_us();

    // SAFETY: the mailbox's pages are in the plan's memory, all of it mapped, and
    // outside the window, as the plan's check has seen.
    let mailbox = unsafe { Mailbox::find(&plan.mailbox, &plan.nonce) }
        .ok_or(error::Error::Inconsistent("the mailbox did not come back"))?;
    let writers_log: Vec<u8> = image::read_log(&mut stream, &mut scratch, header).to_vec();

    observer.stage(Stage::Consume)?;
    image::consume(&mut stream, &mut scratch, header, &attempts)?;
    failure::set_stage(Stage::Jump);
    if let Err(error) = device.shutdown() {
        // The image is used up: the only way on is forward. The old kernel resets
        // the controller; until then it must not write into memory.
        log::error!("{error}");
        quiet_all(&MACHINE);
    }
    let read = Statistics {
        first_data_us,
        data_us,
        finish_us: time::now_us() - data_done_us,
        data_bytes: header.data_length,
        meta_bytes: (header.runs.pages + header.chunks.pages) * PAGE_SIZE,
        walk_us: 0,
    };
    log::info!(
        "{} MiB read in {} ms; jumping into the old kernel",
        read.data_bytes >> 20,
        read.data_us / 1000
    );
    power::platform::restore(&plan.power, &opened.jump_back.platform);
    mailbox.leave(Outcome::Woken, Stage::Jump, note);
    mailbox.leave_statistics(header.statistics, read, header.counts);
    mailbox.update(|head| {
        head.woken_before = attempts.woken;
        seed::leave(head);
    });
    mailbox.leave_log(&writers_log);
    failure::leave(way_out(&opened.jump_back))
}

/// What kind of image it is, in words.
struct InWords<'a>(&'a Header);

impl core::fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0.kind() {
            Kind::Reusable => write!(f, "reusable, generation {}", self.0.generation),
            kind => f.write_str(kind.name()),
        }
    }
}

/// Runs with as many levels of page tables as the old kernel did, so that its
/// own tables can be loaded for the jump.
fn match_depth(five_levels: bool) -> Result<(), Error> {
    if five_levels == cpu::uses_la57() {
        return Ok(());
    }
    if five_levels && !cpu::has_la57() {
        return Err(Error::Unfit(
            "the old kernel used five levels of page tables, which this processor lacks",
        ));
    }
    if window::range().end().0 > Pfn::containing(PhysAddr(1 << 32)).0 {
        return Err(Error::Unfit(
            "paging cannot change its depth above 4 GiB: load the reader lower",
        ));
    }
    let root = MACHINE.with_space(|space| space.root(five_levels)).ok_or(MapError::Full)??;
    log::info!("switching to {} levels of page tables", if five_levels { 5 } else { 4 });
    // SAFETY: a root of that depth over the tables in use; the window is below
    // 4 GiB, and both of its mappings are in them.
    unsafe { entry::switch_depth(root, five_levels) };
    Ok(())
}
