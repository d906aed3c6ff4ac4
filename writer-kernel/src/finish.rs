//! What comes after the writing: the sleep, and the way back without one.

use crate::arch::apic;
use crate::console;
use crate::failure;
use crate::machine::MACHINE;
use crate::mailbox::Mailbox;
use crate::monitor;
use crate::observer::Observer;
use crate::power::{self, methods, platform, suspend};
use crate::ram;
use crate::save::{Error, fail, open_target, way_out};
use crate::screen;
use crate::seed;
use dormouse_drivers::guard::Guarded;
use dormouse_drivers::pci::KeptHeaders;
use dormouse_drivers::platform::Platform;
use dormouse_drivers::queue::BlockQueue;
use dormouse_drivers::quiet_all;
use dormouse_handoff::image::{Attempts, Counts, Header, JumpBack, State};
use dormouse_handoff::mailbox::{Outcome, Statistics};
use dormouse_handoff::plan::{Action, CheckedPlan, Flags, Stage};
use dormouse_screen::Ending;
use dormouse_transfer::image;
use dormouse_transfer::memory::Buffer;
use dormouse_transfer::save::{Observer as _, SCRATCH_BYTES};
use dormouse_transfer::stream::Stream;

/// The way back, and where to leave word.
pub struct Back {
    /// The old kernel's state.
    pub jump: JumpBack,
    /// Its mailbox, where it was found.
    pub mailbox: Option<Mailbox>,
}

impl Back {
    /// Goes back, and says that all went well.
    fn leave(&self, outcome: Outcome, done: &Done) -> ! {
        if let Some(mailbox) = &self.mailbox {
            mailbox.leave(outcome, failure::stage(), "");
            let write = done.header.map_or(Statistics::default(), |header| header.statistics);
            mailbox.leave_statistics(write, done.read, done.counts);
            if outcome == Outcome::WokenFromRam {
                seed::gather();
                mailbox.update(seed::leave);
            }
            mailbox.leave_log(&[]);
        }
        failure::leave(way_out(&self.jump))
    }
}

/// What an attempt has done when it comes to the sleep, or to the way back.
#[derive(Default)]
pub struct Done {
    /// The committed image.
    pub header: Option<Header>,
    /// What was read from the target.
    pub read: Statistics,
    /// What became of each page, or would have.
    pub counts: Counts,
}

/// What comes after the commit.
pub fn finish(plan: &CheckedPlan<'_>, back: &Back, done: &Done) -> ! {
    console::release();
    if plan.action() == Action::Return {
        back.leave(Outcome::Done, done)
    }
    failure::set_stage(Stage::Power);
    if plan.flags().contains(Flags::WAIT_BEFORE_POWER) {
        power::stand_still("power-off");
    }
    monitor::wait_until_closed();
    let action = monitor::action(plan);
    let now = match action {
        Action::Reboot => "the machine is reset now",
        Action::Suspend => "the machine suspends now",
        Action::PowerOff | Action::Return => "the machine goes off now",
    };
    screen::end(Ending::Well, format_args!("{now}"));
    match action {
        Action::Reboot => power::reset(&plan.power),
        Action::Suspend => suspend_to_ram(plan, back, done),
        Action::PowerOff | Action::Return => {
            methods::run(plan, &plan.methods.before_off, "_PTS(5)");
            power::off(&plan.power)
        }
    }
}

/// Suspends, and goes back once the machine was woken: never while an image
/// could still be resumed.
fn suspend_to_ram(plan: &CheckedPlan<'_>, back: &Back, done: &Done) -> ! {
    let kept = done.header.map(|_| KeptHeaders::of(&MACHINE, plan.target.pci));
    methods::run(plan, &plan.methods.before_suspend, "_PTS(3)");
    if let Err(error) = suspend::to_ram(plan) {
        // As Linux does it where the machine stays awake.
        methods::run(plan, &plan.methods.after_wake, "_WAK(3)");
        if kept.is_none() {
            fail(&Error::Suspend(error));
        }
        log::error!("{error}: the image is on the disk, so the machine can go off");
        power::off(&plan.power)
    }
    log::info!("woken from the suspend to RAM");
    if let Some(kept) = kept {
        failure::set_stage(Stage::Consume);
        kept.put_back(&MACHINE);
        if let Err(error) = consume(plan) {
            // The image may still be valid: it and this memory must not both live.
            log::error!("{error}");
            log::error!("the image cannot be made unusable: going off, to wake from it instead");
            power::off(&plan.power)
        }
        failure::can_return(way_out(&back.jump), back.mailbox);
    }
    failure::set_stage(Stage::Jump);
    platform::restore(&plan.power, &back.jump.platform);
    // SAFETY: the old kernel sets its APIC up anew after the jump.
    unsafe { apic::put_back(back.jump.apic_base) };
    methods::run(plan, &plan.methods.after_wake, "_WAK(3)");
    log::info!("going back");
    back.leave(Outcome::WokenFromRam, done)
}

/// Makes the image on the target consumed, durably.
fn consume(plan: &CheckedPlan<'_>) -> Result<(), Error> {
    // The reader has a stage to consume in, and plays its faults there.
    Observer::of_writer(plan).stage(Stage::Power)?;
    // SAFETY: the driver was shut down before the suspend, and every controller
    // has been reset since: no device knows the memory any more.
    unsafe { MACHINE.dma_release_all() };
    let mut scratch = ram::buffer(SCRATCH_BYTES)?;
    let mut tried = Ok(());
    // A write that failed may have got there all the same: look, and try again.
    for _ in 0..2 {
        let mut device = open_target(plan)?;
        tried = consume_on(&mut device, plan, &mut scratch);
        let quiet = device.shutdown();
        if tried.is_ok() {
            if let Err(error) = quiet {
                log::error!("after the image was consumed: {error}");
                quiet_all(&MACHINE);
            }
            return Ok(());
        }
    }
    tried
}

fn consume_on(
    device: &mut Guarded,
    plan: &CheckedPlan<'_>,
    scratch: &mut Buffer,
) -> Result<(), Error> {
    use dormouse_transfer::error::Error::NotValid;
    let start = plan.extents().extents()[0].start;
    let opened = match image::open(device, start, scratch) {
        Err(NotValid(State::Consumed)) => return Ok(()),
        opened => opened?,
    };
    if opened.header.id != plan.nonce {
        return Err(Error::OtherDevice("image"));
    }
    let mut stream = Stream::new(device, plan.extents())?;
    let attempts = Attempts::new(plan.nonce, 0);
    Ok(image::consume(&mut stream, scratch, &opened.header, &attempts)?)
}
