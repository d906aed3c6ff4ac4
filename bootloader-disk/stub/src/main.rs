//! What the loader of the `bootloader` crate starts in place of a kernel: it puts
//! `writer.bzimage`, which comes as the RAM disk, into free memory, says in the
//! terms of the Linux boot protocol what the loader found, and enters the
//! reader by that protocol's 64-bit entry.
//!
//! Why not `writer.elf` itself: that loader maps a kernel's pages wherever it
//! found room, and the reader wants to lie in one piece.
//!
//! True on entry (`bootloader_api`): 64-bit mode, all of physical memory mapped
//! at an offset, own stack, interrupts off. UEFI's boot services are left.
#![no_std]
#![no_main]

extern crate alloc;

mod firmware;
mod jump;

use alloc::vec;
use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::{BootInfo, entry_point};
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use dormouse_boot::bzimage::{self, Kernel, KernelError};
use dormouse_boot::params::Told;
use dormouse_boot::place::{self, PlaceError, Places};
use jump::Jump;
use linked_list_allocator::LockedHeap;
use uart_16550::{Config, Uart16550Tty};

const LOADER: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config
};

entry_point!(main, config = &LOADER);

/// The memory map and the boot parameters are all that is allocated.
const HEAP_BYTES: usize = 256 << 10;
static mut HEAP_MEMORY: [u128; HEAP_BYTES / 16] = [0; HEAP_BYTES / 16];

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Why the reader cannot be started.
enum Error {
    /// The loader left out what it is asked for.
    Missing(&'static str),
    /// The RAM disk is not `writer.bzimage`.
    Kernel(KernelError),
    /// No room.
    Place(PlaceError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "the loader left no {what}"),
            Self::Kernel(error) => write!(f, "the RAM disk is not writer.bzimage: {error}"),
            Self::Place(error) => write!(f, "{error}"),
        }
    }
}

fn main(info: &'static mut BootInfo) -> ! {
    // SAFETY: once, and the memory is used by nothing else.
    unsafe { HEAP.lock().init((&raw mut HEAP_MEMORY).cast(), HEAP_BYTES) };
    let error = match prepare(info) {
        // SAFETY: the loader left boot services and runs no other processor; what
        // it reports as usable is nobody's.
        Ok(jump) => unsafe { jump.enter() },
        Err(error) => error,
    };
    say(format_args!("dormouse: the reader cannot be started: {error}"));
    halt()
}

/// Everything that can go wrong, before anything is written.
fn prepare(info: &BootInfo) -> Result<Jump, Error> {
    let offset = info.physical_memory_offset.into_option();
    let offset = offset.ok_or(Error::Missing("map of physical memory"))?;
    let file = firmware::ram_disk(info).ok_or(Error::Missing("RAM disk"))?;
    let head = file.first_chunk::<{ bzimage::HEAD }>();
    let head = head.ok_or(Error::Kernel(KernelError::NoKernel))?;
    let kernel = Kernel::parse(head, file.len() as u64).map_err(Error::Kernel)?;

    let ranges = firmware::ranges(&info.memory_regions);
    let told = Told {
        ranges: &ranges,
        command_line: &[],
        initrd_bytes: 0,
        rsdp: info.rsdp_addr.into_option().unwrap_or(0),
        screen: None,
        uefi: None,
    };
    let free = place::free(&firmware::usable(&info.memory_regions), &[]);
    let bytes = told.bytes().next_multiple_of(jump::PAGE) + jump::TABLES_BYTES;
    let places = Places::choose(&free, &kernel, 0, bytes).map_err(Error::Place)?;
    let mut parameters = told.parameters(&kernel, &places);
    parameters.extend(vec![0; (bytes as usize).saturating_sub(parameters.len())]);
    let loaded = file.get(kernel.skipped as usize..).unwrap_or(&[]);
    Ok(Jump { offset, loaded, kernel: places.kernel, parameters, at: places.parameters })
}

/// On the first serial line, if there is one.
fn say(text: fmt::Arguments<'_>) {
    // SAFETY: COM1's ports; nothing else here uses them.
    let tty = unsafe { Uart16550Tty::new_port(0x3f8, Config::default()) };
    if let Ok(mut tty) = tty {
        // There is nobody to tell of an error.
        let _ = tty.write_fmt(format_args!("{text}\r\n"));
    }
}

fn halt() -> ! {
    loop {
        x86_64::instructions::hlt();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say(format_args!("dormouse: {info}"));
    halt()
}
