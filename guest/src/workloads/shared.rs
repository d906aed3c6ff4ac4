//! Shared memory: a memfd and a System V segment, each written through one
//! mapping and read through another.

use super::Living;
use crate::error::Error;
use crate::mapping::Mapping;
use crate::pattern;
use rustix::fs::MemfdFlags;

/// Both kinds.
pub struct Shared {
    memfd: [Mapping; 2],
    system_v: [Mapping; 2],
    seed: u64,
}

impl Shared {
    /// Half of `bytes` each.
    pub fn new(bytes: u64, seed: u64) -> Result<Self, Error> {
        let half = (bytes / 2).next_multiple_of(4096);
        let file = rustix::fs::memfd_create("dormouse", MemfdFlags::CLOEXEC)
            .map_err(Error::refused("memfd_create"))?;
        rustix::fs::ftruncate(&file, half).map_err(Error::refused("sizing a memfd"))?;
        let half = half as usize;
        let mut memfd = [Mapping::shared(&file, half)?, Mapping::shared(&file, half)?];
        let id = new_segment(half)?;
        let mut system_v = [Mapping::system_v(id, half)?, Mapping::system_v(id, half)?];
        remove_when_unused(id)?;
        pattern::fill(memfd[0].words_mut(), seed, 0);
        pattern::fill(system_v[0].words_mut(), !seed, 0);
        Ok(Self { memfd, system_v, seed })
    }
}

fn new_segment(bytes: usize) -> Result<i32, Error> {
    // SAFETY: takes no pointers.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, bytes, libc::IPC_CREAT | 0o600) };
    if id < 0 { Err(Error::refused("shmget")(std::io::Error::last_os_error())) } else { Ok(id) }
}

fn remove_when_unused(id: i32) -> Result<(), Error> {
    // SAFETY: IPC_RMID does not use the pointer.
    let result = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    if result != 0 {
        return Err(Error::refused("shmctl")(std::io::Error::last_os_error()));
    }
    Ok(())
}

impl Living for Shared {
    fn check(&mut self) -> Result<String, Error> {
        for mapping in &self.memfd {
            pattern::check(mapping.words(), self.seed, 0, "the memfd")?;
        }
        for mapping in &self.system_v {
            pattern::check(mapping.words(), !self.seed, 0, "the System V segment")?;
        }
        // What is written through one mapping must still show in the other.
        for [writer, reader] in [&mut self.memfd, &mut self.system_v] {
            let kept = writer.words()[0];
            writer.words_mut()[0] = !kept;
            let seen = reader.words()[0];
            writer.words_mut()[0] = kept;
            if seen != !kept {
                return Err(Error::Lost("two mappings of one object have come apart".into()));
            }
        }
        Ok(format!("{} MiB twice", self.memfd[0].words().len() / 131_072 * 2))
    }
}
