//! Files whose contents are in memory: on tmpfs, and in the page cache of a
//! disk.

use super::Living;
use crate::error::Error;
use crate::mapping::Mapping;
use crate::pattern;
use std::fs::File;
use std::io::{Read, Seek, Write};

const PIECE_WORDS: usize = 32 << 10;

/// A file with a pattern.
pub struct Patterned {
    file: File,
    words: u64,
    seed: u64,
    place: &'static str,
    /// A mapping of a file in the page cache, to ask what is resident.
    cached: Option<Mapping>,
}

/// A file on tmpfs.
pub fn tmpfs(bytes: u64, seed: u64) -> Result<Patterned, Error> {
    Patterned::new("/tmp/pattern", bytes, seed, "the tmpfs file")
}

/// A file in `directory`, synced, and all in the page cache.
pub fn page_cache(directory: &str, bytes: u64, seed: u64) -> Result<Patterned, Error> {
    let path = format!("{directory}/pattern");
    let mut file = Patterned::new(&path, bytes, seed, "the cached file")?;
    file.file.sync_all().map_err(Error::refused("syncing the cached file"))?;
    file.cached = Some(Mapping::shared(&file.file, (file.words * 8) as usize)?);
    Ok(file)
}

impl Patterned {
    fn new(path: &str, bytes: u64, seed: u64, place: &'static str) -> Result<Self, Error> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.map_err(Error::refused(format!("making {path}")))?;
        let mut patterned = Self { file, words: bytes / 8, seed, place, cached: None };
        let mut words = vec![0; PIECE_WORDS];
        for (first, count) in patterned.pieces() {
            pattern::fill(&mut words[..count], seed, first);
            let bytes: Vec<u8> = words[..count].iter().flat_map(|w| w.to_ne_bytes()).collect();
            patterned.file.write_all(&bytes).map_err(Error::refused(format!("filling {path}")))?;
        }
        Ok(patterned)
    }

    /// The file in pieces: first word, number of words.
    fn pieces(&self) -> impl Iterator<Item = (u64, usize)> + use<> {
        let words = self.words;
        (0..words)
            .step_by(PIECE_WORDS)
            .map(move |first| (first, (words - first).min(PIECE_WORDS as u64) as usize))
    }
}

impl Living for Patterned {
    fn check(&mut self) -> Result<String, Error> {
        let resident = self.cached.as_ref().map(Mapping::resident_pages).transpose()?;
        self.file.rewind().map_err(Error::refused("rewinding"))?;
        let mut bytes = vec![0; PIECE_WORDS * 8];
        for (first, count) in self.pieces() {
            let bytes = &mut bytes[..count * 8];
            self.file.read_exact(bytes).map_err(Error::refused(self.place))?;
            let words: Vec<u64> =
                bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect();
            pattern::check(&words, self.seed, first, self.place)?;
        }
        let mib = self.words >> 17;
        let pages = self.words / 512;
        Ok(match resident {
            None => format!("{mib} MiB"),
            Some(resident) => format!("{mib} MiB, {resident} of {pages} pages still cached"),
        })
    }
}
