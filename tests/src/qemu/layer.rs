//! What is slipped in between a disk and its file while the machine runs
//! (QEMU docs/devel/blkdebug.rst, block/blklogwrites.c, docs/throttle.txt).

use super::Machine;
use crate::error::Error;
use serde_json::{Value, json};
use std::path::Path;

/// Something between a disk and its file.
#[derive(Clone, Copy, Debug)]
pub enum Layer<'a> {
    /// Keeps each write and each flush, in the order of their completions, in
    /// this file.
    WriteLog(&'a Path),
    /// Fails once.
    Fails(Fault),
    /// Takes longer for its second page than any deadline allows. (Not for
    /// ever: QEMU's controllers wait for their requests when they are reset.)
    Stalls,
}

/// Which command fails, counted from when the layer was slipped in.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The n-th write, from 1 on.
    Write(u32),
    /// The n-th read, from 1 on.
    Read(u32),
    /// Every read of this sector: AHCI's driver tries again what failed.
    ReadOf(u64),
    /// The n-th flush, from 1 on.
    Flush(u32),
    /// The first write to sector 0 after the n-th write.
    HeaderAfter(u32),
}

impl Machine {
    /// Slips a layer under the disk with this number, from now on.
    pub fn slip_in(&mut self, disk: usize, layer: Layer<'_>) -> Result<(), Error> {
        let file = format!("file{disk}");
        let name = format!("layer{disk}");
        let mut node = match layer {
            Layer::WriteLog(log) => {
                std::fs::write(log, b"").map_err(Error::host(format!("{}", log.display())))?;
                let log = json!({ "driver": "file", "filename": log });
                json!({ "driver": "blklogwrites", "file": file, "log": log })
            }
            Layer::Fails(fault) => fault.node(&file),
            Layer::Stalls => {
                let group = format!("stall{disk}");
                let limits = json!({ "bps-write": 100 });
                let object = json!({ "qom-type": "throttle-group", "id": group, "limits": limits });
                self.monitor.command("object-add", object)?;
                json!({ "driver": "throttle", "file": file, "throttle-group": group })
            }
        };
        node["node-name"] = json!(name);
        self.monitor.command("blockdev-add", node)?;
        self.put_on(disk, &name)
    }

    /// Takes the layer out again.
    pub fn take_out(&mut self, disk: usize) -> Result<(), Error> {
        self.put_on(disk, &format!("file{disk}"))?;
        let layer = json!({ "node-name": format!("layer{disk}") });
        self.monitor.command("blockdev-del", layer)?;
        // There is a group only where it stalled.
        let group = json!({ "id": format!("stall{disk}") });
        let _ = self.monitor.command("object-del", group);
        Ok(())
    }

    fn put_on(&mut self, disk: usize, below: &str) -> Result<(), Error> {
        let node = format!("format{disk}");
        let options =
            json!({ "driver": "raw", "node-name": node, "file": below, "discard": "unmap" });
        self.monitor.command("blockdev-reopen", json!({ "options": [options] })).map(drop)
    }

    /// Takes the PCI device with this number off the bus, nearly as if it had
    /// been pulled out: it reaches no memory, and does not hear what is written
    /// to its registers. (They read as zeros in QEMU, as ones on a real bus.)
    pub fn pull_out(&mut self, device: u32) -> Result<(), Error> {
        const COMMAND: u32 = 4;
        let address = 1u32 << 31 | device << 11 | COMMAND;
        // CONFIG_ADDRESS (PCI 3.0 §3.2.2.3.2), and a command register in which
        // only INTx is disabled.
        for line in [format!("o/4 0xcf8 {address:#x}"), "o/2 0xcfc 0x400".to_owned()] {
            let answer =
                self.monitor.command("human-monitor-command", json!({ "command-line": line }))?;
            if answer != json!("") {
                return Err(Error::Monitor { command: line, answer: answer.to_string() });
            }
        }
        Ok(())
    }
}

impl Fault {
    /// EIO.
    const ERRNO: u32 = 5;

    /// States are counted by the event: in state n, n - 1 of them have passed.
    fn node(self, file: &str) -> Value {
        let (event, count) = match self {
            Self::Write(nth) => ("write_aio", nth.max(1) - 1),
            Self::Read(nth) => ("read_aio", nth.max(1) - 1),
            Self::Flush(nth) => ("flush_to_disk", nth.max(1) - 1),
            Self::HeaderAfter(writes) => ("write_aio", writes),
            Self::ReadOf(_) => ("read_aio", 0),
        };
        let counting: Vec<Value> = (1..=count)
            .map(|state| json!({ "event": event, "state": state, "new_state": state + 1 }))
            .collect();
        let state = count + 1;
        let mut failing =
            json!({ "event": event, "state": state, "errno": Self::ERRNO, "once": true });
        match self {
            Self::HeaderAfter(_) => failing["sector"] = json!(0),
            Self::ReadOf(sector) => {
                failing["sector"] = json!(sector);
                failing["once"] = json!(false);
            }
            Self::Write(_) | Self::Read(_) | Self::Flush(_) => {}
        }
        let mut node = json!({ "driver": "blkdebug", "image": file, "inject-error": [failing] });
        // An empty list is no option that QEMU takes.
        if !counting.is_empty() {
            node["set-state"] = json!(counting);
        }
        node
    }
}
