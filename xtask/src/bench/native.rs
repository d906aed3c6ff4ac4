//! The path's steps on the host's own processor, measured by Criterion.

use crate::build::cargo;
use crate::error::Error;
use crate::{paths, shell};
use dormouse_tests::bench::Native;
use std::fs;
use std::path::Path;

/// The package whose `benches` folder has the steps.
const PACKAGE: &str = "dormouse-transfer";

/// The group of benchmarks, which Criterion makes a folder of.
const GROUP: &str = "page";

/// Runs the benchmarks; GB/s of each.
pub fn measure(quick: bool) -> Result<Vec<Native>, Error> {
    let mut command = cargo("bench");
    command.args(["-p", PACKAGE, "--bench", "path", "--", "--noplot"]);
    if quick {
        command.arg("--quick");
    }
    // The report alone is on standard output.
    shell::run(command.stdout(std::io::stderr()))?;
    let folder = paths::target().join("criterion").join(GROUP);
    let entries = fs::read_dir(&folder).map_err(Error::file("reading", &folder))?;
    let mut all = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let file = entry.path().join("new/estimates.json");
        if file.exists() {
            let stage = entry.file_name().to_string_lossy().into_owned();
            all.push(Native { stage, gb_s: 4096.0 / nanoseconds(&file)? });
        }
    }
    all.sort_by(|a, b| a.stage.cmp(&b.stage));
    Ok(all)
}

/// The mean time of one page.
fn nanoseconds(file: &Path) -> Result<f64, Error> {
    let text = fs::read_to_string(file).map_err(Error::file("reading", file))?;
    let parsed = serde_json::from_str::<serde_json::Value>(&text).ok();
    let mean = parsed.and_then(|estimates| estimates["mean"]["point_estimate"].as_f64());
    mean.ok_or_else(|| Error::Bench(vec![format!("{} has no mean", file.display())]))
}
