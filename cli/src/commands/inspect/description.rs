//! What is known of an image.

use crate::error::{Error, Result};
use crate::image_file::{ImageError, ImageFile};
use crate::output;
use crate::target::device::transport_words;
use dormouse_handoff::image::{Counts, Run, RunKind};
use dormouse_handoff::plan;
use dormouse_handoff::units::PAGE_SIZE;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// An image in words and numbers.
#[derive(Debug, Serialize)]
pub struct Description {
    path: PathBuf,
    /// Where it begins in the device or file, in bytes.
    offset: u64,
    state: &'static str,
    /// How often it may be resumed.
    kind: &'static str,
    /// Of a reusable snapshot: which one of its series it is; else 0.
    generation: u32,
    /// Of a reusable snapshot: its series; else 0.
    series: u32,
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
    /// Begun one after the other without getting through.
    wake_ups_begun: u32,
    /// That got through.
    woken: u64,
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
    cpu_vendor: String,
    /// CPUID leaf 1: EAX.
    cpu_signature: String,
}

#[derive(Debug, Serialize)]
struct RunLine {
    first_frame: u64,
    pages: u32,
    kind: &'static str,
}

impl Description {
    /// Describes an image, with its runs and its log where they are wanted.
    ///
    /// # Errors
    /// [`Error::Io`]. Damage is described.
    pub fn of(image: &ImageFile, runs: bool, log: bool) -> Result<Self> {
        let header = image.header();
        let has_content = image.has_content();
        let attempts = image.attempts()?;
        let mut description = Self {
            path: image.path().to_owned(),
            offset: image.start(),
            state: header.state().name(),
            kind: header.kind().name(),
            generation: header.generation,
            series: header.series,
            has_content,
            id: header.id.iter().map(|byte| format!("{byte:02x}")).collect(),
            created: header.created,
            block_size: header.block_size,
            pages: header.counts.into(),
            data_bytes: header.data_length,
            data_offset: header.layout().data.offset,
            wake_ups_begun: attempts.begun,
            woken: attempts.woken,
            origin: None,
            verified: None,
            damage: None,
            runs: None,
            log: None,
        };
        if has_content {
            description.origin = description.unless_damaged(Origin::of(image))?;
        }
        if has_content && runs {
            let lines = image.runs().map(|run| run.map(|run| RunLine::of(&run))).collect();
            description.runs = description.unless_damaged(lines)?;
        }
        if has_content && log {
            description.log = description.unless_damaged(image.log())?;
        }
        Ok(description)
    }

    /// Takes what checking all of it said.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn take_verdict(&mut self, verdict: Result<()>) -> Result<()> {
        self.verified = Some(self.unless_damaged(verdict)?.is_some());
        Ok(())
    }

    /// Whether something is wrong with it.
    pub fn is_damaged(&self) -> bool {
        self.damage.is_some()
    }

    /// A part of it; the first damage is remembered.
    fn unless_damaged<T>(&mut self, part: Result<T>) -> Result<Option<T>> {
        match part {
            Ok(part) => Ok(Some(part)),
            Err(Error::Image { fault, .. }) => {
                self.damage.get_or_insert(fault.to_string());
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// The lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("{}: image {}, {} ({})", self.path.display(), self.id, self.state, self.kind),
            format!("  begun     {}", self.begun()),
        ];
        if self.generation != 0 {
            lines
                .push(format!("  is        generation {} of {:08x}", self.generation, self.series));
        }
        if self.offset != 0 {
            lines.push(format!("  lies      at byte {}", self.offset));
        }
        lines.extend(self.origin.iter().flat_map(Origin::lines));
        lines.push(format!(
            "  stored    {} in {} pages, from byte {}",
            output::bytes(self.data_bytes),
            self.pages.stored,
            self.data_offset
        ));
        lines.push(format!("  left out  {}", self.pages.left_out()));
        lines.push(format!(
            "  wake-ups  {} that got through; {} begun since and cut off",
            self.woken, self.wake_ups_begun
        ));
        lines.push(match (&self.damage, self.verified) {
            (Some(damage), _) => format!("  DAMAGED   {damage}"),
            (None, Some(true)) => "  verified  every checksum holds".to_owned(),
            (None, _) if !self.has_content => "  verified  no: there is only a header".to_owned(),
            (None, _) => "  verified  no".to_owned(),
        });
        lines.extend(self.runs.iter().flatten().map(RunLine::line));
        if let Some(log) = &self.log {
            lines.extend(log.lines().map(|line| format!("  | {line}")));
        }
        lines
    }

    fn begun(&self) -> String {
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.created));
        let date = output::date(self.created);
        match time.and_then(|time| SystemTime::now().duration_since(time).ok()) {
            Some(ago) => format!("{date}, {} ago", output::span(ago.as_secs_f64())),
            None => date,
        }
    }
}

impl From<Counts> for Pages {
    fn from(counts: Counts) -> Self {
        let Counts { stored, zero, free, excluded, window } = counts;
        Self { stored, zero, free, excluded, window }
    }
}

impl Pages {
    fn left_out(&self) -> String {
        let size = |pages: u64| output::bytes(pages.saturating_mul(PAGE_SIZE));
        format!(
            "{} zero, {} free, {} excluded, {} window",
            size(self.zero),
            size(self.free),
            size(self.excluded),
            size(self.window)
        )
    }
}

impl Origin {
    fn of(image: &ImageFile) -> Result<Self> {
        let bytes = image.plan()?;
        let plan = bytes.checked().map_err(|fault| image.failed(ImageError::Plan(fault)))?;
        let vendor = plan.machine.cpu_vendor.map(u32::to_le_bytes);
        Ok(Self {
            kernel: plan::text(&plan.kernel_release).to_owned(),
            memory_bytes: plan.memory_pages() * PAGE_SIZE,
            window: plan.window().to_string(),
            device: format!(
                "{} {}",
                plan.transport().map_or("no disk", transport_words),
                plan.target.address()
            ),
            serial: plan::text(&plan.target.serial).to_owned(),
            cpu_vendor: String::from_utf8_lossy(vendor.as_flattened()).into_owned(),
            cpu_signature: format!("{:#x}", plan.machine.cpu_signature),
        })
    }

    fn lines(&self) -> [String; 3] {
        [
            format!(
                "  comes of  Linux {}, {} of memory, {} {}",
                self.kernel,
                output::bytes(self.memory_bytes),
                self.cpu_vendor,
                self.cpu_signature
            ),
            format!("  was for   {} {}", self.device, self.serial),
            format!("  window    {}", self.window),
        ]
    }
}

impl RunLine {
    fn of(run: &Run) -> Self {
        let kind = RunKind::from_number(run.kind).map_or("unknown", RunKind::name);
        Self { first_frame: run.start.0, pages: run.pages, kind }
    }

    fn line(&self) -> String {
        let bytes = output::bytes(u64::from(self.pages) * PAGE_SIZE);
        let address = self.first_frame.saturating_mul(PAGE_SIZE);
        format!("  {address:#14x} {:>9} pages {:<9} {bytes}", self.pages, self.kind)
    }
}
