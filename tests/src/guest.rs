//! The host's end of the agent's line.

use crate::error::Error;
use crate::inbox::Inbox;
use dormouse_guest::protocol::{Answer, Call, Facts, LogRecord, Ran, Reply, Request, Verdict};
use dormouse_guest::records::{self, Decoder};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long an ordinary request may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long to wait before a request is sent once more. The guest carries it
/// out once all the same.
const REPEAT: Duration = Duration::from_secs(2);

/// The agent in the guest. It outlives the machine that it runs on.
pub struct Guest {
    line: UnixStream,
    replies: Inbox<Reply>,
    next_id: u64,
}

/// A request whose answer is still to come.
#[derive(Clone, Debug)]
pub struct Ticket {
    id: u64,
    asked: String,
    record: Vec<u8>,
}

impl Guest {
    /// Waits for the agent at the other end of `line` to greet.
    pub fn greet(line: UnixStream, patience: Duration) -> Result<Self, Error> {
        let replies = listen(&line)?;
        let hello = |reply: &Reply| (reply.id == Reply::HELLO).then_some(());
        replies.find("the guest's agent", 0, patience, hello)?;
        Ok(Self { line, replies, next_id: Reply::HELLO + 1 })
    }

    /// The same guest once more, on the machine at the other end of `line`:
    /// woken from a copy of its disk.
    pub fn twin(&self, line: UnixStream) -> Result<Self, Error> {
        let replies = listen(&line)?;
        Ok(Self { line, replies, next_id: self.next_id })
    }

    /// The same guest with no machine: to make twins of.
    pub fn detached(&self) -> Result<Self, Error> {
        let (line, _nobody) = UnixStream::pair().map_err(Error::host("a pair of sockets"))?;
        self.twin(line)
    }

    /// Takes the line of the machine that the guest wakes on.
    pub fn move_to(&mut self, line: UnixStream) -> Result<(), Error> {
        self.replies = listen(&line)?;
        self.line = line;
        Ok(())
    }

    /// Sends a request.
    pub fn ask(&mut self, call: Call) -> Result<Ticket, Error> {
        let id = self.next_id;
        self.next_id += 1;
        let asked = format!("{call:?}");
        let record = records::encode(&Request { id, call })
            .map_err(|e| Error::host(format!("encoding {asked}"))(e))?;
        let ticket = Ticket { id, asked, record };
        self.send(&ticket)?;
        Ok(ticket)
    }

    /// Waits for the answer to a request.
    pub fn wait(
        &mut self,
        ticket: &Ticket,
        patience: Duration,
    ) -> Result<(Answer, Instant), Error> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let pick = |reply: &Reply| (reply.id == ticket.id).then(|| reply.answer.clone());
            match self.replies.find(&ticket.asked, 0, left.min(REPEAT), pick) {
                Ok(found) => {
                    let asked = || ticket.asked.clone();
                    let answer =
                        found.value.map_err(|answer| Error::Guest { asked: asked(), answer })?;
                    return Ok((answer, found.at));
                }
                Err(Error::Deadline { .. }) if left > REPEAT => self.send(ticket)?,
                Err(Error::Deadline { awaited, .. }) => {
                    return Err(Error::Deadline { awaited, waited: patience });
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub fn call(&mut self, call: Call) -> Result<Answer, Error> {
        let ticket = self.ask(call)?;
        self.wait(&ticket, PATIENCE).map(|(answer, _)| answer)
    }

    /// A request that is answered with a text.
    pub fn text(&mut self, call: Call) -> Result<String, Error> {
        match self.call(call)? {
            Answer::Text(text) => Ok(text),
            other => Err(unexpected(&other)),
        }
    }

    /// A request that is answered with verdicts.
    pub fn verdicts(&mut self, call: Call) -> Result<Vec<Verdict>, Error> {
        match self.call(call)? {
            Answer::Verdicts(verdicts) => Ok(verdicts),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a program in the guest to its end, whatever that is.
    pub fn run(&mut self, argv: &[&str]) -> Result<Ran, Error> {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        ran(self.call(Call::Run { argv })?)
    }

    /// Clock, processors, memory.
    pub fn facts(&mut self) -> Result<Facts, Error> {
        match self.call(Call::Facts)? {
            Answer::Facts(facts) => Ok(facts),
            other => Err(unexpected(&other)),
        }
    }

    /// The kernel's log from sequence number `from` on.
    pub fn kernel_log(&mut self, from: u64) -> Result<Vec<LogRecord>, Error> {
        match self.call(Call::KernelLog { from })? {
            Answer::KernelLog(records) => Ok(records),
            other => Err(unexpected(&other)),
        }
    }

    fn send(&mut self, ticket: &Ticket) -> Result<(), Error> {
        self.line.write_all(&ticket.record).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => {
                Error::Ended { awaited: ticket.asked.clone(), how: cause.to_string() }
            }
            _ => Error::host("writing to the guest")(cause),
        })
    }
}

/// What [`Call::Run`] is answered with.
pub fn ran(answer: Answer) -> Result<Ran, Error> {
    match answer {
        Answer::Ran(ran) => Ok(ran),
        other => Err(unexpected(&other)),
    }
}

fn listen(line: &UnixStream) -> Result<Inbox<Reply>, Error> {
    let reading = line.try_clone().map_err(Error::host("cloning the agent's socket"))?;
    let mut decoder = Decoder::default();
    Inbox::reading(reading, move |bytes| decoder.take(bytes))
}

fn unexpected(answer: &Answer) -> Error {
    Error::verdict(format!("the guest answered something else: {answer:?}"))
}
