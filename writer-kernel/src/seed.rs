//! The seed that the woken kernel gets: gathered all the way, drawn at the end.
//!
//! The pool lies in the window, moves with it, and is emptied before the jump.

use crate::arch::{cpu, time};
use dormouse_handoff::image::Carried;
use dormouse_handoff::mailbox::{EntropySources, Head};
use dormouse_transfer::seed::{POOR_BELOW_BITS, Pool};
use spin::Mutex;
use x86_64::instructions::port::Port;

/// Words that are asked of the processor.
const WORDS: usize = 8;

/// Timings that are taken on purpose in any case.
const TIMINGS: usize = 256;

/// Most that are taken where the processor has no generator, in pieces of
/// [`TIMINGS`]: some milliseconds.
const PIECES: usize = 32;

static POOL: Mutex<Option<Pool>> = Mutex::new(None);

fn with_pool<T>(f: impl FnOnce(&mut Pool) -> T) -> T {
    f(POOL.lock().get_or_insert_with(Pool::new))
}

/// Begins: the processor, the clock, and a first look at how long things take.
pub fn gather() {
    with_pool(|pool| {
        pool.stir(&real_time_clock(), EntropySources::CLOCK);
        for _ in 0..WORDS {
            let Some((word, source)) = cpu::random() else { break };
            pool.take_random(&word.to_le_bytes(), source);
        }
        time_devices(pool);
    });
}

/// Something has happened of which a device decided how long it took.
pub fn note_time() {
    with_pool(|pool| pool.take_time(time::ticks()));
}

/// Takes what the wake-up before left; what this one leaves.
pub fn renew(carried: &Carried) -> Carried {
    with_pool(|pool| pool.renew(carried))
}

/// Gives the seed to the woken kernel, and forgets it.
pub fn leave(head: &mut Head) {
    let seed = with_pool(|pool| {
        for _ in 0..PIECES {
            if pool.bits() >= POOR_BELOW_BITS {
                break;
            }
            time_devices(pool);
        }
        pool.draw()
    });
    head.entropy = seed.bytes;
    head.entropy_bits = seed.bits;
    head.entropy_sources = seed.sources;
    if seed.bits < POOR_BELOW_BITS {
        log::warn!(
            "the seed for random numbers is poor: {} bits (this processor has no generator)",
            seed.bits
        );
    }
}

/// Times reads of a register that every PC has, on a bus with a clock of its
/// own.
fn time_devices(pool: &mut Pool) {
    let mut system_control = Port::<u8>::new(0x61);
    for _ in 0..TIMINGS {
        // SAFETY: reading system control port B changes nothing.
        unsafe { system_control.read() };
        pool.take_time(time::ticks());
    }
}

/// The registers of the real-time clock (Motorola MC146818A), as they are.
fn real_time_clock() -> [u8; 10] {
    let (mut index, mut data) = (Port::<u8>::new(0x70), Port::<u8>::new(0x71));
    core::array::from_fn(|register| {
        // SAFETY: the clock's first ten registers have no side effect when read;
        // a machine without one answers with ones.
        unsafe {
            index.write(register as u8);
            data.read()
        }
    })
}
