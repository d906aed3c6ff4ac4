//! The boot sector, and the file system's shape that follows from it.

use super::Damage;
use crate::bytes::{u16_at, u32_at};

/// The lowest cluster that holds data.
pub const FIRST_CLUSTER: u32 = 2;

/// Cluster numbers have 28 bits.
const MOST_CLUSTERS: u64 = 0x0fff_fff5;

/// Bytes of an entry of the table.
pub const ENTRY_BYTES: u64 = 4;

/// Where everything lies, in bytes from the disk's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes in a cluster.
    pub cluster_bytes: u32,
    /// The table in use.
    pub table: u64,
    /// Cluster [`FIRST_CLUSTER`].
    pub data: u64,
    /// One past the last cluster's number.
    pub end_cluster: u32,
    /// Where the root folder begins.
    pub root_cluster: u32,
}

impl Shape {
    /// Reads the boot sector of a file system that begins at `start`, on a disk
    /// of `disk_bytes`; `None` where it is none of FAT.
    pub fn parse(sector: &[u8; 512], start: u64, disk_bytes: u64) -> Result<Option<Self>, Damage> {
        let byte = |at: usize| sector.get(at).copied().unwrap_or(0);
        let sector_bytes = u64::from(u16_at(sector, 11));
        let sectors_per_cluster = u64::from(byte(13));
        let reserved = u64::from(u16_at(sector, 14));
        let tables = u64::from(byte(16));
        let is_fat = u16_at(sector, 510) == 0xaa55
            && matches!(byte(0), 0xeb | 0xe9)
            && matches!(sector_bytes, 512 | 1024 | 2048 | 4096)
            && sectors_per_cluster.is_power_of_two()
            && matches!(tables, 1..=4)
            && reserved != 0;
        if !is_fat {
            return Ok(None);
        }
        // A root folder of fixed size, a table counted in 16 bits: the older two.
        if u16_at(sector, 17) != 0 || u16_at(sector, 22) != 0 {
            return Err(Damage::NotFat32);
        }
        let table_sectors = u64::from(u32_at(sector, 36));
        let sectors = u64::from(u32_at(sector, 32));
        if table_sectors == 0 {
            return Err(Damage::BootSector("it has no table"));
        }
        if u16_at(sector, 42) != 0 {
            return Err(Damage::BootSector("an unknown version"));
        }
        let data_sectors = sectors
            .checked_sub(reserved + tables * table_sectors)
            .ok_or(Damage::BootSector("no room for data"))?;
        match (sectors * sector_bytes).checked_add(start) {
            Some(end) if end <= disk_bytes => {}
            _ => return Err(Damage::PastEnd),
        }
        // One table alone may be in use instead of all of them alike.
        let flags = u64::from(u16_at(sector, 40));
        let active = if flags & 0x80 == 0 { 0 } else { flags & 0xf };
        if active >= tables {
            return Err(Damage::BootSector("the table in use is not there"));
        }
        let in_table = table_sectors * sector_bytes / ENTRY_BYTES;
        let clusters = (data_sectors / sectors_per_cluster)
            .min(in_table.saturating_sub(u64::from(FIRST_CLUSTER)))
            .min(MOST_CLUSTERS - u64::from(FIRST_CLUSTER));
        let shape = Self {
            cluster_bytes: (sectors_per_cluster * sector_bytes) as u32,
            table: start + (reserved + active * table_sectors) * sector_bytes,
            data: start + (reserved + tables * table_sectors) * sector_bytes,
            end_cluster: FIRST_CLUSTER + clusters as u32,
            root_cluster: u32_at(sector, 44),
        };
        if !shape.has(shape.root_cluster) {
            return Err(Damage::BootSector("the root folder is not there"));
        }
        Ok(Some(shape))
    }

    /// Whether there is such a cluster.
    pub fn has(&self, cluster: u32) -> bool {
        (FIRST_CLUSTER..self.end_cluster).contains(&cluster)
    }

    /// Where a cluster begins, which is there.
    pub fn place(&self, cluster: u32) -> u64 {
        let index = u64::from(cluster.saturating_sub(FIRST_CLUSTER));
        self.data + index * u64::from(self.cluster_bytes)
    }
}
