//! Putting an image back that was found good, and the jump.

use super::{Error, Reader};
use crate::arch::paging::MapError;
use crate::arch::{apic, time, window};
use crate::disks::Disk;
use crate::machine::MACHINE;
use crate::mailbox::Mailbox;
use crate::observer::Observer;
use crate::ram::{self, Ram};
use crate::save::way_out;
use crate::{console, failure, power, screen, seed};
use alloc::vec::Vec;
use core::convert::Infallible;
use dormouse_drivers::guard::Guarded;
use dormouse_drivers::queue::BlockQueue;
use dormouse_drivers::{open, quiet_all};
use dormouse_handoff::image::Header;
use dormouse_handoff::mailbox::{Outcome, Statistics};
use dormouse_handoff::plan::{self, Flags, Plan, Stage};
use dormouse_handoff::units::PAGE_SIZE;
use dormouse_screen::Line;
use dormouse_transfer::image::{self, Opened};
use dormouse_transfer::memory::Buffer;
use dormouse_transfer::restore::{Buffers, TABLE_BUFFER_PAGES, restore};
use dormouse_transfer::save::{Observer as _, SCRATCH_BYTES};
use dormouse_transfer::stream::Stream;
use dormouse_transfer::{error, measure};

/// An image that was found good, and its disk.
pub struct Good {
    /// The disk.
    pub disk: Disk,
    /// The image.
    pub opened: Opened,
}

impl Good {
    /// Opens its disk once more, where no driver is alive, reads everything into place
    /// and jumps.
    pub(super) fn go_on(&self, reader: &Reader) -> Result<Infallible, Error> {
        let plan = self.opened.plan()?;
        show(&self.opened.header, &plan);
        let scratch = ram::buffer(SCRATCH_BYTES)?;
        let device = open(&MACHINE, self.disk.controller, self.disk.unit)?;
        image::check_disk(&device, &plan)?;
        self.put_back(device, scratch, reader)
    }

    /// Reads everything into place and jumps.
    pub(super) fn put_back(
        &self,
        mut device: Guarded,
        mut scratch: Buffer,
        reader: &Reader,
    ) -> Result<Infallible, Error> {
        let Opened { header, jump_back, .. } = &self.opened;
        let plan = &self.opened.plan()?;
        let mut ram =
            MACHINE.with_space(|space| Ram::map(space, plan.memory())).ok_or(MapError::Full)??;
        device.grant(plan.extents().extents());
        let mut stream = Stream::new(&mut device, plan.extents())?;
        let attempts =
            image::count_attempt(&mut stream, &mut scratch, header, plan.attempts, seed::renew)?;
        if attempts.begun > 1 {
            log::warn!("{} wake-ups of this image did not get to their end", attempts.begun - 1);
        }

        let mut observer = Observer::of_reader(plan, &header.counts);
        observer.stage(Stage::Read)?;
        let first_data_us = time::now_us();
        let buffers = Buffers {
            runs: ram::buffer(TABLE_BUFFER_PAGES << 12)?,
            chunks: ram::buffer(TABLE_BUFFER_PAGES << 12)?,
        };
        restore(&mut stream, &mut ram, plan, header, window::range(), buffers, &mut observer)?;
        let data_us = time::now_us() - first_data_us;
        if plan.flags().contains(Flags::MEASURE) {
            let buffer = ram::buffer(TABLE_BUFFER_PAGES << 12)?;
            measure::restoring(&mut stream, header, buffer, &observer)?;
        }
        let data_done_us = time::now_us();

        // SAFETY: the mailbox's pages are in the plan's memory, all of it mapped, and
        // outside the window, as the plan's check has seen.
        let mailbox = unsafe { Mailbox::find(&plan.mailbox, &plan.nonce) }
            .ok_or(error::Error::Inconsistent("the mailbox did not come back"))?;
        let writers_log: Vec<u8> = image::read_log(&mut stream, &mut scratch, header).to_vec();

        observer.stage(Stage::Consume)?;
        image::consume(&mut stream, &mut scratch, header, &attempts)?;
        failure::set_stage(Stage::Jump);
        if let Err(error) = device.shutdown() {
            // The image is used up: the only way on is forward. The old kernel resets
            // the controller; until then it must not write into memory.
            log::error!("{error}");
            quiet_all(&MACHINE);
        }
        let read = Statistics {
            first_data_us,
            data_us,
            finish_us: time::now_us() - data_done_us,
            data_bytes: header.data_length,
            meta_bytes: (header.runs.pages + header.chunks.pages) * PAGE_SIZE,
            walk_us: 0,
        };
        log::info!(
            "{} MiB read in {} ms; jumping into the old kernel",
            read.data_bytes >> 20,
            read.data_us / 1000
        );
        console::release();
        power::platform::restore(&plan.power, &jump_back.platform);
        // SAFETY: the old kernel sets its APIC up anew after the jump.
        unsafe { apic::put_back(jump_back.apic_base) };
        mailbox.leave(Outcome::Woken, Stage::Jump, &reader.passed_over);
        mailbox.leave_statistics(header.statistics, read, header.counts);
        mailbox.update(|head| {
            head.woken_before = attempts.woken;
            head.reloaded = reader.boot.reloaded();
            seed::leave(head);
        });
        mailbox.leave_log(&writers_log);
        failure::leave(way_out(jump_back))
    }
}

/// Shows on the screen whose image it is.
pub fn show(header: &Header, plan: &Plan) {
    let stored_mib = header.counts.stored >> 8;
    let release = plan::text(&plan.kernel_release);
    screen::say(Line::Subject, format_args!("Linux {release}, {stored_mib} MiB"));
}
