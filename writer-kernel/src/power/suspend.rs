//! Suspending to RAM (ACPI S3), and what it takes to come back from there.

use super::chipset::PortBase;
use super::overwritten::Kept;
use super::processors::{Latecomers, stop_others};
use super::{enter, platform};
use crate::arch::paging::direct;
use crate::arch::{exceptions, time, window};
use crate::console;
use crate::entry::s3;
use crate::machine::MACHINE;
use dormouse_drivers::platform::Exhausted;
use dormouse_handoff::plan::{CheckedPlan, PowerFacts};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};

/// Where the RAM ends of which firmware leaves the lowest pages to the system:
/// above lies its extended data area (as Linux has it in arch/x86/kernel/ebda.c).
const LOW_END: Pfn = Pfn(0x9f);

/// Where the waking vectors are in the FACS (ACPI 6.5 §5.2.10).
const WAKING_VECTOR: usize = 12;
const X_WAKING_VECTOR: usize = 24;

/// Bytes of a FACS that has both.
const FACS_BYTES: u64 = 64;

/// Why the machine did not suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The tables have no `\_S3`.
    NoS3,
    /// There is no FACS that could take a waking vector.
    NoFacs,
    /// No page of RAM below 640 KiB.
    NoLowPage,
    /// No room for what firmware overwrites.
    NoRoom(Exhausted),
    /// The window lies above 4 GiB, out of the trampoline's reach.
    High,
    /// The machine was told to, and is still awake.
    StillAwake,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoS3 => "this machine cannot suspend to RAM: its ACPI tables have no \\_S3",
            Self::NoFacs => "this machine's ACPI tables have no place for a waking vector (FACS)",
            Self::NoLowPage => "no page of memory below 640 KiB is there to wake up in",
            Self::NoRoom(_) => "there is no room to keep what firmware overwrites",
            Self::High => "the window lies above 4 GiB, where nobody can wake up",
            Self::StillAwake => "the machine was told to suspend, and did not",
        })
    }
}

/// Suspends; comes back once the machine was woken. Devices must be quiet, and
/// have lost their state afterwards.
///
/// All memory is as it was then: the page that the trampoline took and the
/// FACS are put back.
pub fn to_ram(plan: &CheckedPlan<'_>) -> Result<(), Error> {
    let facts = &plan.power;
    if facts.s3_type_a == PowerFacts::UNKNOWN {
        return Err(Error::NoS3);
    }
    if window::range().end().0 > Pfn::containing(PhysAddr(1 << 32)).0 {
        return Err(Error::High);
    }
    let facs = Facs::find(facts.facs).ok_or(Error::NoFacs)?;
    let page = low_page(plan).ok_or(Error::NoLowPage)?;
    // SAFETY: the driver was shut down before, and nothing of it is in use.
    let workplace = unsafe { Kept::of(plan) }.map_err(Error::NoRoom)?;
    let latecomers = Latecomers::halt(plan);
    // SAFETY: a page of the old kernel's RAM, in the direct map like all of it,
    // to which no reference exists.
    let kept = unsafe { direct(page).cast::<[u8; PAGE_SIZE as usize]>().read() };
    let put = |bytes: &[u8; PAGE_SIZE as usize]| {
        // SAFETY: as above.
        unsafe { direct(page).cast::<[u8; PAGE_SIZE as usize]>().write_volatile(*bytes) };
    };
    put(&s3::trampoline(page));
    let vectors = facs.vectors();
    facs.set_vectors(page.0 as u32, 0);
    log::info!("suspending to RAM; the way back is at {page}");

    let port_base = PortBase::now();
    let elapsed = time::pause();
    // SAFETY: the window lies below 4 GiB, as was just checked; this program's
    // own tables map it at both addresses.
    let woken = unsafe { s3::down(go, core::ptr::from_ref(facts).cast()) };
    if woken {
        time::go_on(elapsed);
        exceptions::init();
        console::open(plan.console_port as u16, plan.console_baud);
        // SAFETY: Linux has taken its processors off before the jump, and firmware,
        // which was the last to use them, has ended.
        unsafe { stop_others() };
        MACHINE.pci.look_again();
    }
    port_base.put_back(facts);
    match workplace.put_back() {
        0 => {}
        pages => log::warn!("firmware had overwritten {pages} pages of memory: put back"),
    }
    put(&kept);
    latecomers.put_back();
    facs.set_vectors(vectors.0, vectors.1);
    // A machine may also wake where it stopped, without a reset.
    if woken || platform::woke(facts) { Ok(()) } else { Err(Error::StillAwake) }
}

/// The last step: everything that is only in caches goes to memory.
extern "C" fn go(facts: *const ()) {
    // SAFETY: `to_ram` passes the plan's facts, which outlive the call.
    let facts = unsafe { &*facts.cast::<PowerFacts>() };
    // SAFETY: writes caches back and forgets them; memory stays coherent.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
    enter(facts, [facts.s3_type_a, facts.s3_type_b]);
}

/// The highest page of RAM that real mode reaches and firmware leaves alone.
fn low_page(plan: &CheckedPlan<'_>) -> Option<PhysAddr> {
    let last = |range: PageRange| {
        let end = range.end().min(LOW_END);
        // Page 0 has the firmware's interrupt vectors and data.
        (end.0 > range.start.0.max(1)).then(|| Pfn(end.0 - 1).address())
    };
    plan.ram().filter_map(last).next_back()
}

/// The firmware's table that says where to wake up.
struct Facs(*mut u8);

impl Facs {
    fn find(at: PhysAddr) -> Option<Self> {
        if at.0 == 0 {
            return None;
        }
        let pages = PageRange { start: Pfn::containing(at), pages: FACS_BYTES / PAGE_SIZE + 2 };
        MACHINE.with_space(|space| space.map_ram(pages))?.ok()?;
        let facs = Self(direct(at));
        // SAFETY: just mapped; a table starts with its signature and length.
        let (signature, length) =
            unsafe { (facs.0.cast::<[u8; 4]>().read(), facs.0.add(4).cast::<u32>().read()) };
        (signature == *b"FACS" && u64::from(length) >= FACS_BYTES).then_some(facs)
    }

    fn vectors(&self) -> (u32, u64) {
        // SAFETY: `find` has seen that the table has both; it is aligned to 64.
        unsafe {
            (
                self.0.add(WAKING_VECTOR).cast::<u32>().read_volatile(),
                self.0.add(X_WAKING_VECTOR).cast::<u64>().read_volatile(),
            )
        }
    }

    fn set_vectors(&self, real_mode: u32, protected_mode: u64) {
        // SAFETY: as in `vectors`; nobody else looks at it meanwhile.
        unsafe {
            self.0.add(WAKING_VECTOR).cast::<u32>().write_volatile(real_mode);
            self.0.add(X_WAKING_VECTOR).cast::<u64>().write_volatile(protected_mode);
        }
    }
}
