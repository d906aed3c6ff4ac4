//! Starts workloads as processes, and asks them how they are.

use crate::error::Error;
use dormouse_guest::protocol::{Verdict, Workload};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// All workloads that run.
#[derive(Default)]
pub struct Supervisor {
    running: Vec<Process>,
}

struct Process {
    name: String,
    child: Child,
    /// Dropped to end the process.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// Starts a workload and waits until it is ready.
    pub fn start(&mut self, workload: &Workload) -> Result<Verdict, Error> {
        let name = super::name(workload);
        let description = serde_json::to_string(workload)
            .map_err(|e| Error::Lost(format!("{name}: not JSON: {e}")))?;
        let mut child = Command::new("/proc/self/exe")
            .args(["work", &description])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::refused(format!("starting {name}")))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (questions, answers) =
            pipes.ok_or_else(|| Error::Lost(format!("{name}: started without its pipes")))?;
        let mut process = Process {
            name: name.into(),
            child,
            questions: Some(questions),
            answers: BufReader::new(answers),
        };
        let verdict = process.answer()?;
        self.running.push(process);
        Ok(verdict)
    }

    /// Asks every workload how it is, all at once.
    pub fn check(&mut self) -> Vec<Verdict> {
        let asked: Vec<_> = self.running.iter_mut().map(Process::ask).collect();
        let answers = asked.into_iter().zip(&mut self.running);
        answers
            .map(|(asked, process)| {
                asked.and_then(|()| process.answer()).unwrap_or_else(|e| process.lost(&e))
            })
            .collect()
    }

    /// Ends every workload.
    pub fn stop(&mut self) -> Result<(), Error> {
        for mut process in self.running.drain(..) {
            process.questions = None;
            let name = process.name;
            let status =
                process.child.wait().map_err(Error::refused(format!("waiting for {name}")))?;
            if !status.success() {
                return Err(Error::Lost(format!("{name} ended with {status}")));
            }
        }
        Ok(())
    }
}

impl Process {
    fn ask(&mut self) -> Result<(), Error> {
        let questions = self.questions.as_mut();
        let pipe = questions.ok_or_else(|| Error::Lost(format!("{} was ended", self.name)))?;
        pipe.write_all(b"check\n").map_err(Error::refused(format!("asking {}", self.name)))
    }

    fn answer(&mut self) -> Result<Verdict, Error> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .map_err(Error::refused(format!("listening to {}", self.name)))?;
        serde_json::from_str(&line)
            .map_err(|_| Error::Lost(format!("{} ended; its reason is on the console", self.name)))
    }

    fn lost(&self, why: &Error) -> Verdict {
        Verdict {
            workload: self.name.clone(),
            pid: self.child.id(),
            began_ns: 0,
            progress: 0,
            fault: Some(why.to_string()),
            detail: String::new(),
        }
    }
}
