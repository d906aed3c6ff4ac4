//! The writer: take the plan, find the device, write, commit, sleep.
//!
//! True on entry: the old kernel stands still, its devices are frozen, its
//! memory is complete but for the window, whose contents it has put elsewhere.
//! True on leaving by power-off: a committed image. True on leaving by return,
//! at once or after a suspend to RAM: controllers quiet, memory as it was but
//! for the mailbox, and no image that could be resumed beside it but a reusable
//! one that was asked for.

use crate::arch::paging::{AddressSpace, MapError};
use crate::arch::{apic, cpu, time, window};
use crate::entry::{self, WayOut, kexec};
use crate::finish::{Back, Done, finish};
use crate::machine::MACHINE;
use crate::mailbox::Mailbox;
use crate::observer::Observer;
use crate::power::{self, platform, suspend};
use crate::ram::{self, Ram};
use crate::{console, failure, monitor, rehearse, screen};
use dormouse_drivers::guard::Guarded;
use dormouse_drivers::iommu::{self, Translating};
use dormouse_drivers::platform::Exhausted;
use dormouse_drivers::queue::{BlockQueue, DeviceError};
use dormouse_drivers::{Controller, open};
use dormouse_handoff::image::{JumpBack, Kind, PlatformState};
use dormouse_handoff::plan::{self, Action, CheckedPlan, Flags, PlanError, Stage, WayBack};
use dormouse_handoff::units::{PageRange, Pfn};
use dormouse_page_set::LinuxPages;
use dormouse_screen::{Line, title};
use dormouse_transfer::memory::{Everything, PageSet};
use dormouse_transfer::save::Observer as _;
use dormouse_transfer::save::{Buffers, SCRATCH_BYTES, TABLE_BUFFER_PAGES, save};
use dormouse_transfer::stream::Stream;

/// What ends an attempt before the commit.
#[derive(Debug)]
pub enum Error {
    Plan(PlanError),
    Map(MapError),
    /// So many pages of the window still have the old kernel's contents.
    Unloaded(usize),
    /// The plan is for another window than the one we are in.
    Window(PageRange),
    /// A mailbox page is not where the plan says.
    MailboxMoved,
    Iommu(Translating),
    Device(DeviceError),
    /// The device at the plan's place is another one: expected, found.
    OtherDevice(&'static str),
    /// The driver does not do what it should (tests).
    Exercise(dormouse_drivers::exercise::Failure),
    Exhausted,
    /// The plan names no target, but what it asks for takes one.
    NoTarget,
    Suspend(suspend::Error),
    Transfer(dormouse_transfer::error::Error),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Plan(error) => write!(f, "{error}"),
            Self::Map(error) => write!(f, "{error}"),
            Self::Window(range) => {
                write!(f, "the plan is for another window than the one loaded at {range}")
            }
            Self::Unloaded(pages) => write!(
                f,
                "kexec has left {pages} pages of the window out: what the old kernel has there \
                 would be lost"
            ),
            Self::MailboxMoved => {
                write!(f, "the mailbox's memory has moved since the plan was made; try again")
            }
            Self::Iommu(error) => write!(f, "{error}"),
            Self::Device(error) => write!(f, "{error}"),
            Self::OtherDevice(what) => write!(
                f,
                "the device at the target's place is not the one that was meant: its {what} \
                 differs"
            ),
            Self::Exercise(failure) => write!(f, "the exercise: {failure}"),
            Self::Exhausted => write!(f, "{Exhausted}"),
            Self::NoTarget => write!(f, "the plan names no target"),
            Self::Suspend(error) => write!(f, "{error}"),
            Self::Transfer(error) => write!(f, "{error}"),
        }
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
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

impl From<Exhausted> for Error {
    fn from(_: Exhausted) -> Self {
        Self::Exhausted
    }
}

impl From<dormouse_transfer::error::Error> for Error {
    fn from(error: dormouse_transfer::error::Error) -> Self {
        Self::Transfer(error)
    }
}

/// Saves and sleeps, or goes back with a reason.
pub fn run() -> ! {
    let way_back = kexec::way_back();
    if let Some(way) = &way_back {
        console::open(way.console_port as u16, way.console_baud);
    }
    console::hold();
    let plan = kexec::plan();
    let clock = time::calibrate(plan.as_ref().map_or(0, |plan| plan.tsc_khz.into()));
    log::info!("writer {} at {}", env!("CARGO_PKG_VERSION"), window::range());
    log::info!("time-stamp counter: {} MHz ({clock:?})", time::khz() / 1000);

    let mut back = match prepare_return(way_back.as_ref()) {
        Ok(back) => back,
        Err(error) => fail(&error),
    };
    failure::set_stage(Stage::Plan);
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => fail(&error.into()),
    };
    back.jump.platform = platform::capture(&plan.power);
    match attempt(&plan, &back.jump) {
        Ok(done) => finish(&plan, &back, &done),
        Err(error) => fail(&error),
    }
}

pub fn fail(error: &Error) -> ! {
    use core::fmt::Write;
    let mut text = alloc::string::String::new();
    // Formatting into a string cannot fail.
    let _ = write!(text, "{error}");
    failure::give_back(&text)
}

/// Own page tables, and all that a return takes: from here on every failure is
/// one.
fn prepare_return(way_back: Option<&WayBack>) -> Result<Back, Error> {
    let state = entry::state();
    let jump_back = JumpBack {
        entry: state.return_address,
        cr0: state.cr0,
        cr3: state.cr3,
        cr4: state.cr4,
        efer: state.efer,
        pat: state.pat,
        gdt: way_back.map(|way| way.gdt).filter(|&gdt| gdt != 0).unwrap_or(plan::FIXED_GDT),
        gdt_limit: GDT_LIMIT,
        program: window::program(),
        platform: PlatformState::default(),
        apic_base: apic::base(),
    };
    failure::can_return(way_out(&jump_back), None);

    let mut space = AddressSpace::new()?;
    let mut mailbox = None;
    if let Some(way) = way_back {
        for page in &way.mailbox {
            space.map_ram(PageRange { start: Pfn::containing(*page), pages: 1 })?;
        }
    }
    space.activate()?;
    if let Some(way) = way_back {
        // SAFETY: just mapped; the CLI names pages of its own, outside the window.
        mailbox = unsafe { Mailbox::find(&way.mailbox, &way.nonce) };
    }
    MACHINE.set_space(space);
    failure::can_return(way_out(&jump_back), mailbox);
    if way_back.is_some() && mailbox.is_none() {
        return Err(Error::MailboxMoved);
    }
    Ok(Back { jump: jump_back, mailbox })
}

/// Bytes of Linux' GDT minus one: 16 descriptors (arch/x86/include/asm/segment.h).
const GDT_LIMIT: u64 = 16 * 8 - 1;

/// The processor's state for going back.
pub fn way_out(jump_back: &JumpBack) -> WayOut {
    WayOut {
        reserved: 0,
        entry: jump_back.entry,
        cr0: jump_back.cr0,
        cr3: jump_back.cr3,
        cr4: jump_back.cr4,
        efer: jump_back.efer,
        pat: jump_back.pat,
        gdt_limit: jump_back.gdt_limit,
        gdt: jump_back.gdt,
    }
}

/// From the plan to the committed image, where it asks for one.
fn attempt(plan: &CheckedPlan<'_>, jump_back: &JumpBack) -> Result<Done, Error> {
    if plan.window() != window::range() {
        return Err(Error::Window(window::range()));
    }
    match window::unloaded() {
        0 => {}
        pages => return Err(Error::Unloaded(pages)),
    }
    monitor::begin(plan);
    let mut observer = Observer::of_writer(plan);
    observer.stage(Stage::Plan)?;
    let map = |space: &mut AddressSpace| {
        let ram = Ram::map(space, plan.memory())?;
        plan.image().map_or(Ok(()), |_| space.check_room_for_reader())?;
        Ok::<_, MapError>(ram)
    };
    let ram = MACHINE.with_space(map).ok_or(Error::Map(MapError::Full))??;
    log::info!(
        "plan: {} MiB of memory in {} ranges, Linux {}, {} paging levels",
        plan.memory_pages() >> 8,
        plan.memory().len(),
        plan::text(&plan.kernel_release),
        if cpu::uses_la57() { 5 } else { 4 },
    );

    screen::open(&plan.framebuffer, plan.memory().iter().map(|entry| entry.range), title(plan));
    screen::say(
        Line::Subject,
        format_args!(
            "Linux {}, {} MiB of memory",
            plan::text(&plan.kernel_release),
            plan.memory_pages() >> 8
        ),
    );

    if plan.transport().is_none() {
        return Ok(Done::default());
    }
    observer.stage(Stage::Device)?;
    MACHINE.use_ecam(&plan.ecam);
    iommu::check(&MACHINE, &plan.iommus).map_err(Error::Iommu)?;
    let mut device = open_target(plan)?;
    let done = match plan.image() {
        Some(_) => save_to(&mut device, &ram, plan, jump_back, &mut observer),
        None => {
            console::release();
            if plan.flags().contains(Flags::EXERCISE) {
                let (opened_anew, done) = rehearse::exercise(device, plan)?;
                device = opened_anew;
                Ok(done)
            } else {
                rehearse::look_around(&mut device, &ram, plan, &mut observer)
            }
        }
    };
    // Quiet whatever happened: after a return the window is Linux's again.
    let quiet = device.shutdown();
    let done = done?;
    if let Err(error) = quiet {
        log::error!("after all was done: {error}");
    }
    Ok(done)
}

/// What the screen says that this is.
fn title(plan: &CheckedPlan<'_>) -> &'static str {
    match (plan.action(), plan.image()) {
        (Action::Suspend, None) => title::SUSPENDING,
        (Action::PowerOff | Action::Reboot | Action::Suspend, _) => title::SLEEPING,
        (Action::Return, Some(_)) if !plan.flags().contains(Flags::COMPARE) => title::SNAPSHOT,
        (Action::Return, _) => title::REHEARSING,
    }
}

/// Opens the plan's target, if it is the device that was meant.
pub fn open_target(plan: &CheckedPlan<'_>) -> Result<Guarded, Error> {
    let target = &plan.target;
    let transport = plan.transport().ok_or(Error::NoTarget)?;
    let controller = Controller { transport, address: target.address() };
    let mut device = open(&MACHINE, controller, target.unit)?;
    let geometry = device.geometry();
    let identity = device.identity();
    log::info!(
        "target: {:?} {} unit {}, {} {}, {} blocks of {} bytes, depth {}",
        controller.transport,
        controller.address,
        target.unit,
        identity.model,
        identity.serial,
        geometry.blocks,
        geometry.block_size,
        geometry.depth,
    );
    let differs = if identity.serial != plan::text(&target.serial) {
        Some("serial number")
    } else if geometry.blocks != target.device_blocks {
        Some("capacity")
    } else if geometry.block_size != target.block_size {
        Some("block size")
    } else {
        None
    };
    if let Some(what) = differs {
        device.shutdown()?;
        return Err(Error::OtherDevice(what));
    }
    if geometry.write_cache && !geometry.can_flush {
        log::warn!("the target has a write cache that cannot be flushed");
    }
    device.grant(plan.extents().extents());
    Ok(device)
}

fn save_to(
    device: &mut Guarded,
    ram: &Ram,
    plan: &CheckedPlan<'_>,
    jump_back: &JumpBack,
    observer: &mut Observer,
) -> Result<Done, Error> {
    let buffers = Buffers {
        runs: ram::buffer(TABLE_BUFFER_PAGES << 12)?,
        chunks: ram::buffer(TABLE_BUFFER_PAGES << 12)?,
        scratch: ram::buffer(SCRATCH_BYTES)?,
    };
    if plan.flags().contains(Flags::WAIT_BEFORE_WRITE) {
        power::stand_still("the first write");
    }
    let mut stream = Stream::new(device, plan.extents())?;
    let save = |pages: &mut dyn PageSet| {
        Ok(save(&mut stream, ram, pages, plan, jump_back, buffers, observer)?)
    };
    let header = with_page_set(plan, ram, save)?;
    if header.kind() == Kind::Once {
        failure::committed(plan.power);
        monitor::committed();
    }
    let statistics = header.statistics;
    log::info!(
        "committed: {} MiB stored, {} MiB of zeros, {} MiB free; first write after {} ms, data {} ms, commit \
         {} ms",
        header.counts.stored >> 8,
        header.counts.zero >> 8,
        header.counts.free >> 8,
        statistics.first_data_us / 1000,
        statistics.data_us / 1000,
        statistics.finish_us / 1000,
    );
    let mut done = Done { header: Some(header), counts: header.counts, ..Done::default() };
    if plan.flags().contains(Flags::COMPARE) {
        done.read = rehearse::compare_with_memory(device, ram, plan, &header.counts)?;
    }
    Ok(done)
}

/// Does some work with what the old kernel says of its pages, or, where that is
/// not understood, with the word that every page counts.
pub fn with_page_set<T>(
    plan: &CheckedPlan<'_>,
    ram: &Ram,
    work: impl FnOnce(&mut dyn PageSet) -> Result<T, Error>,
) -> Result<T, Error> {
    let Some(mut linux) = linux_pages(plan, ram) else { return work(&mut Everything) };
    let result = work(&mut linux)?;
    match linux.doubted() {
        0 => {}
        doubted => {
            log::warn!("{doubted} free blocks were stored: the old kernel contradicts itself");
        }
    }
    Ok(result)
}

/// What the old kernel says of its pages; `None`, and why on the console, where
/// that is not understood and every page is stored.
fn linux_pages<'a>(plan: &'a CheckedPlan<'_>, ram: &'a Ram) -> Option<LinuxPages<'a>> {
    let found = LinuxPages::new(plan.vmcoreinfo(), plan.memory(), plan.window(), ram);
    match found {
        Ok(pages) => {
            let kept = plan.flags().contains(Flags::STORE_FREE_PAGES);
            log::info!(
                "elision: page structures of {} bytes, {} paging levels{}",
                pages.page_struct_bytes(),
                pages.levels(),
                if kept { "; free pages are kept, as the plan asks" } else { "" },
            );
            Some(pages)
        }
        Err(reason) => {
            log::warn!("elision is off, free pages are stored: {reason}");
            None
        }
    }
}
