//! `dormouse check`: can this machine do it, and if not, why?

use crate::error::Result;
use crate::exit::Exit;
use crate::output::Output;
use crate::preflight::{Finding, Question, Survey, Verdict};
use crate::system::System;
use crate::writer_file;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Say whether this machine can sleep, and if not, why
#[derive(Args, Debug)]
pub struct Check {
    /// The disk or partition that would take the image
    #[arg(long, value_name = "DEVICE")]
    pub target: Option<PathBuf>,

    /// The program that saves memory
    #[arg(long, value_name = "PATH", default_value = writer_file::DEFAULT_PATH)]
    pub writer: PathBuf,

    /// Whether it can suspend to RAM as well
    #[arg(long)]
    pub suspend: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    possible: bool,
    findings: &'a [Finding],
}

impl Check {
    /// Runs the command.
    ///
    /// # Errors
    /// None so far: what is wrong is a finding.
    pub fn run(&self, output: Output) -> Result<Exit> {
        let question = Question {
            target: self.target.clone(),
            writer: self.writer.clone(),
            suspend: self.suspend,
            sleeps: true,
            replaces: None,
        };
        let survey = Survey::take(&System::this(), &question);
        for finding in &survey.findings {
            output.say(finding.line());
        }
        let refused = survey.findings.iter().filter(|f| f.verdict == Verdict::Refused).count();
        output.say(match (refused, &self.target) {
            (0, Some(target)) => format!("this machine can sleep on {}", target.display()),
            (0, None) => "this machine can sleep; name a target with --target".to_owned(),
            (1, _) => "this machine cannot sleep, for one reason".to_owned(),
            (n, _) => format!("this machine cannot sleep, for {n} reasons"),
        });
        output.object(&Answer { possible: survey.is_good(), findings: &survey.findings });
        Ok(if survey.is_good() { Exit::Done } else { Exit::Refused })
    }
}
