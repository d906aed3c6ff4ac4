//! What changed between two images, frame by frame, in one pass over both.

use super::{ImageFile, Piece, Walk};
use crate::error::Result;
use crate::target::direct::Page;
use dormouse_handoff::image::RunKind;
use dormouse_handoff::units::{PageRange, Pfn};

/// What became of a frame from one image to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Both have it, with the same bytes.
    Same,
    /// Both have it, with other bytes.
    Changed,
    /// Only the second has it: it was free, or no memory.
    Gained,
    /// Only the first has it.
    Lost,
    /// Neither has it.
    Neither,
}

impl Change {
    /// All changes, in the order in which they are told.
    pub const ALL: [Self; 5] = [Self::Same, Self::Changed, Self::Gained, Self::Lost, Self::Neither];

    /// The change's name in messages and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::Gained => "gained",
            Self::Lost => "lost",
            Self::Neither => "neither",
        }
    }
}

/// Compares two images; `found` is told every range of frames of one change, in
/// order, each as long as it can be, and `progress` how many bytes of both are
/// done. Both are verified on the way.
///
/// # Errors
/// [`Error::Image`](crate::error::Error::Image) with the first damage that was
/// found, [`Error::Io`](crate::error::Error::Io).
pub fn diff(
    first: &ImageFile,
    second: &ImageFile,
    mut progress: impl FnMut(u64),
    found: impl FnMut(PageRange, Change),
) -> Result<()> {
    let (mut first, mut second) = (Walk::new(first)?, Walk::new(second)?);
    let mut joined = Joined { pending: None, found };
    loop {
        let (a, b) = (first.piece()?, second.piece()?);
        let Some(range) = next_range(a.as_ref(), b.as_ref()) else { break };
        let (a, b) = (part(a, range), part(b, range));
        for (index, frame) in (range.start.0..range.end().0).enumerate() {
            let change =
                change(a.and_then(|a| content(&a, index)), b.and_then(|b| content(&b, index)));
            joined.take(Pfn(frame), change);
        }
        let (in_first, in_second) = (a.is_some(), b.is_some());
        if in_first {
            first.advance(range.pages);
        }
        if in_second {
            second.advance(range.pages);
        }
        progress(first.data_bytes() + second.data_bytes());
    }
    joined.finish();
    Ok(())
}

/// The next frames that each of both pieces has all of, or none.
fn next_range(a: Option<&Piece<'_>>, b: Option<&Piece<'_>>) -> Option<PageRange> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a.range, b.range),
        (one, other) => return one.or(other).map(|piece| piece.range),
    };
    let start = a.start.min(b.start);
    let later = a.start.max(b.start);
    let end = if start < later { later } else { a.end().min(b.end()) };
    let end = end.min(if a.start == start { a.end() } else { b.end() });
    Some(PageRange { start, pages: end.0 - start.0 })
}

/// The piece, if it begins with this range.
fn part<'a>(piece: Option<Piece<'a>>, range: PageRange) -> Option<Piece<'a>> {
    piece.filter(|piece| piece.range.start == range.start)
}

/// The bytes of a frame, if the image has them.
fn content<'a>(piece: &Piece<'a>, index: usize) -> Option<&'a Page> {
    static ZERO: Page = Page::zero();
    match piece.kind {
        RunKind::Stored => piece.pages.get(index),
        RunKind::Zero => Some(&ZERO),
        RunKind::Free | RunKind::Excluded | RunKind::Window => None,
    }
}

fn change(a: Option<&Page>, b: Option<&Page>) -> Change {
    match (a, b) {
        (Some(a), Some(b)) if a.0 == b.0 => Change::Same,
        (Some(_), Some(_)) => Change::Changed,
        (None, Some(_)) => Change::Gained,
        (Some(_), None) => Change::Lost,
        (None, None) => Change::Neither,
    }
}

/// Frames that are joined to ranges.
struct Joined<F> {
    pending: Option<(PageRange, Change)>,
    found: F,
}

impl<F: FnMut(PageRange, Change)> Joined<F> {
    fn take(&mut self, frame: Pfn, change: Change) {
        if let Some((range, same)) = &mut self.pending
            && *same == change
            && range.end() == frame
        {
            range.pages += 1;
            return;
        }
        self.finish();
        self.pending = Some((PageRange { start: frame, pages: 1 }, change));
    }

    fn finish(&mut self) {
        if let Some((range, change)) = self.pending.take() {
            (self.found)(range, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_file::fake::Fake;
    use dormouse_handoff::units::PAGE_SIZE;
    use proptest::prelude::*;

    fn ranges(first: &Fake, second: &Fake) -> Vec<(PageRange, Change)> {
        let files = [first.file(), second.file()];
        let images = files.each_ref().map(|file| ImageFile::open(file.path()).unwrap());
        let mut all = Vec::new();
        diff(&images[0], &images[1], |_| (), |range, change| all.push((range, change))).unwrap();
        all
    }

    #[test]
    fn an_image_is_like_itself() {
        let fake = Fake::small();
        let expected =
            [(PageRange::new(0, 512), Change::Same), (PageRange::new(512, 1536), Change::Neither)];
        assert_eq!(ranges(&fake, &fake), expected);
    }

    #[test]
    fn every_change_is_found_where_it_is() {
        let first = Fake::small();
        let mut second = Fake::of(&[
            (RunKind::Stored, 290),
            (RunKind::Free, 10),
            (RunKind::Stored, 2),
            (RunKind::Zero, 210),
            (RunKind::Window, 512),
            (RunKind::Zero, 24),
        ]);
        second.data[5 * PAGE_SIZE as usize + 9] ^= 1;
        let expected = [
            (PageRange::new(0, 5), Change::Same),
            (PageRange::new(5, 1), Change::Changed),
            (PageRange::new(6, 284), Change::Same),
            (PageRange::new(290, 10), Change::Lost),
            (PageRange::new(300, 2), Change::Changed),
            (PageRange::new(302, 210), Change::Same),
            (PageRange::new(512, 512), Change::Neither),
            (PageRange::new(1024, 24), Change::Gained),
            (PageRange::new(1048, 1000), Change::Neither),
        ];
        assert_eq!(ranges(&first, &second), expected);
    }

    /// Fates of 512 frames below the window, and of some above it.
    fn fates() -> impl Strategy<Value = Vec<(RunKind, u64)>> {
        let kind = prop_oneof![
            Just(RunKind::Stored),
            Just(RunKind::Zero),
            Just(RunKind::Free),
            Just(RunKind::Excluded)
        ];
        let cuts = proptest::collection::vec((kind, 1u64..300), 1..8);
        (cuts.clone(), cuts).prop_map(|(below, above)| {
            let mut fates = Vec::new();
            let mut left = 512;
            for (kind, pages) in below {
                let pages = pages.min(left);
                left -= pages;
                fates.push((kind, pages));
            }
            fates.push((RunKind::Zero, left));
            fates.push((RunKind::Window, 512));
            fates.extend(above);
            fates.retain(|(_, pages)| *pages > 0);
            fates
        })
    }

    /// The bytes of each frame by another way: all of memory at once.
    fn memory(fake: &Fake) -> Vec<Option<Vec<u8>>> {
        let mut stored = fake.data.chunks(PAGE_SIZE as usize);
        let mut frames = Vec::new();
        for run in &fake.runs {
            for _ in 0..run.pages {
                frames.push(match RunKind::from_number(run.kind).unwrap() {
                    RunKind::Stored => stored.next().map(<[u8]>::to_vec),
                    RunKind::Zero => Some(vec![0; PAGE_SIZE as usize]),
                    _ => None,
                });
            }
        }
        frames
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_two_images_differ_where_their_memory_does(
            a in fates(), b in fates(), flips in proptest::collection::vec(any::<u32>(), 0..4),
        ) {
            let (first, mut second) = (Fake::of(&a), Fake::of(&b));
            let length = second.data.len();
            for flip in flips.into_iter().filter(|_| length > 0) {
                second.data[flip as usize % length] ^= 0x80;
            }
            let (one, other) = (memory(&first), memory(&second));
            let mut next = 0;
            for (range, change) in ranges(&first, &second) {
                prop_assert_eq!(range.start.0, next);
                next = range.end().0;
                for frame in range.start.0 as usize..next as usize {
                    let of = |all: &[Option<Vec<u8>>]| all.get(frame).cloned().flatten();
                    let expected = match (of(&one), of(&other)) {
                        (Some(a), Some(b)) if a == b => Change::Same,
                        (Some(_), Some(_)) => Change::Changed,
                        (None, Some(_)) => Change::Gained,
                        (Some(_), None) => Change::Lost,
                        (None, None) => Change::Neither,
                    };
                    prop_assert_eq!(change, expected, "frame {}", frame);
                }
            }
            prop_assert_eq!(next as usize, one.len().max(other.len()));
        }
    }
}
