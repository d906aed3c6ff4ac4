//! The last calls of boot services: what is noted while they are still there.

use core::ptr::{addr_of_mut, null_mut};
use dormouse_handoff::screen::{Channel, Framebuffer};
use dormouse_handoff::units::PhysAddr;
use uefi_raw::protocol::console::{GraphicsOutputProtocol, GraphicsPixelFormat, PixelBitmask};
use uefi_raw::protocol::loaded_image::LoadedImageProtocol;
use uefi_raw::table::boot::{AllocateType, BootServices, MemoryDescriptor, MemoryType};
use uefi_raw::table::system::SystemTable;
use uefi_raw::{Handle, Status};
use x86_64::instructions::interrupts;

/// Room for descriptors that come up between asking for the map's size and
/// leaving, in bytes.
const SLACK: usize = 8 << 10;

/// How often leaving is tried: the map may change in between, by a timer.
const TRIES: usize = 8;

/// What is noted, all of it in memory that stays as it is for now. Physical
/// addresses; 0 where there is nothing.
#[derive(Clone, Copy)]
pub struct Noted {
    /// The system table.
    pub system_table: u64,
    /// The last memory map.
    pub map: u64,
    /// Bytes of it.
    pub map_bytes: u64,
    /// Bytes from one descriptor to the next.
    pub descriptor_bytes: u64,
    /// Their version.
    pub descriptor_version: u32,
    /// The load options, in UCS-2 if they are a command line.
    pub options: u64,
    /// Bytes of them.
    pub options_bytes: u64,
    /// The screen, as the graphics output protocol has it.
    pub framebuffer: Framebuffer,
}

static mut NOTED: Noted = Noted {
    system_table: 0,
    map: 0,
    map_bytes: 0,
    descriptor_bytes: 0,
    descriptor_version: 0,
    options: 0,
    options_bytes: 0,
    framebuffer: Framebuffer {
        address: PhysAddr(0),
        width: 0,
        height: 0,
        pitch: 0,
        depth: 0,
        red: Channel { position: 0, bits: 0 },
        green: Channel { position: 0, bits: 0 },
        blue: Channel { position: 0, bits: 0 },
        reserved: [0; 2],
    },
};

/// What was noted; zeros if this program did not come by this door.
pub fn noted() -> Noted {
    // SAFETY: written by `leave_boot_services` before `rust_start`, never again.
    unsafe { NOTED }
}

/// Calls a service. It may switch interrupts on; they go off again before any
/// other code runs, as the prebuilt `core` may use the red zone, which the
/// firmware's interrupt handlers would overwrite.
macro_rules! call {
    ($table:expr, $service:ident($($argument:expr),*)) => {{
        // SAFETY: a service of the firmware that started us, before boot services
        // are left, with arguments as UEFI 2.10 chapter 7 wants them.
        let status = unsafe { ((*$table).$service)($($argument),*) };
        interrupts::disable();
        status
    }};
}

/// Notes what a reader needs and leaves boot services, for `door.S`, with
/// interrupts off, on the firmware's stack, without heap or console. Answers 0,
/// or the status with which to go back to the firmware.
#[unsafe(no_mangle)]
extern "C" fn leave_boot_services(image: Handle, system: *mut SystemTable) -> usize {
    // SAFETY: the firmware passed its system table.
    let services = unsafe { (*system).boot_services };
    let mut noted = Noted { system_table: system as u64, ..noted() };
    let mut loaded: *mut LoadedImageProtocol = null_mut();
    let interface = addr_of_mut!(loaded).cast();
    if call!(services, handle_protocol(image, &LoadedImageProtocol::GUID, interface)).is_success()
        && !loaded.is_null()
    {
        // SAFETY: the firmware says that this describes us.
        let loaded = unsafe { &*loaded };
        noted.options = loaded.load_options as u64;
        noted.options_bytes = loaded.load_options_size.into();
    }
    let mut graphics: *mut GraphicsOutputProtocol = null_mut();
    let place = addr_of_mut!(graphics).cast();
    let wanted = &GraphicsOutputProtocol::GUID;
    if call!(services, locate_protocol(wanted, null_mut(), place)).is_success() {
        // SAFETY: the firmware says that this is its graphics output.
        noted.framebuffer = unsafe { framebuffer(graphics) }.unwrap_or_default();
    }
    match leave(image, services, &mut noted) {
        Ok(()) => {
            // SAFETY: nothing else runs, and nobody has looked yet.
            unsafe { NOTED = noted };
            0
        }
        Err(status) => status.0,
    }
}

/// The framebuffer in the mode that is set (UEFI 2.10, 12.9.2).
///
/// # Safety
///
/// `graphics` is null or the firmware's graphics output.
unsafe fn framebuffer(graphics: *const GraphicsOutputProtocol) -> Option<Framebuffer> {
    // SAFETY: as the caller promises; the protocol has its mode, and that its
    // information, as long as boot services are there.
    let (mode, info) = unsafe {
        let mode = graphics.as_ref()?.mode.as_ref()?;
        (mode, mode.info.as_ref()?)
    };
    let channel = |mask: u32| Channel {
        position: mask.trailing_zeros() as u8,
        bits: mask.count_ones() as u8,
    };
    let masks = match info.pixel_format {
        GraphicsPixelFormat::PIXEL_RED_GREEN_BLUE_RESERVED_8_BIT_PER_COLOR => {
            PixelBitmask { red: 0xff, green: 0xff00, blue: 0xff_0000, reserved: 0xff00_0000 }
        }
        GraphicsPixelFormat::PIXEL_BLUE_GREEN_RED_RESERVED_8_BIT_PER_COLOR => {
            PixelBitmask { red: 0xff_0000, green: 0xff00, blue: 0xff, reserved: 0xff00_0000 }
        }
        GraphicsPixelFormat::PIXEL_BIT_MASK => info.pixel_information,
        _ => return None,
    };
    let all = masks.red | masks.green | masks.blue | masks.reserved;
    let depth = 32 - all.leading_zeros();
    Some(Framebuffer {
        address: PhysAddr(mode.frame_buffer_base),
        width: info.horizontal_resolution,
        height: info.vertical_resolution,
        pitch: info.pixels_per_scan_line.saturating_mul(depth.div_ceil(8)),
        depth,
        red: channel(masks.red),
        green: channel(masks.green),
        blue: channel(masks.blue),
        reserved: [0; 2],
    })
}

fn leave(image: Handle, services: *mut BootServices, noted: &mut Noted) -> Result<(), Status> {
    let (mut bytes, mut key, mut stride, mut version) = (0, 0, 0, 0);
    let status = call!(
        services,
        get_memory_map(&mut bytes, null_mut(), &mut key, &mut stride, &mut version)
    );
    if status != Status::BUFFER_TOO_SMALL {
        return Err(if status.is_success() { Status::ABORTED } else { status });
    }
    let pages = (bytes + SLACK).div_ceil(4096);
    let mut map = 0;
    let any = AllocateType::ANY_PAGES;
    ok(call!(services, allocate_pages(any, MemoryType::LOADER_DATA, pages, &mut map)))?;

    let mut status = Status::ABORTED;
    for _ in 0..TRIES {
        bytes = pages * 4096;
        let place = map as *mut MemoryDescriptor;
        ok(call!(
            services,
            get_memory_map(&mut bytes, place, &mut key, &mut stride, &mut version)
        ))?;
        status = call!(services, exit_boot_services(image, key));
        if status.is_success() {
            noted.map = map;
            noted.map_bytes = bytes as u64;
            noted.descriptor_bytes = stride as u64;
            noted.descriptor_version = version;
            return Ok(());
        }
    }
    Err(status)
}

fn ok(status: Status) -> Result<(), Status> {
    if status.is_success() { Ok(()) } else { Err(status) }
}
