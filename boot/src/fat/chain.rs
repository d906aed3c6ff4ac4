//! Chains of clusters.

use super::boot_sector::{ENTRY_BYTES, Shape};
use super::{Damage, File, Run, Volume};
use crate::bytes::u32_at;
use crate::disk::{Disk, Error};
use alloc::vec::Vec;

/// Bytes of the table that are read at once: a multiple of no sector is smaller.
const PIECE: usize = 512;

/// From this on, an entry says that its cluster is the last.
const END: u32 = 0x0fff_fff8;

/// Four bits of each entry mean nothing.
const MASK: u32 = 0x0fff_ffff;

/// A walk along a chain.
pub struct Chain<'a> {
    shape: &'a Shape,
    piece: [u8; PIECE],
    /// Which piece of the table that is.
    read: Option<u64>,
}

impl<'a> Chain<'a> {
    pub fn new(shape: &'a Shape) -> Self {
        Self { shape, piece: [0; PIECE], read: None }
    }

    /// The cluster after this one; `None` where it is the last.
    pub fn after<D: Disk>(
        &mut self,
        disk: &mut D,
        cluster: u32,
    ) -> Result<Option<u32>, Error<D::Error>> {
        let at = u64::from(cluster) * ENTRY_BYTES;
        let piece = at / PIECE as u64;
        if self.read != Some(piece) {
            let offset = self.shape.table + piece * PIECE as u64;
            disk.read(offset, &mut self.piece).map_err(Error::Disk)?;
            self.read = Some(piece);
        }
        let next = u32_at(&self.piece, at as usize % PIECE) & MASK;
        if next >= END {
            Ok(None)
        } else if self.shape.has(next) {
            Ok(Some(next))
        } else {
            Err(Damage::Chain { after: cluster }.into())
        }
    }
}

/// Where a file's bytes lie.
pub fn runs<D: Disk>(
    shape: &Shape,
    disk: &mut D,
    file: &File,
) -> Result<Vec<Run>, Error<D::Error>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut chain = Chain::new(shape);
    let mut cluster = file.first_cluster;
    if !shape.has(cluster) {
        return Err(Damage::Chain { after: cluster }.into());
    }
    let mut left = u64::from(file.bytes);
    loop {
        let offset = shape.place(cluster);
        let bytes = left.min(u64::from(shape.cluster_bytes));
        let full = runs.len() == Volume::MOST_RUNS;
        match runs.last_mut() {
            Some(last) if last.offset + last.bytes == offset => last.bytes += bytes,
            _ if full => return Err(Damage::Fragmented { most: Volume::MOST_RUNS }.into()),
            _ => runs.push(Run { offset, bytes }),
        }
        left -= bytes;
        if left == 0 {
            return Ok(runs);
        }
        cluster =
            chain.after(disk, cluster)?.ok_or(Error::Damaged(Damage::Chain { after: cluster }))?;
    }
}
