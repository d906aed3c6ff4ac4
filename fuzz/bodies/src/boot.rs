//! What lies on a boot partition.

use crate::bytes::{Bytes, padded};
use dormouse_boot::bzimage::{HEAD, Kernel};
use dormouse_boot::fat::Volume;
use dormouse_boot::models;
use dormouse_boot::params::{Range, Told};
use dormouse_boot::place::{Places, free};
use dormouse_boot::{COMMAND_LINE, Disk, FOLDER, INITRD, KERNEL, command_line};
use dormouse_handoff::units::PageRange;

const SECTOR: usize = 512;

/// A disk that ends where the bytes do.
struct Image<'a>(&'a [u8]);

impl Disk for Image<'_> {
    type Error = &'static str;

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), &'static str> {
        let from = usize::try_from(offset).map_err(|_| "far past the end")?;
        let end = from.checked_add(into.len()).ok_or("far past the end")?;
        into.copy_from_slice(self.0.get(from..end).ok_or("past the end")?);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// A file system from its boot sector on.
pub fn fat(data: &[u8]) {
    let mut disk = Image(data);
    let Ok(Some(volume)) = Volume::open(&mut disk, 0) else { return };
    for name in [KERNEL, INITRD, COMMAND_LINE] {
        let Ok(Some(file)) = volume.find(&mut disk, FOLDER, name) else { continue };
        let Ok(runs) = volume.runs(&mut disk, &file) else { continue };
        assert!(runs.len() <= Volume::MOST_RUNS);
        assert_eq!(runs.iter().map(|run| run.bytes).sum::<u64>(), u64::from(file.bytes));
        assert!(runs.iter().all(|run| run.offset + run.bytes <= data.len() as u64));
        let mut bytes = vec![0; (file.bytes as usize).min(4096)];
        assert_eq!(volume.read(&mut disk, &runs, &mut bytes), Ok(bytes.len()));
    }
}

pub fn fat_seeds() -> Vec<Vec<u8>> {
    // Sectors: boot, table, root folder, the other folder, then the files.
    let mut disk = vec![0; 12 * SECTOR];
    disk[0] = 0xeb;
    disk[11..14].copy_from_slice(&[0, 2, 1]);
    disk[14] = 1;
    disk[16] = 1;
    disk[32] = 12;
    disk[36] = 1;
    disk[44] = 2;
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let end = 0x0fff_ffffu32;
    for (cluster, next) in [end, end, end, end, 6, end, 8, end].into_iter().enumerate() {
        disk[SECTOR + cluster * 4..][..4].copy_from_slice(&next.to_le_bytes());
    }
    let mut entry = |at: usize, name: &[u8; 11], attributes: u8, cluster: u8, bytes: u16| {
        disk[at..at + 11].copy_from_slice(name);
        disk[at + 11] = attributes;
        disk[at + 26] = cluster;
        disk[at + 28..at + 30].copy_from_slice(&bytes.to_le_bytes());
    };
    entry(2 * SECTOR, b"BOOT       ", 8, 0, 0);
    entry(2 * SECTOR + 32, b"DORMOUSE   ", 16, 3, 0);
    entry(3 * SECTOR, b"KERNEL     ", 32, 4, 1000);
    entry(3 * SECTOR + 32, b"INITRD     ", 32, 6, 600);
    entry(3 * SECTOR + 64, b"CMDLINE    ", 32, 8, 20);
    let short = disk[..11 * SECTOR].to_vec();
    vec![disk, short]
}

/// A kernel's head; its length, a command line, and a memory map follow.
pub fn bzimage(data: &[u8]) {
    let mut bytes = Bytes(data);
    let head = padded::<HEAD>(bytes.take(HEAD));
    let (length, initrd) = (bytes.u64(), bytes.u64() >> 20);
    let Ok(kernel) = Kernel::parse(&head, length >> 16) else { return };
    let length = bytes.u8();
    let line = bytes.take(length.into());
    let Ok(line) = command_line::make(line, "", kernel.command_line) else { return };
    let (mut ram, mut ranges, mut past) = (Vec::new(), Vec::new(), 0);
    while !bytes.is_empty() && ram.len() < 300 {
        let range = PageRange::new(past + bytes.u64() % (1 << 24), 1 + bytes.u64() % (1 << 24));
        past = range.end().0;
        ram.push(range);
        let start = range.start.address().0;
        ranges.push(Range { start, bytes: range.bytes(), kind: 1 });
    }
    let told = Told {
        ranges: &ranges,
        command_line: &line,
        initrd_bytes: initrd,
        rsdp: 0,
        screen: None,
        uefi: None,
    };
    let window = PageRange::new(0x1000, 512);
    let free = free(&ram, &[window]);
    let Ok(places) = Places::choose(&free, &kernel, initrd, told.bytes()) else { return };
    let all = [places.kernel_pages, places.initrd, places.parameters];
    for (i, one) in all.iter().enumerate().filter(|(_, one)| one.pages > 0) {
        assert!(free.iter().any(|range| range.covers(one)));
        assert!(all[i + 1..].iter().all(|other| one.intersection(other).is_none()));
    }
    let parameters = told.parameters(&kernel, &places);
    assert_eq!(parameters.len() as u64, told.bytes());
    assert!(parameters.len() as u64 <= places.parameters.bytes());
}

pub fn bzimage_seeds() -> Vec<Vec<u8>> {
    let mut head = models::head(4096).to_vec();
    head.extend((20480u64 << 16).to_le_bytes());
    head.extend((1u64 << 44).to_le_bytes());
    head.push(5);
    head.extend(b"quiet");
    for range in [(0u64, 0x9eu64), (0x62, 0x1ff00), (0xe0000, 0x40000)] {
        head.extend(range.0.to_le_bytes());
        head.extend(range.1.to_le_bytes());
    }
    vec![head]
}
