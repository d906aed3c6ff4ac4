//! What Linux gets out of a disk: large direct requests, many at once.

use crate::error::Error;
use crate::mapping::Mapping;
use rustix::fs::{Mode, OFlags};
use rustix::io::{pread, pwrite};
use rustix::mm::MapFlags;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Bytes of a request.
const REQUEST: u64 = 1 << 20;

/// Requests under way at once; each has a thread, so that no queue of the
/// kernel's is asked for anything special.
const DEPTH: usize = 16;

/// Moves `bytes` (rounded up to whole requests) between `device`, from the
/// byte `start` on, and memory, past the page cache; microseconds that it took.
pub fn run(device: &str, start: u64, bytes: u64, write: bool) -> Result<u64, Error> {
    let access = if write { OFlags::WRONLY } else { OFlags::RDONLY };
    let disk = rustix::fs::open(device, access | OFlags::DIRECT, Mode::empty())
        .map_err(Error::refused(format!("opening {device}")))?;
    let mut buffers = Vec::new();
    for _ in 0..DEPTH {
        let mut buffer = Mapping::anonymous(REQUEST as usize, MapFlags::empty())?;
        // Not zeros, of which a disk might make less work.
        buffer.words_mut().fill(0x6469_7265_6374_696f);
        buffers.push(buffer);
    }
    let requests = bytes.div_ceil(REQUEST);
    let next = AtomicU64::new(0);
    let from = Instant::now();
    let outcomes: Vec<Result<(), Error>> = std::thread::scope(|threads| {
        let workers: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| {
                let (disk, next) = (&disk, &next);
                threads.spawn(move || {
                    loop {
                        let request = next.fetch_add(1, Relaxed);
                        if request >= requests {
                            return Ok(());
                        }
                        let offset = start + request * REQUEST;
                        let moved = if write {
                            pwrite(disk, buffer.bytes(), offset)
                        } else {
                            pread(disk, buffer.bytes_mut(), offset)
                        };
                        let moved = moved.map_err(Error::refused(format!("{device}: {offset}")))?;
                        if moved as u64 != REQUEST {
                            return Err(Error::Lost(format!("{device}: a short request")));
                        }
                    }
                })
            })
            .collect();
        let lost = |_| Err(Error::Lost("a thread of direct requests panicked".into()));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(lost)).collect()
    });
    outcomes.into_iter().collect::<Result<(), Error>>()?;
    Ok(from.elapsed().as_micros() as u64)
}
