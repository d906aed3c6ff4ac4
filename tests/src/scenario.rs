//! What most scenarios do.

use crate::artefacts::Artefacts;
use crate::checks::{self, Baseline};
use crate::compare::ImageFile;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::{Asleep, Life, Options};
use dormouse_guest::protocol::Ran;
use dormouse_handoff::image::{Header, State};

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
