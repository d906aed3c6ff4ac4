//! A file on a disk that is held open, appended to and synced, all the time.

use super::Living;
use super::moving::Progress;
use crate::error::Error;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// The file and the thread that appends to it.
pub struct Appender {
    path: String,
    progress: Progress,
}

impl Appender {
    /// Makes the file in `directory`.
    pub fn new(directory: &str) -> Result<Self, Error> {
        let path = format!("{directory}/appended");
        let mut file = File::create_new(&path).map_err(Error::refused(format!("making {path}")))?;
        let progress = Progress::default();
        progress.watch(move |progress| {
            for number in 0u64.. {
                file.write_all(record(number).as_bytes()).map_err(Error::refused("appending"))?;
                file.sync_data().map_err(Error::refused("syncing"))?;
                progress.step();
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        Ok(Self { path, progress })
    }
}

fn record(number: u64) -> String {
    format!("{number:031}\n")
}

impl Living for Appender {
    fn check(&mut self) -> Result<String, Error> {
        let records = self.progress.wait_for_more("the open file")?;
        let text = std::fs::read_to_string(&self.path).map_err(Error::refused(&*self.path))?;
        let mut found = 0;
        for line in text.split_inclusive('\n') {
            if line != record(found) {
                return Err(Error::Damaged { place: "the appended file", at: found * 32 });
            }
            found += 1;
        }
        if found < records {
            return Err(Error::Lost(format!("{found} records in the file, {records} written")));
        }
        Ok(format!("{found} records"))
    }

    fn progress(&self) -> u64 {
        self.progress.steps()
    }
}
