//! Serves the host's requests, each in a thread of its own and each once.
//!
//! The host's side of the line goes away while the guest sleeps and is
//! another one afterwards. So nothing here depends on a connection: a request
//! that comes again is answered with the answer that was already given, or
//! later, when there is one.

use crate::error::Error;
use crate::workloads::Supervisor;
use crate::{direct_io, disks, kernel_log, mapping, system};
use dormouse_guest::protocol::{Answer, Call, Reply, Request};
use dormouse_guest::records::{self, Decoder};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};

/// How many answers are kept to be repeated.
const KEPT_ANSWERS: usize = 64;

/// Serves until the port fails.
pub fn serve(port: &File) -> Result<(), Error> {
    let agent = Agent {
        port,
        sending: Mutex::default(),
        answers: Mutex::default(),
        workloads: Mutex::default(),
    };
    agent.send(&Reply { id: Reply::HELLO, answer: Ok(Answer::Done) })?;
    let mut decoder = Decoder::default();
    let mut bytes = [0; 4096];
    std::thread::scope(|threads| {
        loop {
            let mut port = port;
            let count = port.read(&mut bytes).map_err(Error::refused("reading from the host"))?;
            for request in decoder.take::<Request>(&bytes[..count]) {
                let agent = &agent;
                threads.spawn(move || agent.take(request));
            }
        }
    })
}

/// What all requests share.
struct Agent<'a> {
    port: &'a File,
    sending: Mutex<()>,
    /// By id; `None` while a request is being carried out.
    answers: Mutex<BTreeMap<u64, Option<Reply>>>,
    workloads: Mutex<Supervisor>,
}

impl Agent<'_> {
    /// Carries a request out, unless that was done or is being done.
    fn take(&self, request: Request) {
        let known = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let known = answers.get(&request.id).cloned();
            if known.is_none() {
                answers.insert(request.id, None);
            }
            known
        };
        let reply = match known {
            Some(None) => return,
            Some(Some(reply)) => reply,
            None => {
                let answer = self.carry_out(request.call).map_err(|e| e.to_string());
                let reply = Reply { id: request.id, answer };
                self.keep(&reply);
                reply
            }
        };
        if let Err(e) = self.send(&reply) {
            eprintln!("dormouse-guest: answering request {}: {e}", reply.id);
        }
    }

    fn keep(&self, reply: &Reply) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(reply.id, Some(reply.clone()));
        while answers.len() > KEPT_ANSWERS {
            answers.pop_first();
        }
    }

    fn send(&self, reply: &Reply) -> Result<(), Error> {
        let record = records::encode(reply)
            .map_err(|e| Error::Lost(format!("an answer that is not JSON: {e}")))?;
        let _one_at_a_time = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut port = self.port;
        port.write_all(&record).map_err(Error::refused("writing to the host"))
    }

    fn carry_out(&self, call: Call) -> Result<Answer, Error> {
        let workloads = || self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        match call {
            Call::FindDisk { serial } => disks::find(&serial).map(Answer::Text),
            Call::Mount { device, directory } => {
                system::mount_ext4(&device, &directory).map(|()| Answer::Done)
            }
            Call::Unmount { directory } => system::unmount(&directory).map(|()| Answer::Done),
            Call::SwapOn { device, priority } => {
                system::swap_on(&device, priority).map(|()| Answer::Done)
            }
            Call::Start(workload) => {
                workloads().start(&workload).map(|verdict| Answer::Verdicts(vec![verdict]))
            }
            Call::Check => Ok(Answer::Verdicts(workloads().check())),
            Call::Stop => workloads().stop().map(|()| Answer::Done),
            Call::Run { argv } => system::run(&argv).map(Answer::Ran),
            Call::Read { path } => {
                std::fs::read_to_string(&path).map(Answer::Text).map_err(Error::refused(path))
            }
            Call::Write { path, contents } => {
                std::fs::write(&path, contents).map(|()| Answer::Done).map_err(Error::refused(path))
            }
            Call::BreakMemory { pages } => mapping::break_pages(pages).map(|()| Answer::Done),
            Call::DirectIo { device, start, bytes, write } => {
                direct_io::run(&device, start, bytes, write).map(Answer::Took)
            }
            Call::Facts => system::facts().map(Answer::Facts),
            Call::KernelLog { from } => kernel_log::read(from).map(Answer::KernelLog),
            Call::PowerOff => system::power_off().map(|()| Answer::Done),
        }
    }
}
