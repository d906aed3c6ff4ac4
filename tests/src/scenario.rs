//! What most scenarios do.

use crate::artefacts::Artefacts;
use crate::checks::{self, Baseline};
use crate::compare::ImageFile;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::{Asleep, Life};
use crate::options::Options;
use crate::qemu::Machine;
use dormouse_guest::protocol::Ran;
use dormouse_handoff::image::{Header, State};
use serde_json::json;

/// A guest that is filled, sleeps once, wakes, is what it was, and ends well.
pub fn round_trip(name: &str, options: Options, fill: &Fill) -> Result<(), Error> {
    let mut life = Life::begin(&Artefacts::from_environment()?, name, options)?;
    let before = life.fill(fill)?;
    sleep_and_wake(&mut life, &before)?;
    life.finish().map(drop)
}

/// Puts a guest to sleep, wakes it, and checks that it is what it was; the
/// image's header as it was meanwhile.
pub fn sleep_and_wake(life: &mut Life, before: &Baseline) -> Result<Header, Error> {
    let asleep = sleep(life, &[])?;
    let header = image(life)?.header(State::Valid)?;
    wake(life, &asleep, before)?;
    Ok(header)
}

/// Puts a guest to sleep, with more arguments for `dormouse hibernate`.
pub fn sleep(life: &mut Life, more: &[&str]) -> Result<Asleep, Error> {
    let attempt = life.hibernate(more)?;
    life.fall_asleep(attempt)
}

/// Wakes a guest, and checks that it is what it was.
pub fn wake(life: &mut Life, asleep: &Asleep, before: &Baseline) -> Result<(), Error> {
    let awake = life.wake(asleep)?;
    life.logged(|_| said(&awake.said, 0, &[]))?;
    well(life, before)
}

/// What comes from outside while the writer is at work, and a word of its answer.
pub type Interruption = (fn(&mut Machine) -> Result<(), Error>, &'static str);

/// The user's key on the serial line.
pub const KEY: Interruption =
    (|machine| machine.console.type_keys("q"), "stopped by the user's key");

/// The same on the keyboard.
pub const KEY_OF_KEYBOARD: Interruption = (press_escape, "stopped by the user's key");

/// A non-maskable interrupt, for each processor.
pub const NMI: Interruption =
    (|machine| machine.monitor.command("inject-nmi", json!({})).map(drop), "NMI");

/// Presses Esc on the keyboard.
pub fn press_escape(machine: &mut Machine) -> Result<(), Error> {
    let key = json!({ "keys": [{ "type": "qcode", "data": "esc" }] });
    machine.monitor.command("send-key", key).map(drop)
}

/// What a disk lets through (bytes a second) that writes and reads for seconds.
pub const SLOW: u64 = 24 << 20;

/// Interrupts a hibernation while requests are in flight, a second after the first
/// of them, and checks that the guest came back and is what it was.
pub fn interrupt_writing(
    life: &mut Life,
    before: &Baseline,
    (interrupt, word): Interruption,
) -> Result<(), Error> {
    let limit = life.options.limit;
    life.limit_disk(Some(SLOW))?;
    let from = life.serial_log()?.len();
    let attempt = life.hibernate(&[])?;
    for line in ["writing; press Esc or q", "MiB/s, "] {
        life.said_meanwhile(&attempt, line)?;
    }
    interrupt(life.machine()?)?;
    let ran = life.return_from(&attempt)?;
    life.limit_disk(limit)?;
    life.logged(|_| said(&ran, 1, &["write", word]))?;
    // What was begun is given up.
    image(life)?.header(State::Discarded)?;
    // On the screen as well, where the user who pressed the key looks.
    let shown = life.serial_log()?.split_off(from);
    if !(shown.contains(word) && shown.contains("nothing was lost")) {
        return Err(Error::verdict(format!("not a word of {word:?} on the console: {shown}")));
    }
    well(life, before)
}

/// Checks that a guest is what it was.
pub fn well(life: &mut Life, before: &Baseline) -> Result<(), Error> {
    let checks = life.compare(before)?;
    checks::all_good(&checks).map_err(|error| life.with_log(error))
}

/// The image on a life's target, as the host sees it.
pub fn image(life: &Life) -> Result<ImageFile, Error> {
    ImageFile::open(&life.target_disk(), life.options.target_start())
}

/// Checks that a program of the guest ended with `code`, and that its words
/// contain all of `words`.
pub fn said(ran: &Ran, code: i32, words: &[&str]) -> Result<(), Error> {
    let text = format!("{}{}", ran.stdout, ran.stderr);
    let missing = words.iter().find(|word| !text.contains(**word));
    match missing {
        None if ran.code == Some(code) => Ok(()),
        None => Err(Error::verdict(format!("code {:?}, not {code}: {text}", ran.code))),
        Some(word) => Err(Error::verdict(format!("no word of {word:?}: {text}"))),
    }
}
