//! What a trip into the writer is for.

use dormouse_handoff::image::Kind;
use dormouse_handoff::plan::{Action, Flags};
use serde::{Deserialize, Serialize};

/// What a trip into the writer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Write an image and switch the machine off, or reset it.
    Hibernate {
        /// Reset it.
        reboot: bool,
    },
    /// Write an image, then suspend to RAM.
    Both,
    /// Suspend to RAM.
    Suspend,
    /// Write an image and go on.
    Snapshot {
        /// An image that can be woken any number of times.
        reusable: bool,
    },
    /// Do everything but sleep.
    Rehearse {
        /// Write an image, read it back and compare it.
        write: bool,
    },
}

impl Purpose {
    /// What follows the writing.
    pub const fn action(self) -> Action {
        match self {
            Self::Hibernate { reboot: false } => Action::PowerOff,
            Self::Hibernate { reboot: true } => Action::Reboot,
            Self::Both | Self::Suspend => Action::Suspend,
            Self::Snapshot { .. } | Self::Rehearse { .. } => Action::Return,
        }
    }

    /// Of which kind the image is; `None`: none is written.
    pub const fn image(self) -> Option<Kind> {
        match self {
            Self::Hibernate { .. } | Self::Both => Some(Kind::Once),
            Self::Snapshot { reusable: true } => Some(Kind::Reusable),
            Self::Snapshot { reusable: false } | Self::Rehearse { write: true } => {
                Some(Kind::Inspection)
            }
            Self::Suspend | Self::Rehearse { write: false } => None,
        }
    }

    /// What was asked for, in the word of a command.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hibernate { reboot: false } => "hibernate",
            Self::Hibernate { reboot: true } => "reboot",
            Self::Both => "both",
            Self::Suspend => "suspend",
            Self::Snapshot { .. } => "snapshot",
            Self::Rehearse { .. } => "rehearse",
        }
    }

    /// What systemd's hooks call this kind of sleep (systemd-sleep(8)).
    pub const fn systemd_name(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Both => "hybrid-sleep",
            _ => "hibernate",
        }
    }

    /// What the writer does besides.
    pub fn flags(self) -> Flags {
        match self {
            Self::Rehearse { write: true } => Flags::COMPARE,
            _ => Flags::empty(),
        }
    }

    /// Whether the machine is suspended to RAM.
    pub fn suspends(self) -> bool {
        self.action() == Action::Suspend
    }

    /// Whether the image stays on the target once the system goes on.
    pub const fn keeps_image(self) -> bool {
        matches!(self, Self::Snapshot { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_is_one_that_the_writer_takes() {
        let snapshots = [true, false].map(|reusable| Purpose::Snapshot { reusable });
        let rehearsals = [true, false].map(|write| Purpose::Rehearse { write });
        let hibernations = [true, false].map(|reboot| Purpose::Hibernate { reboot });
        let others = [Purpose::Both, Purpose::Suspend];
        for purpose in [snapshots, rehearsals, hibernations, others].concat() {
            assert!(purpose.action().allows(purpose.image()), "{purpose:?}");
            // What stays beside a running system can never be what sleeps.
            assert!(!purpose.keeps_image() || purpose.image() != Some(Kind::Once));
        }
    }
}
