//! `dormouse status`: what happened last, and what lies on a target.

use crate::error::Result;
use crate::exit::Exit;
use crate::output::{self, Output};
use crate::preflight::SurveyedTarget;
use crate::run_dir;
use crate::system::System;
use crate::trip::{Outcome, Report};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Say what happened last, and what lies on a target
#[derive(Args, Debug)]
pub struct Status {
    /// The disk or partition to look at; may be repeated
    #[arg(long, value_name = "DEVICE")]
    pub target: Vec<PathBuf>,
}

#[derive(Serialize)]
struct State {
    last: Option<Report>,
    writer_loaded: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Target {
    path: PathBuf,
    content: String,
    free: bool,
    swapped_to: bool,
    /// Of a reusable snapshot: which one of its series it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
}

impl Status {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Target`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        let system = System::this();
        let state = State {
            last: run_dir::recorded(&system, run_dir::LAST)?,
            writer_loaded: system.number("/sys/kernel/kexec_loaded") == Some(1),
            targets: self.target.iter().map(|path| look(&system, path)).collect::<Result<_>>()?,
        };
        for line in state.lines() {
            output.say(line);
        }
        output.object(&state);
        Ok(Exit::Done)
    }
}

fn look(system: &System, path: &Path) -> Result<Target> {
    let target = SurveyedTarget::look(system, path)?;
    Ok(Target {
        content: target.content.words(),
        free: target.content.is_free(),
        swapped_to: crate::target::usage::active_swap(&target.uses).is_some(),
        generation: target.content.reusable().map(|header| header.generation),
        path: path.to_owned(),
    })
}

impl State {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.last {
            None => lines.push("no attempt since the machine was started".to_owned()),
            Some(report) => {
                let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(report.ended);
                let ago = SystemTime::now().duration_since(ended).unwrap_or_default();
                let how = match report.outcome {
                    Outcome::Woken => "woken",
                    Outcome::WokenFromRam => "woken from RAM",
                    Outcome::Done => "done, without a sleep",
                    Outcome::Returned => "the writer came back",
                    Outcome::NotEntered | Outcome::Failed => "no sleep",
                };
                let ago = output::span(ago.as_secs_f64());
                let on = match report.target.as_str() {
                    "" => String::new(),
                    target => format!(", on {target}"),
                };
                lines.push(format!("last attempt, {ago} ago{on}: {how}"));
                lines.extend(report.message.as_ref().map(|message| format!("  {message}")));
            }
        }
        if self.writer_loaded {
            lines.push("something is loaded for kexec".to_owned());
        }
        let newest = self.targets.iter().filter_map(|target| target.generation).max();
        lines.extend(self.targets.iter().map(|target| {
            let swap = if target.swapped_to { ", swapped to" } else { "" };
            let turn = match target.generation {
                None => "",
                generation if generation == newest => "; it is the one that is woken",
                Some(_) => "; it stands by",
            };
            format!("{}: {} on it{swap}{turn}", target.path.display(), target.content)
        }));
        lines
    }
}
