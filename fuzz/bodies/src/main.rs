//! Writes the seeds of all targets, each target's into a folder of its own.

use dormouse_fuzz_bodies::TARGETS;
use std::path::PathBuf;
use std::{env, fs, io, process};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: dormouse-fuzz-bodies FOLDER");
        process::exit(2);
    };
    for target in TARGETS {
        let corpus = folder.join(target.name);
        fs::create_dir_all(&corpus)?;
        for (i, seed) in (target.seeds)().iter().enumerate() {
            fs::write(corpus.join(format!("seed-{i:02}")), seed)?;
        }
    }
    Ok(())
}
