//! Starting a Linux, when none is woken: from the files on a boot partition.
//!
//! True on entry: no driver is alive, and nothing in memory is worth keeping but
//! our window. What the last reading left in memory does not matter either.
//! True on leaving by the jump: kernel, initramfs and boot parameters are in
//! place, apart from each other and from the window; every controller that was
//! used is shut down, and no device may write into memory.
//! True on leaving otherwise: the disks are as they were.

mod disk;

use crate::arch::paging::{MapError, direct};
use crate::arch::{time, window};
use crate::disks::{self, Disk, Then};
use crate::entry;
use crate::machine::MACHINE;
use crate::ram;
use crate::wake::boot::Boot;
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use disk::OpenDisk;
use dormouse_boot::bzimage::{HEAD, Kernel, KernelError};
use dormouse_boot::command_line::{self, CommandLineError};
use dormouse_boot::fat::{Damage, Run, Volume};
use dormouse_boot::params::Told;
use dormouse_boot::place::{self, PlaceError, Places};
use dormouse_boot::{COMMAND_LINE, FOLDER, INITRD, KERNEL, e820};
use dormouse_drivers::guard::Guarded;
use dormouse_drivers::platform::{Exhausted, Platform};
use dormouse_drivers::queue::{BlockQueue, DeviceError};
use dormouse_drivers::{Controller, quiet_all};
use dormouse_handoff::memory_map::MemoryKind;
use dormouse_handoff::units::{Lba, PAGE_SIZE, PageRange, Pfn, PhysAddr};
use dormouse_transfer::memory::Buffer;
use dormouse_transfer::{error, partitions};

/// Why Linux is not started.
pub enum Error {
    /// No disk has a boot partition with a kernel.
    NoKernel,
    Device(DeviceError),
    Read(error::Error),
    FileSystem(Damage),
    Kernel(KernelError),
    CommandLine(CommandLineError),
    /// There is no initramfs, and the command line does not say that there is none.
    NoInitrd,
    Place(PlaceError),
    Map(MapError),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoKernel => write!(f, "no disk has a boot partition with dormouse/kernel"),
            Self::Device(error) => write!(f, "{error}"),
            Self::Read(error) => write!(f, "{error}"),
            Self::FileSystem(damage) => write!(f, "{damage}"),
            Self::Kernel(error) => write!(f, "dormouse/kernel cannot be started: {error}"),
            Self::CommandLine(error) => write!(f, "dormouse/cmdline cannot be used: {error}"),
            Self::NoInitrd => write!(
                f,
                "there is no dormouse/initrd; where none is wanted, dormouse/cmdline has to say \
                 noinitrd"
            ),
            Self::Place(error) => write!(f, "{error}"),
            Self::Map(error) => write!(f, "{error}"),
        }
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<error::Error> for Error {
    fn from(error: error::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Exhausted> for Error {
    fn from(_: Exhausted) -> Self {
        Self::Read(error::Error::NoBuffers)
    }
}

impl From<dormouse_boot::Error<error::Error>> for Error {
    fn from(error: dormouse_boot::Error<error::Error>) -> Self {
        match error {
            dormouse_boot::Error::Disk(error) => Self::Read(error),
            dormouse_boot::Error::Damaged(damage) => damage.into(),
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::FileSystem(damage)
    }
}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<CommandLineError> for Error {
    fn from(error: CommandLineError) -> Self {
        Self::CommandLine(error)
    }
}

impl From<PlaceError> for Error {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}

impl From<MapError> for Error {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

/// A kernel in its place.
struct Loaded {
    entry: PhysAddr,
    parameters: PhysAddr,
}

/// Starts the first kernel that a boot partition of any disk has; the last
/// reason where none can be started.
///
/// # Safety
///
/// No driver is alive, and no memory for devices is in use.
pub unsafe fn start(boot: &Boot, controllers: &[Controller]) -> Result<Infallible, Error> {
    let mut reason = Error::NoKernel;
    quiet_all(&MACHINE);
    // SAFETY: as the caller promises.
    unsafe { MACHINE.dma_release_all() };
    let mut buffer = ram::buffer(OpenDisk::BUFFER_BYTES)?;
    let look = |disk: Disk, device: &mut Guarded| match from_disk(boot, device, &mut buffer) {
        Ok(Some(never)) => match never {},
        Ok(None) => Ok::<_, Infallible>(Then::Close),
        Err(error) => {
            log::error!("Linux from {disk}: {error}");
            reason = error;
            Ok(Then::Close)
        }
    };
    // SAFETY: as the caller promises; none but the buffer's memory is in use.
    unsafe { disks::visit(controllers, look) };
    quiet_all(&MACHINE);
    Err(reason)
}

/// Starts the kernel of the first boot partition on one disk; `None` where there
/// is none.
fn from_disk(
    boot: &Boot,
    device: &mut Guarded,
    buffer: &mut Buffer,
) -> Result<Option<Infallible>, Error> {
    let block_size = u64::from(device.geometry().block_size);
    let starts = partitions::possible_starts(device, buffer)?;
    let mut disk = OpenDisk::new(device, buffer);
    let mut found = Ok(None);
    for Lba(start) in starts {
        match from_partition(boot, &mut disk, start.saturating_mul(block_size)) {
            Ok(None) => {}
            Ok(loaded) => {
                found = Ok(loaded);
                break;
            }
            Err(error) => found = Err(error),
        }
    }
    let Some(loaded) = found? else { return Ok(None) };
    device.shutdown()?;
    jump(boot, &loaded).map(Some)
}

/// Loads the kernel of a boot partition; `None` where this is none.
fn from_partition(
    boot: &Boot,
    disk: &mut OpenDisk<'_>,
    start: u64,
) -> Result<Option<Loaded>, Error> {
    let Some(volume) = Volume::open(disk, start)? else { return Ok(None) };
    let Some(file) = volume.find(disk, FOLDER, KERNEL)? else { return Ok(None) };
    log::info!("dormouse/kernel is on the partition at byte {start}");
    let since = time::now_us();
    let kernel_runs = volume.runs(disk, &file)?;
    let mut head = [0; HEAD];
    volume.read(disk, &kernel_runs, &mut head)?;
    let kernel = Kernel::parse(&head, file.bytes.into())?;

    let line = read_command_line(disk, &volume)?;
    let line = command_line::make(&line, boot.command_line(), kernel.command_line)?;
    let initrd = match volume.find(disk, FOLDER, INITRD)? {
        Some(file) => Some((file, volume.runs(disk, &file)?)),
        None if command_line::has(&line, "noinitrd") => None,
        None => return Err(Error::NoInitrd),
    };
    let initrd_bytes = initrd.as_ref().map_or(0, |(file, _)| file.bytes.into());

    // No system that suspends may have anything there.
    let ranges = e820::reserving(boot.ranges(), boot.reloaded());
    let told = Told {
        ranges: &ranges,
        command_line: &line,
        initrd_bytes,
        rsdp: boot.lasting_rsdp(),
        screen: Some(boot.framebuffer())
            .filter(|framebuffer| framebuffer.is_there())
            .map(|framebuffer| framebuffer.screen_info()),
        uefi: boot.uefi(),
    };
    let mut taken = vec![window::range(), boot.reloaded()];
    taken.extend(told.uefi.iter().flat_map(entry::boot_services));
    let free = place::free(&boot.memory(MemoryKind::Ram), &taken);
    let places = Places::choose(&free, &kernel, initrd_bytes, told.bytes())?;
    map_ram(&[places.kernel_pages, places.initrd, places.parameters])?;
    load(disk, &kernel_runs, places.file)?;
    if let Some((_, runs)) = &initrd {
        load(disk, runs, places.initrd.start.address())?;
    }
    let parameters = told.parameters(&kernel, &places);
    // SAFETY: mapped just now, free memory that nobody else uses, and as long as
    // `told.bytes()`, which these are.
    unsafe {
        let place = direct(places.parameters.start.address());
        place.copy_from_nonoverlapping(parameters.as_ptr(), parameters.len());
    }
    log::info!(
        "kernel at {}, initramfs at {}, {} MiB read in {} ms",
        places.kernel,
        places.initrd,
        (u64::from(file.bytes) + initrd_bytes) >> 20,
        (time::now_us() - since) / 1000
    );
    Ok(Some(Loaded {
        entry: PhysAddr(Kernel::entry(places.kernel.0)),
        parameters: places.parameters.start.address(),
    }))
}

/// The command line's file; empty where there is none.
fn read_command_line(disk: &mut OpenDisk<'_>, volume: &Volume) -> Result<Vec<u8>, Error> {
    let Some(file) = volume.find(disk, FOLDER, COMMAND_LINE)? else { return Ok(Vec::new()) };
    let (bytes, most) = (file.bytes as usize, command_line::LONGEST);
    if bytes > most {
        return Err(CommandLineError::Long { bytes, most }.into());
    }
    let mut line = vec![0; bytes];
    let runs = volume.runs(disk, &file)?;
    volume.read(disk, &runs, &mut line)?;
    Ok(line)
}

/// Reads a file's bytes to where they belong.
fn load(disk: &mut OpenDisk<'_>, runs: &[Run], to: PhysAddr) -> Result<(), Error> {
    // SAFETY: all of the file, in whole blocks, fits the free memory chosen for
    // it: `Places` leaves a page more than the file has.
    unsafe { disk.load(runs, to) }
}

fn map_ram(ranges: &[PageRange]) -> Result<(), MapError> {
    MACHINE
        .with_space(|space| ranges.iter().try_for_each(|range| space.map_ram(*range)))
        .unwrap_or(Ok(()))
}

/// Leaves into the kernel.
///
/// It is promised an identity map of itself and of its parameters only, but looks
/// into the BIOS's data area before it has tables of its own (`paging_prepare` in
/// arch/x86/boot/compressed/pgtable_64.c, Linux 6.1). All loaders of today map all
/// memory that is low, so nobody would notice if it looked elsewhere.
fn jump(boot: &Boot, loaded: &Loaded) -> Result<Infallible, Error> {
    let low = PageRange { start: Pfn(0), pages: (1 << 32) / PAGE_SIZE };
    MACHINE
        .with_space(|space| {
            let ram = boot.memory(MemoryKind::Ram);
            let mut low = ram.iter().filter_map(|range| range.intersection(&low));
            low.try_for_each(|range| space.map_identity(range))
        })
        .unwrap_or(Ok(()))?;
    quiet_all(&MACHINE);
    log::info!("starting Linux");
    // SAFETY: a kernel with a 64-bit entry there, its parameters, both in low
    // memory, which is identity-mapped; no device writes into memory.
    unsafe { entry::start_linux(loaded.entry, loaded.parameters) }
}
