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
mod put_back;
mod relocate;

use crate::arch::paging::{AddressSpace, MapError};
use crate::arch::{cpu, time, window};
use crate::entry::{self, Loader};
use crate::machine::MACHINE;
use crate::power::Fallback;
use crate::ram;
use crate::screen;
use crate::{console, failure, linux, pic, power, seed};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use boot::Boot;
use core::convert::Infallible;
use dormouse_drivers::iommu::{self, Translating};
use dormouse_drivers::platform::Platform;
use dormouse_drivers::queue::{BlockQueue, DeviceError};
use dormouse_drivers::{Controller, mmio_on_command_line, open, take_over};
use dormouse_handoff::image::{Header, Kind};
use dormouse_handoff::memory_map::MemoryKind;
use dormouse_handoff::plan::{self, Stage};
use dormouse_handoff::units::{PageRange, Pfn, PhysAddr};
use dormouse_screen::title;
use dormouse_transfer::image;
use dormouse_transfer::save::SCRATCH_BYTES;
use dormouse_transfer::{check, error};
use find::Found;
use firmware::Firmware;
use put_back::{Good, show};
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

impl Error {
    /// Whether a disk failed, which may be over once it is opened anew.
    fn is_of_a_disk(&self) -> bool {
        matches!(self, Self::Device(_) | Self::Transfer(error::Error::Device(_)))
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
    /// Where disks may be.
    controllers: Vec<Controller>,
    /// The images that are still to be tried, the next one first; `None` before
    /// they were looked for.
    found: Option<VecDeque<Found>>,
    /// What is to be said of those that were tried and are not woken.
    passed_over: String,
}

impl Reader {
    fn new(boot: Boot, firmware: Firmware, controllers: Vec<Controller>) -> Self {
        Self { boot, firmware, controllers, found: None, passed_over: String::new() }
    }

    /// What is left where a reader was.
    fn nothing() -> Self {
        Self::new(Boot::new(PhysAddr(0)), Firmware::default(), Vec::new())
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
}

/// What moves.
static MOVING: Mutex<Option<(Reader, Good)>> = Mutex::new(None);

/// Wakes the old kernel, or ends as the fallback says.
pub fn run(loader: Loader) -> ! {
    pic::mask_all();
    let mut space = own_tables();
    let clock = time::calibrate(0);
    // SAFETY: we came by this door, and have overwritten nothing but our own
    // window.
    let mut boot = match unsafe { loader.boot(&mut space) } {
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
    // The rest is sent while the disk reads, or before an error is told.
    console::hold();
    log::info!("time-stamp counter: {} MHz ({clock:?})", time::khz() / 1000);
    failure::reader(boot.fallback(), None);
    MACHINE.set_space(space);
    open_screen(&boot);
    let firmware = Firmware::read(&boot);
    failure::reader(boot.fallback(), firmware.power);
    if !firmware.has_s3 {
        boot.set_reloaded(PageRange::default());
    }
    MACHINE.use_ecam(&firmware.ecam);
    let (quieted, controllers) = take_over(&MACHINE, &mmio(&boot, &firmware));
    log::info!("{quieted} devices were still writing into memory: stopped");
    seed::gather();
    wake_or_give_up(Reader::new(boot, firmware, controllers), None)
}

/// Goes on after the move: the tables are those of the entry code again.
pub fn go_on() -> ! {
    MACHINE.set_space(own_tables());
    // SAFETY: the former window was left with all devices quiet, and no driver
    // came along.
    unsafe { MACHINE.dma_release_all() };
    let Some((reader, good)) = MOVING.lock().take() else { failure::fatal("the reader is lost") };
    MACHINE.use_ecam(&reader.firmware.ecam);
    open_screen(&reader.boot);
    let Err(error) = good.go_on(&reader);
    wake_or_give_up(reader, Some(error))
}

/// Where disks without a bus are said to be.
fn mmio(boot: &Boot, firmware: &Firmware) -> Vec<PhysAddr> {
    let mut mmio = mmio_on_command_line(boot.command_line());
    mmio.extend(&firmware.mmio);
    mmio.sort_unstable();
    mmio.dedup();
    mmio
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

/// Tries one image after the other, the first of which may have `failed` already.
///
/// Where a disk fails all is tried once more: a Linux that is started instead gives up
/// what sleeps.
fn wake_or_give_up(mut reader: Reader, mut failed: Option<Error>) -> ! {
    let mut patient = true;
    let error = loop {
        let error = match failed.take() {
            Some(error) => error,
            None => {
                let Err(error) = wake(&mut reader);
                error
            }
        };
        log::error!("{}: {error}", failure::stage().name());
        if patient && error.is_of_a_disk() {
            patient = false;
            log::warn!("trying once more");
            continue;
        }
        let Some(older) = reader.pass_over(&error) else { break error };
        log::warn!("going back to generation {older} of the snapshot");
    };
    log::info!(
        "nothing was brought back: `dormouse inspect` tells what lies on a disk, `dormouse \
         discard` gives up what sleeps there"
    );
    // SAFETY: `wake` dropped every driver that it opened, after which no device
    // uses their memory.
    let Err(not_started) = unsafe { linux::start(&reader.boot, &reader.controllers) };
    log::error!("Linux is not started: {not_started}");
    screen::let_read(format_args!("{}: {error}", failure::stage().name()));
    power::give_up(reader.boot.fallback(), reader.firmware.power.as_ref())
}

fn wake(reader: &mut Reader) -> Result<Infallible, Error> {
    MACHINE
        .with_space(|space| {
            let ram = reader.boot.memory(MemoryKind::Ram);
            ram.into_iter().try_for_each(|range| space.map_ram(range))
        })
        .unwrap_or(Ok(()))?;

    failure::set_stage(Stage::Find);
    iommu::check(&MACHINE, &reader.firmware.iommus).map_err(Error::Iommu)?;
    // SAFETY: no driver is alive: those of an image that was tried before are gone.
    unsafe { MACHINE.dma_release_all() };
    let mut scratch = ram::buffer(SCRATCH_BYTES)?;
    let free = MACHINE.dma_mark();
    let mut kept = None;
    if reader.found.is_none() {
        // SAFETY: as above.
        let (found, open) = unsafe { find::images(&reader.controllers, &mut scratch)? };
        reader.found = Some(found.into());
        kept = open;
    }
    let next = reader.found.as_ref().and_then(|found| found.front().cloned());
    let found = next.ok_or(Error::NoImage)?;
    let mut device = match kept {
        Some(device) => device,
        None => {
            // SAFETY: what was opened to find the image is gone again.
            unsafe { MACHINE.dma_release_to(free) };
            open(&MACHINE, found.disk.controller, found.disk.unit)?
        }
    };
    let opened = image::open(&mut device, found.start, &mut scratch)?;
    let plan = opened.plan()?;

    failure::set_stage(Stage::Check);
    log::info!(
        "image of Linux {}, {}, {} MiB stored, on {} block {}",
        plan::text(&plan.kernel_release),
        InWords(&opened.header),
        opened.header.counts.stored >> 8,
        found.disk,
        found.start,
    );
    show(&opened.header, &plan);
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

    let to = plan.window();
    let good = Good { disk: found.disk, opened };
    if to == window::range() {
        return good.put_back(device, scratch, reader);
    }
    failure::set_stage(Stage::Move);
    device.shutdown()?;
    drop(device);
    log::info!("moving to the image's window at {to}");
    let moving = core::mem::replace(reader, Reader::nothing());
    *MOVING.lock() = Some((moving, good));
    screen::forget();
    let Err(error) = relocate::go(to);
    if let Some((stayed, _)) = MOVING.lock().take() {
        *reader = stayed;
    }
    Err(error)
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
