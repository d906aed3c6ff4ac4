//! File systems that another implementation wrote, whole and damaged.

use super::*;
use crate::{FOLDER, INITRD, KERNEL};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::{string::String, vec};

/// Where the file system begins on its disk.
const START: u64 = 1 << 20;
const BYTES: usize = 34 << 20;
const SECTOR: u16 = 512;

struct Bytes(Vec<u8>);

impl Disk for Bytes {
    type Error = String;

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let from = offset as usize;
        let bytes = self.0.get(from..from + into.len());
        into.copy_from_slice(bytes.ok_or_else(|| std::format!("past the end: {offset}"))?);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

fn pattern(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + i / 509 + seed) as u8).collect()
}

/// A disk with a file system of `kind`, filled by `fill`.
fn disk(kind: FatType, cluster: u32, fill: impl Fn(&FileSystem<Cursor<&mut [u8]>>)) -> Bytes {
    let mut bytes = vec![0; START as usize + BYTES];
    let volume = &mut bytes[START as usize..];
    let options = FormatVolumeOptions::new()
        .fat_type(kind)
        .bytes_per_sector(SECTOR)
        .bytes_per_cluster(cluster);
    fatfs::format_volume(Cursor::new(&mut *volume), options).unwrap();
    let system = FileSystem::new(Cursor::new(&mut *volume), FsOptions::new()).unwrap();
    fill(&system);
    system.unmount().unwrap();
    Bytes(bytes)
}

/// Two files whose clusters alternate, after many with long names.
fn interleaved() -> Bytes {
    disk(FatType::Fat32, 512, |system| {
        let root = system.root_dir();
        for i in 0..20 {
            root.create_file(&std::format!("a rather long name, number {i}.text")).unwrap();
        }
        let folder = root.create_dir("dormouse").unwrap();
        for i in 0..40 {
            folder.create_file(&std::format!("another long name, number {i}")).unwrap();
        }
        let mut kernel = folder.create_file("kernel").unwrap();
        let mut initrd = folder.create_file("initrd").unwrap();
        let (one, two) = (pattern(1, 100_000), pattern(2, 70_001));
        let pieces = one.chunks(3000).zip(two.chunks(3000).map(Some).chain([None; 20]));
        for (one, two) in pieces {
            kernel.write_all(one).unwrap();
            initrd.write_all(two.unwrap_or_default()).unwrap();
        }
    })
}

fn whole(disk: &mut Bytes, name: &str) -> Result<Option<Vec<u8>>, Error<String>> {
    let Some(volume) = Volume::open(disk, START)? else { return Ok(None) };
    let Some(file) = volume.find(disk, FOLDER, name)? else { return Ok(None) };
    let runs = volume.runs(disk, &file)?;
    assert_eq!(runs.iter().map(|run| run.bytes).sum::<u64>(), u64::from(file.bytes));
    assert!(runs.iter().all(|run| run.offset + run.bytes <= disk.bytes()));
    let mut bytes = vec![0; (file.bytes as usize).min(1 << 20)];
    let read = volume.read(disk, &runs, &mut bytes)?;
    assert_eq!(read, bytes.len());
    Ok(Some(bytes))
}

#[test]
fn files_in_pieces_are_read_as_they_were_written() {
    let mut disk = interleaved();
    assert_eq!(whole(&mut disk, KERNEL), Ok(Some(pattern(1, 100_000))));
    assert_eq!(whole(&mut disk, INITRD), Ok(Some(pattern(2, 70_001))));
    assert_eq!(whole(&mut disk, "CMDLINE"), Ok(None));
}

#[test]
fn a_file_in_one_piece_is_one_run() {
    let bytes = pattern(3, 3_000_000);
    let mut disk = disk(FatType::Fat32, 512, |system| {
        let folder = system.root_dir().create_dir("DORMOUSE").unwrap();
        folder.create_file("KERNEL").unwrap().write_all(&bytes).unwrap();
    });
    let volume = Volume::open(&mut disk, START).unwrap().unwrap();
    let file = volume.find(&mut disk, FOLDER, KERNEL).unwrap().unwrap();
    let runs = volume.runs(&mut disk, &file).unwrap();
    assert_eq!(runs.len(), 1);
    let from = runs[0].offset as usize;
    assert_eq!(disk.0[from..from + bytes.len()], bytes);
}

#[test]
fn other_file_systems_are_told_apart() {
    let mut old = disk(FatType::Fat16, 4096, |_| {});
    assert_eq!(whole(&mut old, KERNEL), Err(Damage::NotFat32.into()));
    assert_eq!(whole(&mut Bytes(vec![0; 4 << 20]), KERNEL), Ok(None));
    assert_eq!(whole(&mut Bytes(vec![0; 100]), KERNEL), Ok(None));
}

#[test]
fn a_disk_that_was_cut_off_is_refused() {
    let mut disk = interleaved();
    disk.0.truncate(START as usize + BYTES / 2);
    assert_eq!(whole(&mut disk, KERNEL), Err(Damage::PastEnd.into()));
}

#[test]
fn folders_in_the_place_of_files_and_empty_files_are_refused() {
    let mut disk = disk(FatType::Fat32, 512, |system| {
        let folder = system.root_dir().create_dir("dormouse").unwrap();
        folder.create_dir("kernel").unwrap();
        folder.create_file("initrd").unwrap();
    });
    assert_eq!(whole(&mut disk, KERNEL), Err(Damage::OfOtherKind.into()));
    assert_eq!(whole(&mut disk, INITRD), Err(Damage::Empty.into()));
}

#[test]
fn a_chain_that_leads_nowhere_names_its_cluster() {
    let mut disk = interleaved();
    let volume = Volume::open(&mut disk, START).unwrap().unwrap();
    let file = volume.find(&mut disk, FOLDER, KERNEL).unwrap().unwrap();
    let entry = volume.shape.table as usize + file.first_cluster as usize * 4;
    let damage = Damage::Chain { after: file.first_cluster };
    for broken in [0u32, 1, 0x0fff_fff7, volume.shape.end_cluster, u32::MAX] {
        disk.0[entry..entry + 4].copy_from_slice(&broken.to_le_bytes());
        assert_eq!(whole(&mut disk, KERNEL), Err(damage.into()), "{broken:#x}");
    }
    // A loop ends with the file's length, or with too many pieces.
    disk.0[entry..entry + 4].copy_from_slice(&file.first_cluster.to_le_bytes());
    assert!(whole(&mut disk, KERNEL).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_damage_makes_it_panic(
        damage in prop::collection::vec((0usize..3, 0usize..8192, any::<u8>()), 1..30),
    ) {
        thread_local!(static DISK: std::cell::RefCell<Bytes> = interleaved().into());
        DISK.with_borrow_mut(|disk| {
            let shape = Volume::open(disk, START).unwrap().unwrap().shape;
            let areas = [START as usize, shape.table as usize, shape.data as usize];
            let mut before = Vec::new();
            for (area, at, byte) in damage {
                // In the first sector of an area more often than behind it.
                let at = areas[area] + if area == 0 { at % 128 } else { at };
                before.push((at, std::mem::replace(&mut disk.0[at], byte)));
            }
            for name in [KERNEL, INITRD] {
                let _ = whole(disk, name);
            }
            for (at, byte) in before.into_iter().rev() {
                disk.0[at] = byte;
            }
        });
    }
}
