//! Wrong images: bits flipped, older parts, disks cut short. A reader refuses
//! them in words, and wakes what is damaged only where nothing depends on it.

use super::replay::{self, Replay, SECTOR};
use super::sleeper::{BYSTANDER, Disks, Found, Sleeper};
use super::{Case, Outcome, Torture, Work};
use crate::artefacts::Artefacts;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::Life;
use crate::main_job::Progress;
use crate::options::Options;
use crate::scenario;
use dormouse_handoff::image::{Header, Layout, State};
use fastrand::Rng;
use std::ops::Range;
use std::path::Path;

const FILL: Fill = Fill { patterned: 32 << 20, sparse: 8 << 20, every: 16 };

/// Damages an image as often as is asked for.
pub fn run(
    artefacts: &Artefacts,
    options: Options,
    torture: &Torture,
    progress: &dyn Progress,
) -> Result<Work, Error> {
    let mine = |number: &usize| torture.share.has(*number);
    let numbers: Vec<usize> = (0..torture.flips as usize).filter(mine).collect();
    let work = Work::over(numbers.len());
    let mut life = Life::begin(artefacts, &format!("torture-flips-{}", options.disk), options)?;
    let before = life.fill(&FILL)?;
    let target = life.target()?;
    let folder = life.folder.clone();
    let (older, newer) = (folder.join("older.raw"), folder.join("newer.raw"));
    let asleep = scenario::sleep(&mut life, &[])?;
    replay::copy(&life.target_disk(), &older)?;
    scenario::wake(&mut life, &asleep, &before)?;
    let asleep = scenario::sleep(&mut life, &[])?;
    let header = scenario::image(&life)?.header(State::Valid)?;
    let sleeper = Sleeper::of(&mut life, &asleep, &before, target)?;
    let mut disk = Replay::new(&life.target_disk(), &newer)?;
    let bytes = std::fs::metadata(&newer).map_err(Error::host("the disk's size"))?.len();
    for number in numbers {
        // Each case has choices of its own, whichever others run.
        let mut rng =
            Rng::with_seed(torture.seed.wrapping_mul(1 << 20).wrapping_add(number as u64));
        let damage = Damage::choose(number, &header, bytes, &mut rng);
        let mut case = Case::new(number, damage.what.to_owned());
        let second = life.second_disk();
        let judged = damage.apply(&mut disk, &older, &mut case, &mut rng).and_then(|()| {
            let disks = match damage.cut_to {
                Some(bytes) => Disks::shorter(&sleeper, &folder, disk.path(), &second, bytes)?,
                None => Disks::over(&sleeper, &folder, disk.path(), &second)?,
            };
            sleeper.wake(&disks)
        });
        case.expected = Some(damage.expected);
        match judged {
            Ok(Found::Refused(words)) => case.found(Outcome::Refused, words),
            Ok(Found::Woke(_)) => case.found(Outcome::Woke, "all that it had"),
            Err(error) => case.fail(error),
        }
        work.count(damage.what, 1);
        disk.revert()?;
        work.done(case, progress);
    }
    // The undamaged image is as good as ever.
    scenario::wake(&mut life, &asleep, &before)?;
    life.finish()?;
    let copies = ["target.qcow2", "second.qcow2", BYSTANDER].map(|name| folder.join(name));
    for file in copies.into_iter().chain([older, newer]) {
        std::fs::remove_file(&file).map_err(Error::host(format!("{}", file.display())))?;
    }
    Ok(work)
}

/// One damage.
struct Damage {
    what: &'static str,
    expected: Outcome,
    /// The bytes on the disk of which one is hit; empty where none is.
    place: Range<u64>,
    /// Whether a part of the older image comes in its place, instead of a
    /// flipped bit.
    older: bool,
    /// The disk ends here.
    cut_to: Option<u64>,
}

impl Damage {
    fn choose(number: usize, header: &Header, bytes: u64, rng: &mut Rng) -> Self {
        let layout = header.layout();
        let part = |offset: u64, length: u64| offset..offset + length;
        let table =
            |region: dormouse_handoff::image::Region, pages: u64| part(region.offset, pages * 4096);
        let flip = |what, place| Self {
            what,
            expected: Outcome::Refused,
            place,
            older: false,
            cut_to: None,
        };
        let data = part(layout.data.offset, header.data_length);
        match number % 11 {
            0 => flip("a bit of the header flipped", 0..size_of::<Header>() as u64),
            1 => flip("a bit of the plan flipped", part(Layout::PLAN, header.plan.length)),
            2 => flip(
                "a bit of the jump-back state flipped",
                part(Layout::JUMP_BACK, header.jump_back.length),
            ),
            3 => flip("a bit of the run table flipped", table(layout.runs, header.runs.pages)),
            4 => {
                flip("a bit of the chunk table flipped", table(layout.chunks, header.chunks.pages))
            }
            5 => flip("a bit of the data flipped", data),
            6 => flip("a bit of the data's last page flipped", data.end - 4096..data.end),
            7 => Self { older: true, ..flip("older data under the header", data) },
            8 => Self { older: true, ..flip("an older header over the data", 0..SECTOR) },
            9 => {
                let cut_to = Some(rng.u64(1..bytes / SECTOR) * SECTOR);
                Self { cut_to, ..flip("a disk cut short", 0..0) }
            }
            _ => {
                let (what, place) = match rng.u8(0..3) {
                    0 => ("a bit of the log flipped", part(Layout::LOG, header.log.length)),
                    1 => ("a bit of the kept page flipped", part(Layout::KEPT_PAGE, 4096)),
                    _ => ("a bit of the count of attempts flipped", part(Layout::ATTEMPTS, 40)),
                };
                Self { expected: Outcome::Woke, ..flip(what, place) }
            }
        }
    }

    fn apply(
        &self,
        disk: &mut Replay,
        older: &Path,
        case: &mut Case,
        rng: &mut Rng,
    ) -> Result<(), Error> {
        if self.place.is_empty() {
            return Ok(());
        }
        // An older part may happen to be the same as the newer one.
        for _ in 0..1000 {
            let at = rng.u64(self.place.clone());
            let (sector, offset) = (at / SECTOR * SECTOR, (at % SECTOR) as usize);
            if self.older {
                let mut now = vec![0; SECTOR as usize];
                disk.read(sector, &mut now)?;
                let before = replay::sector(older, sector)?;
                if before == now {
                    continue;
                }
                case.what += &format!(", at byte {sector}");
                return disk.change(sector, |bytes| bytes.copy_from_slice(&before));
            }
            let bit = rng.u8(0..8);
            case.what += &format!(", bit {bit} of byte {at}");
            return disk.change(sector, |bytes| bytes[offset] ^= 1 << bit);
        }
        Err(Error::verdict("the older image is the same as the newer one"))
    }
}
