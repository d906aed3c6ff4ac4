//! QEMU's monitor: commands, answers, events (QEMU docs/interop/qmp-spec.rst).

use crate::error::Error;
use crate::inbox::Inbox;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long an answer may take; dumping gigabytes takes a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// The monitor of one machine.
pub struct Monitor {
    messages: Inbox<Value>,
    line: UnixStream,
    next_id: u64,
}

impl Monitor {
    /// Waits for the greeting and leaves the mode in which nothing else is
    /// taken.
    pub fn new(line: UnixStream) -> Result<Self, Error> {
        let reading = line.try_clone().map_err(Error::host("cloning the monitor's socket"))?;
        let mut partial = Vec::new();
        let messages = Inbox::reading(reading, move |bytes| {
            partial.extend_from_slice(bytes);
            let Some(end) = partial.iter().rposition(|byte| *byte == b'\n') else {
                return Vec::new();
            };
            let rest = partial.split_off(end + 1);
            let complete = std::mem::replace(&mut partial, rest);
            let lines = complete.split(|byte| *byte == b'\n');
            lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
        })?;
        let mut monitor = Self { messages, line, next_id: 1 };
        let greeting = |message: &Value| message.get("QMP").map(|_| ());
        monitor.messages.find("QEMU's greeting", 0, PATIENCE, greeting)?;
        monitor.command("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Gives a command and waits for its answer.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value, Error> {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({ "execute": name, "arguments": arguments, "id": id }).to_string();
        message.push('\n');
        // All at once: QEMU does not wait for the end of the line, and may be gone then.
        let sent = self.line.write_all(message.as_bytes());
        sent.map_err(Error::host(format!("commanding {name}")))?;
        let awaited = format!("the answer to {name}");
        let answer = self.messages.find(&awaited, 0, PATIENCE, |message| {
            (message.get("id") == Some(&json!(id))).then(|| message.clone())
        })?;
        match (answer.value.get("return"), answer.value.get("error")) {
            (Some(value), _) => Ok(value.clone()),
            (None, error) => {
                let answer = error.unwrap_or(&answer.value).to_string();
                Err(Error::Monitor { command: name.into(), answer })
            }
        }
    }

    /// The registers of every processor as they are now, in QEMU's words.
    pub fn registers(&mut self) -> Result<String, Error> {
        self.info("registers -a")
    }

    /// What QEMU tells a person of a part of the machine: `pic`, `lapic`, ….
    pub fn info(&mut self, part: &str) -> Result<String, Error> {
        let line = json!({ "command-line": format!("info {part}") });
        let answer = self.command("human-monitor-command", line)?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Waits for the `number`-th event of this name since the machine was
    /// started (`SUSPEND`, `WAKEUP`, …); when it came.
    pub fn wait_for_nth(
        &self,
        name: &str,
        number: usize,
        patience: Duration,
    ) -> Result<Instant, Error> {
        let mut seen = 0;
        let found = self.messages.find(&format!("the event {name}"), 0, patience, |message| {
            seen += usize::from(message.get("event")? == name);
            (seen == number).then_some(())
        })?;
        Ok(found.at)
    }

    /// Waits for the event that tells why the machine stops; the reason in
    /// QEMU's words (`guest-shutdown`, `guest-reset`, `guest-panic`, …), and
    /// when it came.
    pub fn wait_for_shutdown(&self, patience: Duration) -> Result<(String, Instant), Error> {
        self.wait_for_event("the machine's end", "SHUTDOWN", patience, |data| {
            data["reason"].as_str().map(str::to_owned)
        })
    }

    /// Waits for an event whose data `pick` takes, and when it came. `awaited`
    /// is for the error.
    pub fn wait_for_event<T>(
        &self,
        awaited: &str,
        event: &str,
        patience: Duration,
        pick: impl Fn(&Value) -> Option<T>,
    ) -> Result<(T, Instant), Error> {
        let found = self.messages.find(awaited, 0, patience, |message| {
            let is_it = message.get("event")? == event;
            message.get("data").filter(|_| is_it).and_then(&pick)
        })?;
        Ok((found.value, found.at))
    }
}
