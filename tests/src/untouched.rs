//! What nobody may write while a guest sleeps and wakes, and its checksums: of
//! the target's disk all that is not the target, and a disk of the same kind
//! beside it, which the guest never touches either. The disk whose file system
//! the guest has mounted may not be written while its kernel stands still.

use crate::disk::PARTITION_START;
use crate::error::Error;
use dormouse_handoff::checksum;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of the disk beside the target's.
const BYSTANDER_BYTES: u64 = 4 << 20;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Parts of disks, with checksums of what they held.
#[derive(Clone, Debug)]
pub struct Untouched {
    parts: Vec<(PathBuf, Range<u64>, u64)>,
}

impl Untouched {
    /// Makes the disk beside the target's, and notes what both hold.
    pub fn begin(target: &Path, partitioned: bool, bystander: &Path) -> Result<Self, Error> {
        let contents: Vec<u8> = (0..BYSTANDER_BYTES / 8)
            .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let written = std::fs::write(bystander, &contents);
        written.map_err(Error::host(format!("writing {}", bystander.display())))?;
        let mut places = vec![(bystander.to_owned(), 0..BYSTANDER_BYTES)];
        if partitioned {
            // What no table names is somebody's all the same.
            let (first, last) = around_the_partition(target)?;
            for gap in [first.end - GAP, last.start] {
                write(target, gap, &contents[..GAP as usize])?;
            }
            places.extend([first, last].map(|place| (target.to_owned(), place)));
        }
        let mut parts = Vec::new();
        for (disk, place) in places {
            let sum = sum(&disk, place.clone())?;
            parts.push((disk, place, sum));
        }
        Ok(Self { parts })
    }

    /// The same parts of a copy of the disk beside the target's.
    pub fn of_copy(&self, bystander: &Path) -> Result<Self, Error> {
        let (original, place, sum) = &self.parts[0];
        std::fs::copy(original, bystander)
            .map_err(Error::host(format!("copying {}", original.display())))?;
        Ok(Self { parts: vec![(bystander.to_owned(), place.clone(), *sum)] })
    }

    /// An error where any of it has changed.
    pub fn check(&self) -> Result<(), Error> {
        self.parts.iter().try_for_each(|(disk, place, before)| {
            if sum(disk, place.clone())? == *before {
                return Ok(());
            }
            let what = format!(
                "{}: bytes {:#x} to {:#x} are nobody's to write, and were written",
                disk.display(),
                place.start,
                place.end
            );
            Err(Error::verdict(what))
        })
    }
}

/// A checksum of all that a disk image holds.
pub fn sum_of_all(disk: &Path) -> Result<u64, Error> {
    let bytes = std::fs::metadata(disk).map_err(Error::host(format!("{}", disk.display())))?.len();
    sum(disk, 0..bytes)
}

/// Bytes beside the partition that get contents: the table takes less than what
/// is left.
const GAP: u64 = 512 << 10;

fn around_the_partition(disk: &Path) -> Result<(Range<u64>, Range<u64>), Error> {
    let bytes = std::fs::metadata(disk).map_err(Error::host(format!("{}", disk.display())))?.len();
    Ok((0..PARTITION_START, bytes - PARTITION_START..bytes))
}

fn write(disk: &Path, at: u64, bytes: &[u8]) -> Result<(), Error> {
    let file = File::options().write(true).open(disk);
    let written = file.and_then(|file| file.write_all_at(bytes, at));
    written.map_err(Error::host(format!("writing {}", disk.display())))
}

/// A checksum of a part of a disk image. Holes cost nothing.
fn sum(disk: &Path, part: Range<u64>) -> Result<u64, Error> {
    let tried = || Error::host::<std::io::Error>(format!("reading {}", disk.display()));
    let file = File::open(disk).map_err(tried())?;
    let mut piece = vec![0; PIECE];
    let mut sums = Vec::new();
    let mut at = part.start;
    while at < part.end {
        let from = match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data.min(part.end) / PIECE as u64 * PIECE as u64,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(tried()(error.into())),
        };
        at = at.max(from);
        let bytes = &mut piece[..(part.end - at).min(PIECE as u64) as usize];
        match file.read_exact_at(bytes, at) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            read => read.map_err(tried())?,
        }
        // Whether zeros are a hole is the host's affair.
        if bytes.iter().any(|byte| *byte != 0) {
            sums.extend(at.to_le_bytes());
            sums.extend(checksum::plain(bytes).to_le_bytes());
        }
        at += bytes.len() as u64;
    }
    Ok(checksum::plain(&sums))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;

    #[test]
    fn a_byte_outside_the_partition_is_noticed_and_none_inside() {
        let folder = std::env::temp_dir().join(format!("untouched-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (target, bystander) = (folder.join("target"), folder.join("bystander"));
        let bytes: u64 = 16 << 20;
        disk::blank(&target, bytes).unwrap();
        disk::Table::Gpt.write(&target).unwrap();
        let untouched = Untouched::begin(&target, true, &bystander).unwrap();
        for (file, at, is_noticed) in [
            (&target, PARTITION_START, false),
            (&target, bytes - PARTITION_START - 1, false),
            (&target, PARTITION_START - 1, true),
            (&target, bytes - PARTITION_START, true),
            (&target, 0, true),
            (&target, bytes - 1, true),
            (&bystander, 12345, true),
        ] {
            let before = sum_of_all(file).unwrap();
            let mut byte = [0];
            File::open(file).unwrap().read_exact_at(&mut byte, at).unwrap();
            write(file, at, &[byte[0] ^ 1]).unwrap();
            assert_eq!(untouched.check().is_err(), is_noticed, "byte {at}");
            assert_ne!(sum_of_all(file).unwrap(), before);
            write(file, at, &byte).unwrap();
            untouched.check().unwrap();
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
