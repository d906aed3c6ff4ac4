//! Time: the processor's time-stamp counter, and how fast it runs.
//!
//! Its rate is asked of, in this order: CPUID 0x15 (Intel SDM volume 2),
//! the hypervisor's leaf 0x40000010 (VMware's, which KVM and others have too),
//! the plan, where the 8254 does not contradict it within a moment, and the 8254
//! timer (channel 2, which interrupts nobody).

use core::arch::x86_64::{__cpuid, _rdtsc};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use x86_64::instructions::port::Port;

static KHZ: AtomicU64 = AtomicU64::new(0);
static START: AtomicU64 = AtomicU64::new(0);

/// How the counter's rate was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// CPUID leaf 0x15.
    Cpuid,
    /// The hypervisor's leaf.
    Hypervisor,
    /// As Linux measured it.
    Plan,
    /// Measured against the 8254.
    Timer8254,
    /// Nothing was to be had: 3 GHz is taken for granted, so that deadlines
    /// come late rather than early on slower processors.
    Assumed,
}

/// Starts the clock: [`now_us`] counts from here. Idempotent.
pub fn start() {
    if START.load(Relaxed) == 0 {
        START.store(ticks(), Relaxed);
    }
}

/// Finds out how fast the counter runs. `planned_khz` is what a plan says; 0: it
/// does not say.
pub fn calibrate(planned_khz: u64) -> Source {
    let (khz, source) = if let Some(khz) = cpuid_khz() {
        (khz, Source::Cpuid)
    } else if let Some(khz) = hypervisor_khz() {
        (khz, Source::Hypervisor)
    } else if is_plausible(planned_khz) {
        (planned_khz, Source::Plan)
    } else if let Some(khz) = timer_khz() {
        (khz, Source::Timer8254)
    } else {
        (3_000_000, Source::Assumed)
    };
    KHZ.store(khz, Relaxed);
    source
}

/// The counter's rate in kHz; 0 before [`calibrate`].
pub fn khz() -> u64 {
    KHZ.load(Relaxed)
}

/// Microseconds since [`start`]; 0 before [`calibrate`].
pub fn now_us() -> u64 {
    let khz = KHZ.load(Relaxed);
    if khz == 0 {
        return 0;
    }
    let elapsed = ticks().wrapping_sub(START.load(Relaxed));
    (u128::from(elapsed) * 1000 / u128::from(khz)) as u64
}

/// Lets so many microseconds pass.
pub fn wait_us(us: u64) {
    let from = now_us();
    while now_us() - from < us {
        core::hint::spin_loop();
    }
}

/// Ticks since [`start`], for [`go_on`].
pub fn pause() -> u64 {
    ticks().wrapping_sub(START.load(Relaxed))
}

/// Goes on counting where [`pause`] stopped: a reset sets the counter to zero.
pub fn go_on(elapsed: u64) {
    START.store(ticks().wrapping_sub(elapsed), Relaxed);
}

/// The counter.
pub fn ticks() -> u64 {
    // SAFETY: every 64-bit processor has the instruction, and we run in ring 0.
    unsafe { _rdtsc() }
}

fn cpuid_khz() -> Option<u64> {
    if __cpuid(0).eax < 0x15 {
        return None;
    }
    let leaf = __cpuid(0x15);
    if leaf.eax == 0 || leaf.ebx == 0 || leaf.ecx == 0 {
        return None;
    }
    Some(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax) / 1000)
        .filter(|&khz| khz > 0)
}

fn hypervisor_khz() -> Option<u64> {
    let under_hypervisor = __cpuid(1).ecx & (1 << 31) != 0;
    if !under_hypervisor || __cpuid(0x4000_0000).eax < 0x4000_0010 {
        return None;
    }
    Some(u64::from(__cpuid(0x4000_0010).eax)).filter(|&khz| khz > 0)
}

/// The counter's rate by the 8254.
///
/// Where a hypervisor takes the processor away in the middle, a measurement can
/// be wrong by any factor, and deadlines with it. So each has bounds, and what
/// counts is the narrowest of a few.
fn timer_khz() -> Option<u64> {
    const TRIES: usize = 16;
    const NARROW: u64 = 64;
    let countdown = || countdown(COUNTDOWNS_PER_S, GIVE_UP_TICKS);
    let mut best = countdown()?;
    for _ in 1..TRIES {
        if best.spread() <= best.most / NARROW {
            break;
        }
        let next = countdown()?;
        if next.spread() < best.spread() {
            best = next;
        }
    }
    // The upper bound: deadlines come late rather than early.
    let khz = |ticks: u64| ticks * COUNTDOWNS_PER_S / 1000;
    Some(khz(best.most)).filter(|_| khz(best.least) > 10_000)
}

/// Whether the counter can run at `khz`, by the shortest of looks at the 8254.
///
/// Linux has measured for longer than there is time for here. What is looked for
/// is a plan that is wrong by far: deadlines would come too early, or never. A
/// machine without an 8254 has nothing to contradict with.
fn is_plausible(khz: u64) -> bool {
    const PER_S: u64 = 5000;
    /// Of what was looked at, in which a correct rate must lie.
    const MARGIN: u64 = 50;
    const TRIES: usize = 3;
    if khz < 10_000 {
        return false;
    }
    let expected = khz * 1000 / PER_S;
    for _ in 0..TRIES {
        let Some(took) = countdown(PER_S, 20 * expected) else { return true };
        let least = took.least - took.least / MARGIN;
        let most = took.most + took.most / MARGIN;
        if !(least..=most).contains(&expected) {
            return false;
        }
        // A host that got in the way widens it until anything fits: look again.
        if took.spread() < expected / 4 {
            return true;
        }
    }
    true
}

/// Countdowns of the 8254 in a second.
///
/// The longer one is the narrower its bounds, which are two looks at a port apart:
/// at about a microsecond each, half a millisecond is good for half a percent.
const COUNTDOWNS_PER_S: u64 = 2000;

/// Between how many ticks something took.
struct Took {
    least: u64,
    most: u64,
}

impl Took {
    fn spread(&self) -> u64 {
        self.most - self.least
    }
}

/// Far beyond a countdown on any processor: only a machine without an 8254 gets
/// there.
const GIVE_UP_TICKS: u64 = 200_000_000;

/// Counts ticks while channel 2 of the 8254 counts down for a `per_s`th of a
/// second; `None` if it has not after `give_up` ticks.
fn countdown(per_s: u64, give_up: u64) -> Option<Took> {
    const HZ: u64 = 1_193_182;
    const OUT: u8 = 1 << 5;
    let count = HZ / per_s;

    let mut gate = Port::<u8>::new(0x61);
    let mut command = Port::<u8>::new(0x43);
    let mut data = Port::<u8>::new(0x42);
    // SAFETY: the PC's own timer and speaker gate (Intel 8254 data sheet); the old
    // kernel programs them anew when it uses them, and the gate is put back.
    unsafe {
        let before = gate.read();
        if before == u8::MAX {
            return None; // nobody decodes the port
        }
        gate.write((before & !0x03) | 0x01); // gate on, speaker off
        command.write(0b1011_0000); // channel 2, both bytes, mode 0
        data.write(count as u8);
        let begins = ticks();
        data.write((count >> 8) as u8);
        let began = ticks();
        // The last tick at which the timer was certainly still counting.
        let mut going_on = began;
        let ended = loop {
            let asked = ticks();
            if gate.read() & OUT != 0 {
                break ticks();
            }
            if asked.wrapping_sub(began) > give_up {
                gate.write(before);
                return None;
            }
            going_on = asked;
        };
        gate.write(before);
        let (least, most) = (going_on.wrapping_sub(began), ended.wrapping_sub(begins));
        Some(Took { least, most: most.max(least) })
    }
}
