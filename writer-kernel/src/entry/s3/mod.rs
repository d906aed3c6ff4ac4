//! The S3 door: firmware enters here when the machine is woken from a suspend
//! to RAM. Unlike the others it leads back to where this program was.

use crate::arch::window;
use core::arch::global_asm;
use core::ptr::addr_of;
use dormouse_handoff::units::{PAGE_SIZE, PhysAddr};

global_asm!(include_str!("s3.S"), options(att_syntax));

unsafe extern "C" {
    static s3_trampoline: u8;
    static s3_trampoline_end: u8;
    static s3_trampoline_gdt: u8;
    static s3_place_window: u8;
    static s3_place_target: u8;
    static s3_place_gdt: u8;
    fn s3_wake();
    fn s3_down(go: extern "C" fn(*const ()), argument: *const ()) -> u64;
}

/// The trampoline as it must lie in the page at `address`, below 1 MiB, to come
/// back into this window, which must lie below 4 GiB.
pub fn trampoline(address: PhysAddr) -> [u8; PAGE_SIZE as usize] {
    let start = addr_of!(s3_trampoline);
    let offset = |place: *const u8| place.addr() - start.addr();
    let length = offset(addr_of!(s3_trampoline_end)).min(PAGE_SIZE as usize);
    // SAFETY: the bytes between the two symbols, constants of this program.
    let code = unsafe { core::slice::from_raw_parts(start, length) };
    let mut page = [0; PAGE_SIZE as usize];
    page[..length].copy_from_slice(code);
    let window = window::start().0 as u32;
    let wake = window + (s3_wake as *const () as u64 - window::KERNEL_BASE) as u32;
    let gdt = address.0 as u32 + offset(addr_of!(s3_trampoline_gdt)) as u32;
    for (place, value) in [
        (addr_of!(s3_place_window), window),
        (addr_of!(s3_place_target), wake),
        (addr_of!(s3_place_gdt), gdt),
    ] {
        let at = offset(place);
        page[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    page
}

/// Calls `go`, which puts the machine to sleep. `true` once it was woken by the
/// trampoline, `false` if `go` came back.
///
/// # Safety
///
/// The window lies below 4 GiB, and the page tables in use map it at both of
/// its addresses. After `true` the processor has been reset: exceptions are
/// without their handlers, and the devices' state is lost.
pub unsafe fn down(go: extern "C" fn(*const ()), argument: *const ()) -> bool {
    // SAFETY: as the caller promises.
    unsafe { s3_down(go, argument) == 1 }
}
