//! Folders: lists of entries of 32 bytes.

use super::Damage;
use super::boot_sector::Shape;
use super::chain::Chain;
use crate::bytes::{u16_at, u32_at};
use crate::disk::{Disk, Error};

const ENTRY: usize = 32;

/// The longest folder that is looked at, in bytes: what the format allows.
const LONGEST: u64 = 2 << 20;

/// Bytes that are read at once: no cluster is smaller.
const PIECE: usize = 512;

/// Attributes of an entry.
mod attribute {
    pub const VOLUME: u8 = 0x08;
    pub const FOLDER: u8 = 0x10;
}

/// An entry that was found.
pub struct Entry {
    pub is_folder: bool,
    pub bytes: u32,
    pub first_cluster: u32,
}

/// The entry with this short name in the folder that begins at `first`.
pub fn find<D: Disk>(
    shape: &Shape,
    disk: &mut D,
    first: u32,
    name: &str,
) -> Result<Option<Entry>, Error<D::Error>> {
    let wanted = padded(name);
    let mut chain = Chain::new(shape);
    let mut cluster = first;
    if !shape.has(cluster) {
        return Err(Damage::Chain { after: cluster }.into());
    }
    let mut looked_at = 0;
    loop {
        for piece in 0..shape.cluster_bytes as usize / PIECE {
            let mut bytes = [0; PIECE];
            let offset = shape.place(cluster) + (piece * PIECE) as u64;
            disk.read(offset, &mut bytes).map_err(Error::Disk)?;
            for entry in bytes.chunks_exact(ENTRY) {
                match entry.first() {
                    Some(0) | None => return Ok(None),
                    _ if is_named(entry, &wanted) => return Ok(Some(parse(entry))),
                    _ => {}
                }
            }
        }
        looked_at += u64::from(shape.cluster_bytes);
        if looked_at >= LONGEST {
            return Err(Damage::LongFolder.into());
        }
        match chain.after(disk, cluster)? {
            Some(next) => cluster = next,
            None => return Ok(None),
        }
    }
}

/// A short name as entries have it. Deleted entries begin with a byte that is
/// in no name, and a long name's parts are marked as volume names.
fn padded(name: &str) -> [u8; 11] {
    let mut padded = [b' '; 11];
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    for (place, letter) in padded[..8].iter_mut().zip(stem.bytes()) {
        *place = letter.to_ascii_uppercase();
    }
    for (place, letter) in padded[8..].iter_mut().zip(extension.bytes()) {
        *place = letter.to_ascii_uppercase();
    }
    padded
}

fn is_named(entry: &[u8], wanted: &[u8; 11]) -> bool {
    let is_volume = entry.get(11).is_none_or(|bits| bits & attribute::VOLUME != 0);
    !is_volume && entry.get(..11).is_some_and(|name| name.eq_ignore_ascii_case(wanted))
}

fn parse(entry: &[u8]) -> Entry {
    let high = u32::from(u16_at(entry, 20)) << 16;
    Entry {
        is_folder: entry.get(11).is_some_and(|bits| bits & attribute::FOLDER != 0),
        bytes: u32_at(entry, 28),
        first_cluster: (high | u32::from(u16_at(entry, 26))) & 0x0fff_ffff,
    }
}
