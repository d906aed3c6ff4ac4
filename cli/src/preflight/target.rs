//! Looking at the target: is it the right kind, large enough, and free?

use super::Finding;
use crate::error::{Error, Result};
use crate::output;
use crate::system::System;
use crate::target::device::transport_words;
use crate::target::direct::Direct;
use crate::target::usage::{self, Use};
use crate::target::{Content, Device, place};
use dormouse_handoff::checksum::Nonce;
use dormouse_handoff::image::Layout;
use std::path::{Path, PathBuf};

/// A target that was looked at.
#[derive(Debug)]
pub struct SurveyedTarget {
    /// Which device it is.
    pub device: Device,
    /// Who uses it.
    pub uses: Vec<Use>,
    /// What lies on it.
    pub content: Content,
    /// Whether the reader looks for an image there.
    pub is_looked_at: bool,
}

impl SurveyedTarget {
    /// Looks at the device at `path`, without changing it.
    ///
    /// # Errors
    /// [`Error::Target`] where it is no target, [`Error::Io`].
    pub fn look(system: &System, path: &Path) -> Result<Self> {
        let device = Device::at(system, path)
            .map_err(|fault| Error::Target { path: path.to_owned(), fault })?;
        let uses = usage::uses(system, &device);
        let content = Content::of(&device, &Direct::reading(path)?)?;
        let is_looked_at = place::is_looked_at(system, &device)?;
        Ok(Self { device, uses, content, is_looked_at })
    }

    /// Who uses it in a way that cannot be ended for the sake of an image.
    pub fn obstacle(&self) -> Option<Finding> {
        let subject = "target-in-use";
        self.uses.iter().find_map(|one| match one {
            Use::Mounted(point) => Some(Finding::refused(
                subject,
                format!("it is mounted at {point}"),
                "choose another device, or unmount it",
            )),
            Use::Held(holder) => Some(Finding::refused(
                subject,
                format!("it is part of {holder} (LVM, RAID or dm-crypt)"),
                "choose another device",
            )),
            Use::Partition(name) => Some(Finding::refused(
                subject,
                format!("its partition {name} is in use"),
                "name a partition of it that is not in use",
            )),
            Use::Swap(_) => None,
        })
    }
}

/// Everything about a target that was looked at, for an image of `pages` pages
/// of memory.
pub fn findings(
    looked: Result<SurveyedTarget>,
    pages: Option<u64>,
    replaces: Option<Nonce>,
) -> (Option<SurveyedTarget>, Vec<Finding>) {
    let target = match looked {
        Ok(target) => target,
        Err(error) => {
            let advice = error.advice().unwrap_or("choose another device".into());
            return (None, vec![Finding::refused("target", error.to_string(), advice)]);
        }
    };
    let mut findings = vec![identity(&target)];
    findings.extend(unseen(&target));
    findings.push(target.obstacle().unwrap_or_else(|| free_or_swap(&target)));
    findings.extend(pages.map(|pages| capacity(&target.device, pages)));
    findings.push(content(&target, replaces));
    findings.push(secrets());
    (Some(target), findings)
}

fn identity(target: &SurveyedTarget) -> Finding {
    let Device { path, transport, address, serial, .. } = &target.device;
    let transport = transport_words(*transport);
    let serial = if serial.is_empty() { "no serial number" } else { serial };
    Finding::good("target", format!("{}: {transport} {address}, {serial}", path.display()))
}

/// An image that the reader does not find would never be woken.
fn unseen(target: &SurveyedTarget) -> Option<Finding> {
    let what = "an image there would never be found: the reader, which reads MBR and GPT by itself, \
                sees no partition that begins there";
    let advice = "choose another partition, or a whole disk; if the partition table was changed just \
                  now, have Linux read it again (`partprobe`)";
    (!target.is_looked_at).then(|| Finding::refused("target-partition", what, advice))
}

fn free_or_swap(target: &SurveyedTarget) -> Finding {
    let subject = "target-in-use";
    match usage::active_swap(&target.uses) {
        Some(swap) if swap.used > 0 => Finding::note(
            subject,
            format!(
                "{} is swapped to ({} in use); it will be swapped off",
                swap.path,
                output::bytes(swap.used)
            ),
        ),
        Some(swap) => {
            Finding::note(subject, format!("{} is swapped to; it will be swapped off", swap.path))
        }
        None => Finding::good(subject, "nobody uses it"),
    }
}

fn capacity(device: &Device, pages: u64) -> Finding {
    let subject = "target-size";
    let needed = Layout::for_pages(pages).total();
    let there = device.bytes();
    if there >= needed {
        return Finding::good(
            subject,
            format!("{}, at most {} needed", output::bytes(there), output::bytes(needed)),
        );
    }
    Finding::refused(
        subject,
        format!("it holds {there} bytes, and the image may need {needed}"),
        format!("choose a device of at least {}", output::bytes(needed)),
    )
}

fn content(target: &SurveyedTarget, replaces: Option<Nonce>) -> Finding {
    let subject = "target-content";
    let words = target.content.words();
    if target.content.is_free_for(replaces) {
        return Finding::good(subject, format!("{words} on it"));
    }
    Finding::refused(subject, format!("{words} on it"), target.content.advice(&target.device.path))
}

/// Beside another sleeping system's image this one's would not be woken, and what
/// gives stale images up at the next start would give up both.
pub fn other_images(asleep: &[PathBuf]) -> Option<Finding> {
    let first = asleep.first()?.display();
    Some(Finding::refused(
        "other-images",
        format!("another system sleeps on {first}: of two, the reader wakes neither"),
        format!("wake that one first, or give it up with `dormouse discard {first}`"),
    ))
}

/// What lies in memory will lie on the target: the target is a plain disk or
/// partition, and images are not sealed.
fn secrets() -> Finding {
    Finding::note(
        "target-secrets",
        "keys and all else in memory will lie there unencrypted; `hibernate --wipe` asks the disk \
         to forget them after the wake-up",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::swaps::Swap;
    use crate::preflight::Verdict;
    use dormouse_handoff::extents::Extent;
    use dormouse_handoff::plan::{PciAddress, Transport};

    fn device(bytes: u64) -> Device {
        Device {
            path: "/dev/vda".into(),
            name: "vda".into(),
            disk: "vda".into(),
            number: (254, 0),
            transport: Transport::VirtioBlk,
            unit: 0,
            address: PciAddress::default().into(),
            block_size: 512,
            disk_blocks: bytes / 512,
            serial: String::new(),
            extent: Extent { blocks: bytes / 512, ..Extent::default() },
        }
    }

    fn target(uses: Vec<Use>, content: Content) -> SurveyedTarget {
        SurveyedTarget { device: device(1 << 30), uses, content, is_looked_at: true }
    }

    #[test]
    fn the_target_must_hold_all_memory_and_the_tables() {
        let pages = 1 << 18;
        let needed = Layout::for_pages(pages).total();
        assert_eq!(capacity(&device(needed), pages).verdict, Verdict::Good);
        let finding = capacity(&device(needed - 4096), pages);
        assert_eq!(finding.verdict, Verdict::Refused);
        assert!(finding.advice.unwrap().contains("at least 1.1 GB"));
    }

    #[test]
    fn swap_in_use_is_a_note_and_a_mount_is_in_the_way() {
        let swap = Use::Swap(Swap { path: "/dev/vda".into(), used: 4096, priority: -2 });
        let swapped = target(vec![swap], Content::Swap);
        assert_eq!(swapped.obstacle(), None);
        assert_eq!(free_or_swap(&swapped).verdict, Verdict::Note);
        let mounted = target(vec![Use::Mounted("/srv".into())], Content::Blank);
        assert!(mounted.obstacle().unwrap().text.contains("mounted at /srv"));
    }

    #[test]
    fn a_target_where_the_reader_would_find_nothing_is_refused() {
        let seen = target(vec![], Content::Swap);
        assert_eq!(unseen(&seen), None);
        let (_, found) = findings(Ok(SurveyedTarget { is_looked_at: false, ..seen }), None, None);
        let refused: Vec<&Finding> =
            found.iter().filter(|f| f.verdict == Verdict::Refused).collect();
        assert!(matches!(refused[..], [one] if one.text.contains("never be found")), "{found:?}");
    }

    #[test]
    fn foreign_data_is_never_overwritten() {
        let finding = content(&target(vec![], Content::Other("an XFS file system")), None);
        assert_eq!(finding.verdict, Verdict::Refused);
        assert!(finding.advice.unwrap().contains("dormouse prepare /dev/vda --erase"));
    }
}
