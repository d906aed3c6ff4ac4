//! A pipe that always has data in flight: its writer never waits for its
//! reader, its reader takes its time.

use super::Living;
use super::moving::Progress;
use crate::error::Error;
use std::io::{PipeReader, Read, Write};
use std::time::Duration;

const PIECE: usize = 4096;

/// The pipe, a thread at each end.
pub struct Pipe {
    progress: Progress,
    /// The reading end once more, to ask how much is in flight.
    reader: PipeReader,
}

impl Pipe {
    /// Starts both threads.
    pub fn new() -> Result<Self, Error> {
        let (mut reader, mut writer) = std::io::pipe().map_err(Error::refused("making a pipe"))?;
        let watched = reader.try_clone().map_err(Error::refused("cloning a pipe"))?;
        std::thread::spawn(move || {
            for piece in 0u64.. {
                // Fails when the reader found an error, which it reports.
                if writer.write_all(&[piece as u8; PIECE]).is_err() {
                    break;
                }
            }
        });
        let progress = Progress::default();
        progress.watch(move |progress| {
            let mut bytes = [0; PIECE];
            for piece in 0u64.. {
                reader.read_exact(&mut bytes).map_err(Error::refused("reading the pipe"))?;
                if bytes != [piece as u8; PIECE] {
                    return Err(Error::Damaged { place: "the pipe", at: piece * PIECE as u64 });
                }
                progress.step();
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        });
        Ok(Self { progress, reader: watched })
    }
}

impl Living for Pipe {
    fn check(&mut self) -> Result<String, Error> {
        let in_flight = rustix::io::ioctl_fionread(&self.reader)
            .map_err(Error::refused("asking what is in flight"))?;
        let pieces = self.progress.wait_for_more("the pipe")?;
        Ok(format!("{pieces} pieces through, {in_flight} bytes in flight"))
    }

    fn progress(&self) -> u64 {
        self.progress.steps()
    }
}
