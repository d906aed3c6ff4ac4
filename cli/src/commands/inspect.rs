//! `dormouse inspect`: shows an image and checks it from end to end.

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::image_file::{ImageFile, Verified, verify};
use crate::output::{self, Output};
use crate::target::device::transport_words;
use clap::Args;
use dormouse_handoff::image::{Header, Run, RunKind};
use dormouse_handoff::plan;
use dormouse_handoff::units::PAGE_SIZE;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Show an image, and check that it is whole
#[derive(Args, Debug)]
pub struct Inspect {
    /// The disk, partition or file with the image
    #[arg(value_name = "IMAGE-OR-DEVICE")]
    pub image: PathBuf,

    /// List the runs of memory
    #[arg(long)]
    pub runs: bool,

    /// Show the writer's log
    #[arg(long)]
    pub log: bool,

    /// Do not read all of it to check it
    #[arg(long)]
    pub no_verify: bool,
}

/// What is known of an image.
#[derive(Debug, Serialize)]
struct Description {
    path: PathBuf,
    /// Where it begins in the device or file, in bytes.
    offset: u64,
    state: &'static str,
    /// How often it may be resumed.
    kind: &'static str,
    /// Whether there is more than a header.
    has_content: bool,
    id: String,
    /// Seconds since 1970.
    created: u64,
    block_size: u32,
    /// Pages by their fate.
    pages: Pages,
    data_bytes: u64,
    /// The first byte of the data, from the image's start.
    data_offset: u64,
    wake_ups_begun: u32,
    origin: Option<Origin>,
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<RunLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

#[derive(Debug, Serialize)]
struct Pages {
    stored: u64,
    zero: u64,
    free: u64,
    excluded: u64,
    window: u64,
}

/// Where the image comes from.
#[derive(Debug, Serialize)]
struct Origin {
    kernel: String,
    memory_bytes: u64,
    window: String,
    device: String,
    serial: String,
    cpu_signature: String,
}

#[derive(Debug, Serialize)]
struct RunLine {
    first_frame: u64,
    pages: u32,
    kind: &'static str,
}

impl Inspect {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Image`] where there is none, [`Error::Io`]. Damage within an
    /// image is described and makes the exit status, but is no error.
    pub fn run(&self, output: Output) -> Result<Exit> {
        let image = ImageFile::open(&self.image)?;
        let mut description = self.describe(&image)?;
        if !self.no_verify && image.has_content() {
            match verify_with_bar(&image, output) {
                Ok(_) => description.verified = Some(true),
                Err(Error::Image { fault, .. }) => {
                    description.verified = Some(false);
                    description.damage = Some(fault.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        for line in description.lines() {
            output.say(line);
        }
        output.object(&description);
        let whole = description.damage.is_none();
        Ok(if whole { Exit::Done } else { Exit::BadImage })
    }

    fn describe(&self, image: &ImageFile) -> Result<Description> {
        let header = image.header();
        let Header { counts, .. } = *header;
        let mut damage = None;
        let mut told = |error| match error {
            Error::Image { fault, .. } => {
                damage.get_or_insert(fault.to_string());
                Ok(())
            }
            other => Err(other),
        };
        let has_content = image.has_content();
        let origin = match has_content.then(|| origin(image)).transpose() {
            Ok(origin) => origin,
            Err(error) => {
                told(error)?;
                None
            }
        };
        let runs = match (self.runs && has_content).then(|| image.runs()).transpose() {
            Ok(runs) => runs.map(|runs| runs.iter().map(RunLine::of).collect()),
            Err(error) => {
                told(error)?;
                None
            }
        };
        let log = match (self.log && has_content).then(|| image.log()).transpose() {
            Ok(log) => log,
            Err(error) => {
                told(error)?;
                None
            }
        };
        Ok(Description {
            path: self.image.clone(),
            offset: image.start(),
            state: header.state().name(),
            kind: header.kind().name(),
            has_content,
            id: header.id.iter().map(|byte| format!("{byte:02x}")).collect(),
            created: header.created,
            block_size: header.block_size,
            pages: Pages {
                stored: counts.stored,
                zero: counts.zero,
                free: counts.free,
                excluded: counts.excluded,
                window: counts.window,
            },
            data_bytes: header.data_length,
            data_offset: header.layout().data.offset,
            wake_ups_begun: image.attempts()?,
            origin,
            verified: None,
            damage,
            runs,
            log,
        })
    }
}

fn origin(image: &ImageFile) -> Result<Origin> {
    let bytes = image.plan()?;
    let plan = bytes.checked().map_err(|fault| Error::Image {
        path: PathBuf::new(),
        fault: crate::image_file::ImageError::Plan(fault),
    })?;
    Ok(Origin {
        kernel: plan::text(&plan.kernel_release).to_owned(),
        memory_bytes: plan.memory_pages() * PAGE_SIZE,
        window: plan.window().to_string(),
        device: format!(
            "{} {}",
            plan.transport().map_or("no disk", transport_words),
            plan.target.pci
        ),
        serial: plan::text(&plan.target.serial).to_owned(),
        cpu_signature: format!("{:#x}", plan.machine.cpu_signature),
    })
}

fn verify_with_bar(image: &ImageFile, output: Output) -> Result<Verified> {
    if !output.wants_progress() {
        return verify(image, |_| ());
    }
    let bar = ProgressBar::new(image.header().data_length);
    let style = ProgressStyle::with_template("checking {bar:40} {bytes}/{total_bytes} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let result = verify(image, |done| bar.set_position(done));
    bar.finish_and_clear();
    result
}

impl RunLine {
    fn of(run: &Run) -> Self {
        let kind = match RunKind::from_number(run.kind) {
            Some(RunKind::Stored) => "stored",
            Some(RunKind::Zero) => "zero",
            Some(RunKind::Free) => "free",
            Some(RunKind::Excluded) => "excluded",
            Some(RunKind::Window) => "window",
            None => "unknown",
        };
        Self { first_frame: run.start.0, pages: run.pages, kind }
    }
}

impl Description {
    fn lines(&self) -> Vec<String> {
        let size = |pages: u64| output::bytes(pages.saturating_mul(PAGE_SIZE));
        let created = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.created));
        let ago = created.and_then(|created| SystemTime::now().duration_since(created).ok());
        let Pages { stored, zero, free, excluded, window } = self.pages;
        let mut lines = vec![
            format!("{}: image {}, {} ({})", self.path.display(), self.id, self.state, self.kind),
            format!(
                "  begun     {} ({} s since 1970)",
                ago.map_or("?".into(), |ago| format!("{} ago", output::span(ago.as_secs_f64()))),
                self.created
            ),
        ];
        if self.offset != 0 {
            lines.push(format!("  lies      at byte {}", self.offset));
        }
        if let Some(origin) = &self.origin {
            lines.push(format!(
                "  comes of  Linux {}, {} of memory, CPU {}",
                origin.kernel,
                output::bytes(origin.memory_bytes),
                origin.cpu_signature
            ));
            lines.push(format!("  was for   {} {}", origin.device, origin.serial));
            lines.push(format!("  window    {}", origin.window));
        }
        lines.push(format!(
            "  stored    {} in {stored} pages, from byte {}",
            output::bytes(self.data_bytes),
            self.data_offset
        ));
        lines.push(format!(
            "  elided    {} zero, {} free, {} excluded, {} window",
            size(zero),
            size(free),
            size(excluded),
            size(window)
        ));
        lines.push(format!("  wake-ups  {} begun", self.wake_ups_begun));
        lines.push(match (&self.damage, self.verified) {
            (Some(damage), _) => format!("  DAMAGED   {damage}"),
            (None, Some(true)) => "  verified  every checksum holds".to_owned(),
            (None, _) if !self.has_content => "  verified  no: there is only a header".to_owned(),
            (None, _) => "  verified  no".to_owned(),
        });
        for run in self.runs.iter().flatten() {
            let bytes = output::bytes(u64::from(run.pages) * PAGE_SIZE);
            lines.push(format!(
                "  {:#14x} {:>9} pages {:<9} {bytes}",
                run.first_frame * PAGE_SIZE,
                run.pages,
                run.kind
            ));
        }
        if let Some(log) = &self.log {
            lines.extend(log.lines().map(|line| format!("  | {line}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_file::tests::{file, image};
    use dormouse_handoff::image::{Kind, State};
    use std::path::Path;

    fn inspect(path: &Path) -> Result<Exit> {
        let image = path.to_owned();
        Inspect { image, runs: true, log: true, no_verify: false }.run(Output::new(true))
    }

    #[test]
    fn a_whole_image_is_good_and_a_damaged_one_is_not() {
        let mut bytes = image(State::Valid);
        assert_eq!(inspect(file(&bytes).path()).unwrap(), Exit::Done);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(inspect(file(&bytes).path()).unwrap(), Exit::BadImage);
    }

    #[test]
    fn a_header_alone_is_no_damage() {
        use zerocopy::IntoBytes;
        let mut bytes = vec![0; 1 << 20];
        let header = Header::begin([3; 16], Kind::Once, 512, 1, 0).with_state(State::Discarded);
        bytes[..512].copy_from_slice(header.as_bytes());
        assert_eq!(inspect(file(&bytes).path()).unwrap(), Exit::Done);
    }

    #[test]
    fn no_image_is_an_error_of_its_own() {
        let error = inspect(file(&[0; 8192]).path()).unwrap_err();
        assert_eq!(error.exit(), Exit::BadImage);
    }
}
