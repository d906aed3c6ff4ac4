//! What the compiler expects to find: memory functions and unwinding stubs.

use core::arch::asm;

/// C `memcpy`: words, then the odd bytes. The string instructions are the
/// fastest copy there is on processors with ERMS, and words instead of bytes
/// cost nothing there and a lot less under emulation.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    // SAFETY: as the caller promises.
    unsafe {
        asm!("rep movsq", "mov rcx, {odd}", "rep movsb", odd = in(reg) bytes % 8,
             inout("rcx") bytes / 8 => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
    to
}

/// C `memmove`.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= bytes {
        // SAFETY: as the caller promises; going up overwrites nothing unread.
        return unsafe { memcpy(to, from, bytes) };
    }
    // SAFETY: as the caller promises; going down overwrites nothing unread.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") bytes => _,
             inout("rdi") to.wrapping_add(bytes).wrapping_sub(1) => _,
             inout("rsi") from.wrapping_add(bytes).wrapping_sub(1) => _, options(nostack));
    }
    to
}

/// C `memset`: words, then the odd bytes, as [`memcpy`].
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, bytes: usize) -> *mut u8 {
    let word = u64::from(value as u8) * 0x0101_0101_0101_0101;
    // SAFETY: as the caller promises.
    unsafe {
        asm!("rep stosq", "mov rcx, {odd}", "rep stosb", odd = in(reg) bytes % 8,
             inout("rcx") bytes / 8 => _, inout("rdi") to => _, in("rax") word,
             options(nostack, preserves_flags));
    }
    to
}

/// C `memcmp`.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, bytes: usize) -> i32 {
    let mut i = 0;
    // Words first: pages and headers are compared whole.
    while i + 8 <= bytes {
        // SAFETY: as the caller promises; unaligned reads are asked for.
        let (x, y) = unsafe {
            (a.add(i).cast::<u64>().read_unaligned(), b.add(i).cast::<u64>().read_unaligned())
        };
        if x != y {
            return if x.swap_bytes() < y.swap_bytes() { -1 } else { 1 };
        }
        i += 8;
    }
    while i < bytes {
        // SAFETY: as the caller promises.
        let (x, y) = unsafe { (*a.add(i), *b.add(i)) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        i += 1;
    }
    0
}

/// BSD `bcmp`.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, bytes: usize) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { memcmp(a, b, bytes) }
}

/// C `strlen`.
///
/// # Safety
///
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: as the caller promises: there is a zero byte.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    length
}

/// The prebuilt `core` and `alloc` are compiled for unwinding and name this;
/// nothing here unwinds.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

/// As [`rust_eh_personality`].
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_Resume() -> ! {
    crate::failure::fatal("unwinding was attempted")
}
