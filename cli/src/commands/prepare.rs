//! `dormouse prepare`: makes a device a target, for good and by consent.

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::output::Output;
use crate::preflight::SurveyedTarget;
use crate::system::System;
use crate::target::content::EDGE;
use crate::target::direct::{Direct, Page};
use crate::target::{Content, Device, empty, usage};
use clap::Args;
use dormouse_handoff::units::PAGE_SIZE;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;
use std::path::PathBuf;
use std::time::SystemTime;

/// Make a disk or partition a target; swap areas and blank devices are targets
/// as they are
#[derive(Args, Debug)]
pub struct Prepare {
    /// The disk or partition
    pub target: PathBuf,

    /// Erase what is on it
    #[arg(long)]
    pub erase: bool,
}

#[derive(Serialize)]
struct Prepared<'a> {
    target: &'a PathBuf,
    found: String,
    erased: bool,
}

impl Prepare {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::NotFree`] where something is in the way, [`Error::Target`],
    /// [`Error::Io`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        let system = System::this();
        let target = SurveyedTarget::look(&system, &self.target)?;
        self.refuse_if_in_use(&target)?;
        let found = target.content.words();
        let is_target = matches!(target.content, Content::Swap) || target.content.is_free();
        if is_target && !self.erase && target.content != Content::Blank {
            output
                .say(format!("{}: {found} on it; it is a target as it is", self.target.display()));
            output.object(&Prepared { target: &self.target, found, erased: false });
            return Ok(Exit::Done);
        }
        if !is_target && !self.erase {
            return Err(Error::NotFree {
                path: self.target.clone(),
                reason: format!("{found} on it"),
                advice: target.content.advice(&self.target),
            });
        }
        let disk = target.device.claim(&system)?;
        // Nobody else can use it now; it must still hold what was looked at.
        let content = Content::of(&target.device, &disk)?;
        if content != target.content {
            return Err(Error::NotFree {
                path: self.target.clone(),
                reason: format!("{} on it now, a moment ago {found}", content.words()),
                advice: "look who writes to it; then try again".to_owned(),
            });
        }
        make_target(&target.device, &disk)?;
        output.say(format!("{} is a target now ({found} was on it)", self.target.display()));
        output.object(&Prepared { target: &self.target, found, erased: self.erase });
        Ok(Exit::Done)
    }

    fn refuse_if_in_use(&self, target: &SurveyedTarget) -> Result<()> {
        let swapped = usage::active_swap(&target.uses)
            .map(|_| ("it is swapped to".to_owned(), "it is a target as it is".to_owned()));
        let obstacle = target
            .obstacle()
            .map(|finding| (finding.text, finding.advice.unwrap_or_default()))
            .or(swapped.filter(|_| self.erase));
        match obstacle {
            Some((reason, advice)) => {
                Err(Error::NotFree { path: self.target.clone(), reason, advice })
            }
            None => Ok(()),
        }
    }
}

/// Erases both ends, where signatures live, and leaves an empty image there.
fn make_target(device: &Device, disk: &Direct) -> Result<()> {
    let end = device.bytes() / PAGE_SIZE * PAGE_SIZE;
    let tail = end.saturating_sub(EDGE);
    let pages = (0..EDGE.min(end)).chain(tail..end).step_by(PAGE_SIZE as usize);
    for offset in pages {
        disk.write(offset, &Page::zero(), PAGE_SIZE as usize)?;
    }
    let mut id = [0; 16];
    getrandom(&mut id, GetRandomFlags::empty()).map_err(|e| Error::call("getrandom", e))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let page = empty::first_page(id, device.block_size, now.map_or(0, |now| now.as_secs()));
    disk.write(0, &Page(page), PAGE_SIZE as usize)?;
    disk.forget_cache()?;
    if !device.is_partition() {
        // A partition table that was there is gone; its partitions linger in
        // Linux until it looks again. That some devices have none is no error.
        let _ = disk.look_for_partitions();
    }
    Ok(())
}
