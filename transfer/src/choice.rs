//! Which of the images that were found is woken.
//!
//! An image of a sleeping system goes before snapshots: it is what the machine
//! did last. Of snapshots that replace each other the newest goes first, and
//! the older ones stand by.

use alloc::vec::Vec;
use dormouse_handoff::image::{Header, Kind};

/// So many images that nobody can choose between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Several(pub usize);

/// The images to try, one after the other; none where none was found. All of
/// `found` are valid.
///
/// # Errors
/// [`Several`]: more than one system sleeps, or the snapshots are not
/// generations of one series.
pub fn in_order<T>(mut found: Vec<T>, header: impl Fn(&T) -> &Header) -> Result<Vec<T>, Several> {
    if found.iter().any(|one| header(one).kind() == Kind::Once) {
        found.retain(|one| header(one).kind() == Kind::Once);
        return if found.len() == 1 { Ok(found) } else { Err(Several(found.len())) };
    }
    found.sort_by_key(|one| core::cmp::Reverse(header(one).generation));
    let follow = |pair: &[T]| {
        let (newer, older) = (header(&pair[0]), header(&pair[1]));
        newer.series == older.series && newer.generation > older.generation
    };
    if found.windows(2).all(follow) { Ok(found) } else { Err(Several(found.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_handoff::image::State;

    fn image(kind: Kind, series: u32, generation: u32) -> Header {
        let mut header = Header::begin([generation as u8; 16], kind, 512, 0, 1);
        (header.series, header.generation) = (series, generation);
        header.with_state(State::Valid)
    }

    fn generations(found: &[Header]) -> Result<Vec<u32>, Several> {
        let order = in_order(found.to_vec(), |header| header)?;
        Ok(order.iter().map(|header| header.generation).collect())
    }

    #[test]
    fn the_newest_snapshot_goes_first_and_the_older_one_stands_by() {
        let [one, two] = [1, 2].map(|generation| image(Kind::Reusable, 7, generation));
        assert_eq!(generations(&[one, two]), Ok(vec![2, 1]));
        assert_eq!(generations(&[two, one]), Ok(vec![2, 1]));
        assert_eq!(generations(&[one]), Ok(vec![1]));
        assert_eq!(generations(&[]), Ok(vec![]));
    }

    #[test]
    fn a_sleeping_system_goes_before_snapshots_and_alone() {
        let once = image(Kind::Once, 0, 0);
        let snapshots = [1, 2].map(|generation| image(Kind::Reusable, 7, generation));
        assert_eq!(generations(&[snapshots[0], once, snapshots[1]]), Ok(vec![0]));
        assert_eq!(generations(&[once, once, snapshots[1]]), Err(Several(2)));
    }

    #[test]
    fn nobody_chooses_between_strangers() {
        let of = |series, generation| image(Kind::Reusable, series, generation);
        assert_eq!(generations(&[of(7, 1), of(8, 2)]), Err(Several(2)));
        assert_eq!(generations(&[of(7, 1), of(7, 1)]), Err(Several(2)));
        assert_eq!(generations(&[of(7, 3), of(7, 2), of(9, 1)]), Err(Several(3)));
    }
}
