//! Two places for generations of a reusable snapshot: a new one is written
//! beside the one that is woken, and takes its place with its last write.

use crate::error::{Error, Result};
use crate::image_file::{ImageError, ImageFile, verify};
use crate::preflight::SurveyedTarget;
use crate::system::System;
use crate::target::Content;
use crate::target::direct::{Direct, Page};
use dormouse_handoff::checksum::Nonce;
use dormouse_handoff::image::{Header, State};
use rustix::rand::{GetRandomFlags, getrandom};
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// Which snapshot of which series; zeros for all other images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    /// From 1.
    pub number: u32,
    /// Drawn at random for the first.
    pub series: u32,
}

/// What a snapshot is, and what it may overwrite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Which one it is.
    pub generation: Generation,
    /// The older snapshot in its place.
    pub replaces: Option<Nonce>,
}

/// A place that was looked at.
#[derive(Debug)]
pub struct Place {
    /// The device.
    pub path: PathBuf,
    /// Its major and minor number.
    pub number: (u32, u32),
    /// What lies there.
    pub content: Content,
    /// Whether it is an image of which no more wake-ups are tried.
    pub worn_out: bool,
}

impl Place {
    /// Looks at the device at `path`.
    ///
    /// # Errors
    /// [`Error::Target`], [`Error::Io`].
    pub fn look(system: &System, path: &Path) -> Result<Self> {
        let SurveyedTarget { content, device, .. } = SurveyedTarget::look(system, path)?;
        let worn_out = match content.reusable() {
            // What cannot be read cannot be woken either.
            Some(_) => is_worn_out(path).unwrap_or(true),
            None => false,
        };
        Ok(Self { path: path.to_owned(), number: device.number, content, worn_out })
    }

    fn header(&self) -> Option<&Header> {
        match &self.content {
            Content::Image(header) => Some(header),
            _ => None,
        }
    }

    fn in_the_way(&self) -> Error {
        Error::NotFree {
            path: self.path.clone(),
            reason: format!("{} on it", self.content.words()),
            advice: self.content.advice(&self.path),
        }
    }
}

fn is_worn_out(path: &Path) -> Result<bool> {
    let image = ImageFile::open(path)?;
    let bytes = image.plan()?;
    let plan = bytes
        .checked()
        .map_err(|fault| Error::Image { path: path.to_owned(), fault: ImageError::Plan(fault) })?;
    Ok(image.attempts()?.begun >= plan.attempts)
}

/// Which of the places takes the next generation, and which one that is.
///
/// A place without a snapshot first, then one whose snapshot does not wake any
/// more, then the older of two.
///
/// # Errors
/// [`Error::NotFree`] where something else lies in a place, or snapshots of
/// different series do; [`Error::Call`].
pub fn choose(places: &[Place]) -> Result<(&Place, Slot)> {
    if let [first, second] = places
        && first.number == second.number
    {
        // It would be taken for its own stand-in.
        return Err(Error::TooManyTargets(1));
    }
    let snapshots = || places.iter().filter_map(|place| place.content.reusable());
    let series = snapshots().next().map(|header| header.series);
    for place in places {
        let is_ours = |header: &Header| Some(header.series) == series;
        // One place alone is not overwritten: for a while there would be nothing
        // to wake.
        let replaceable = places.len() > 1 && place.content.reusable().is_some_and(is_ours);
        if !place.content.is_free() && !replaceable {
            return Err(place.in_the_way());
        }
    }
    let generation = match series {
        None => Generation { number: 1, series: draw()? },
        Some(series) => {
            // Those that were given up count: no number is used twice.
            let ours = places.iter().filter_map(Place::header).filter(|h| h.series == series);
            let newest = ours.map(|header| header.generation).max().unwrap_or(0);
            Generation { number: newest.saturating_add(1), series }
        }
    };
    let rank = |place: &&Place| match place.content.reusable() {
        None => (0, 0),
        Some(_) if place.worn_out => (1, 0),
        Some(header) => (2, header.generation),
    };
    let place = places.iter().min_by_key(rank).ok_or(Error::NoPlace)?;
    let replaces = place.content.reusable().map(|header| header.id);
    Ok((place, Slot { generation, replaces }))
}

/// Gives the newest snapshot up, so that the one before it is woken: with one
/// durable write. Which was given up, and which is woken now.
///
/// # Errors
/// [`Error::NoOlder`] where there is none to go back to, [`Error::Image`] where
/// that one is damaged, [`Error::Io`].
pub fn roll_back(places: &[Place], progress: impl FnMut(u64)) -> Result<(&Place, &Place)> {
    let mut snapshots: Vec<(&Place, &Header)> =
        places.iter().filter_map(|place| Some((place, place.content.reusable()?))).collect();
    snapshots.sort_by_key(|(_, header)| std::cmp::Reverse(header.generation));
    let [(newest, header), (older, before), ..] = snapshots[..] else { return Err(Error::NoOlder) };
    if header.series != before.series || header.generation == before.generation || older.worn_out {
        return Err(Error::NoOlder);
    }
    verify(&ImageFile::open(&older.path)?, progress)?;
    let disk = match &newest.path.metadata().is_ok_and(|m| m.is_file()) {
        true => Direct::file(&newest.path)?,
        false => Direct::claiming(&newest.path)?,
    };
    let mut page: Page = disk.read(0)?;
    // Ours alone now: it must still be what was looked at.
    if page.0[..size_of::<Header>()] != *header.as_bytes() {
        return Err(newest.in_the_way());
    }
    let discarded = header.with_state(State::Discarded);
    page.0[..size_of::<Header>()].copy_from_slice(discarded.as_bytes());
    disk.write(0, &page, header.block_size as usize)?;
    disk.forget_cache()?;
    Ok((newest, older))
}

/// A number that no other series has, but for one chance in four thousand
/// million; never 0.
fn draw() -> Result<u32> {
    let mut bytes = [0; 4];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| Error::call("getrandom", e))?;
    Ok(u32::from_le_bytes(bytes).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_file::fake::{file, image};
    use dormouse_handoff::image::Kind;

    fn header(kind: Kind, state: State, series: u32, generation: u32) -> Header {
        let mut header = Header::begin([generation as u8; 16], kind, 512, 0, 100);
        (header.series, header.generation) = (series, generation);
        header.with_state(state)
    }

    fn place(name: &str, content: Content) -> Place {
        let number = (259, u32::from(name.as_bytes()[0]));
        Place { path: name.into(), number, content, worn_out: false }
    }

    fn snapshot(name: &str, state: State, series: u32, generation: u32) -> Place {
        let header = header(Kind::Reusable, state, series, generation);
        place(name, Content::Image(Box::new(header)))
    }

    fn chosen(places: &[Place]) -> (&str, u32, Option<u8>) {
        let (place, slot) = choose(places).unwrap();
        let replaces = slot.replaces.map(|id| id[0]);
        (place.path.to_str().unwrap(), slot.generation.number, replaces)
    }

    #[test]
    fn generations_alternate_between_two_places() {
        let blank = |name| place(name, Content::Blank);
        assert_eq!(chosen(&[blank("a"), blank("b")]), ("a", 1, None));
        let valid = |name, generation| snapshot(name, State::Valid, 7, generation);
        assert_eq!(chosen(&[valid("a", 1), blank("b")]), ("b", 2, None));
        assert_eq!(chosen(&[valid("a", 1), valid("b", 2)]), ("a", 3, Some(1)));
        assert_eq!(chosen(&[valid("a", 3), valid("b", 2)]), ("b", 4, Some(2)));
    }

    #[test]
    fn one_that_was_given_up_or_never_finished_is_overwritten_first() {
        let valid = |name, generation| snapshot(name, State::Valid, 7, generation);
        for state in [State::Discarded, State::Writing] {
            let given_up = snapshot("b", state, 7, 2);
            assert_eq!(chosen(&[valid("a", 1), given_up]), ("b", 3, None));
        }
        let worn_out = Place { worn_out: true, ..valid("b", 2) };
        assert_eq!(chosen(&[valid("a", 1), worn_out]), ("b", 3, Some(2)));
    }

    #[test]
    fn one_device_is_not_two_places() {
        let places = [1, 1].map(|generation| snapshot("a", State::Valid, 7, generation));
        assert!(matches!(choose(&places), Err(Error::TooManyTargets(1))));
    }

    #[test]
    fn nothing_else_is_overwritten() {
        let valid = |name, series| snapshot(name, State::Valid, series, 1);
        let once = header(Kind::Once, State::Valid, 0, 0);
        let once = || place("b", Content::Image(Box::new(once)));
        let inert = header(Kind::Inspection, State::Inert, 0, 0);
        let inert = place("b", Content::Image(Box::new(inert)));
        for places in [
            vec![valid("a", 7)],
            vec![valid("a", 7), valid("b", 8)],
            vec![valid("a", 7), once()],
            vec![place("a", Content::Blank), once()],
            vec![valid("a", 7), inert],
            vec![place("a", Content::Other("an XFS file system"))],
        ] {
            assert!(matches!(choose(&places), Err(Error::NotFree { .. })), "{places:?}");
        }
    }

    /// A file with a reusable snapshot of this generation.
    fn generation_file(generation: u32, damaged: bool) -> tempfile::NamedTempFile {
        let mut bytes = image(State::Valid);
        let mut header = Header::parse(&bytes).unwrap();
        header.kind = Kind::Reusable as u32;
        (header.series, header.generation) = (7, generation);
        header.seal();
        bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        if damaged {
            *bytes.last_mut().unwrap() ^= 1;
        }
        file(&bytes)
    }

    fn place_of(file: &tempfile::NamedTempFile) -> Place {
        let bytes = std::fs::read(file.path()).unwrap();
        let content = Content::Image(Box::new(Header::parse(&bytes).unwrap()));
        Place { path: file.path().to_owned(), number: (0, 0), content, worn_out: false }
    }

    #[test]
    fn going_back_gives_the_newest_up_and_nothing_else() {
        let (older, newer) = (generation_file(1, false), generation_file(2, false));
        let before = std::fs::read(older.path()).unwrap();
        let places = [place_of(&newer), place_of(&older)];
        let (gone, now) = roll_back(&places, |_| {}).unwrap();
        assert_eq!((&*gone.path, &*now.path), (newer.path(), older.path()));
        assert_eq!(std::fs::read(older.path()).unwrap(), before);
        let header = Header::parse(&std::fs::read(newer.path()).unwrap()).unwrap();
        assert_eq!((header.state(), header.generation), (State::Discarded, 2));
        let places = [place_of(&newer), place_of(&older)];
        assert!(matches!(roll_back(&places, |_| {}), Err(Error::NoOlder)));
    }

    #[test]
    fn nobody_goes_back_to_a_damaged_or_worn_out_snapshot() {
        let newer = generation_file(2, false);
        let unchanged = std::fs::read(newer.path()).unwrap();
        let damaged = generation_file(1, true);
        let places = [place_of(&newer), place_of(&damaged)];
        assert!(matches!(roll_back(&places, |_| {}), Err(Error::Image { .. })));
        let worn_out = generation_file(1, false);
        let places = [place_of(&newer), Place { worn_out: true, ..place_of(&worn_out) }];
        assert!(matches!(roll_back(&places, |_| {}), Err(Error::NoOlder)));
        assert_eq!(std::fs::read(newer.path()).unwrap(), unchanged);
    }
}
