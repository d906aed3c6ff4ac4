//! Commands of an ATA disk (ATA/ATAPI-8 ACS), and what it says of errors.

use super::spec::{CommandFis, DeviceStatus};
use crate::queue::Direction;
use alloc::format;
use alloc::string::String;
use dormouse_handoff::units::Lba;

/// Most blocks in a command.
pub const MOST_BLOCKS: u32 = 1 << 16;

/// A command, as far as this driver has use for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtaCommand {
    /// IDENTIFY DEVICE: 512 bytes about the disk.
    Identify,
    /// READ DMA EXT or WRITE DMA EXT.
    Move(Direction, Lba, u32),
    /// READ FPDMA QUEUED or WRITE FPDMA QUEUED.
    MoveQueued(Direction, Lba, u32),
    /// FLUSH CACHE EXT.
    Flush,
    /// STANDBY IMMEDIATE: heads parked, motor off.
    Standby,
}

impl AtaCommand {
    /// What errors call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Move(Direction::Read, ..) | Self::MoveQueued(Direction::Read, ..) => "read",
            Self::Move(Direction::Write, ..) | Self::MoveQueued(Direction::Write, ..) => "write",
            Self::Flush => "flush",
            Self::Standby => "standby",
        }
    }

    /// The first block, where there is one.
    pub fn lba(self) -> Option<Lba> {
        match self {
            Self::Move(_, lba, _) | Self::MoveQueued(_, lba, _) => Some(lba),
            Self::Identify | Self::Flush | Self::Standby => None,
        }
    }

    /// Whether data goes from memory to the disk.
    pub fn writes(self) -> bool {
        matches!(self, Self::Move(Direction::Write, ..) | Self::MoveQueued(Direction::Write, ..))
    }

    /// Time for the command, in milliseconds. What moves the whole cache or
    /// the motor takes longer.
    pub fn limit_ms(self) -> u64 {
        match self {
            Self::Identify => 10_000,
            Self::Move(..) | Self::MoveQueued(..) | Self::Standby => 30_000,
            Self::Flush => 60_000,
        }
    }

    /// The command as it is sent from slot `slot`. Addresses have at most 48
    /// bits and counts at most 16, where all zeros is [`MOST_BLOCKS`].
    pub fn fis(self, slot: u32) -> CommandFis {
        let empty = CommandFis {
            kind: CommandFis::KIND,
            flags: CommandFis::IS_COMMAND,
            ..CommandFis::default()
        };
        let moving = |command, Lba(lba)| {
            let [b0, b1, b2, b3, b4, b5, ..] = u64::to_le_bytes(lba);
            let (lba_low, lba_high) = ([b0, b1, b2], [b3, b4, b5]);
            CommandFis { command, device: CommandFis::LBA, lba_low, lba_high, ..empty }
        };
        match self {
            Self::Identify => CommandFis { command: 0xec, ..empty },
            Self::Flush => CommandFis { command: 0xea, ..empty },
            Self::Standby => CommandFis { command: 0xe0, ..empty },
            Self::Move(direction, lba, blocks) => {
                let command = if direction == Direction::Read { 0x25 } else { 0x35 };
                CommandFis { count: (blocks as u16).to_le_bytes(), ..moving(command, lba) }
            }
            Self::MoveQueued(direction, lba, blocks) => {
                let command = if direction == Direction::Read { 0x60 } else { 0x61 };
                // The count is where the feature is, the tag where the count is.
                let [feature_low, feature_high] = (blocks as u16).to_le_bytes();
                let count = [(slot as u8) << 3, 0];
                CommandFis { feature_low, feature_high, count, ..moving(command, lba) }
            }
        }
    }
}

/// The device's status and error registers, from PxTFD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskFile(pub u32);

impl TaskFile {
    /// The status register.
    pub fn status(self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.0 as u8)
    }

    /// The error register; it means something if the status has ERR.
    pub fn error(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Whether the device can take a command.
    pub fn is_ready(self) -> bool {
        !self.status().intersects(DeviceStatus::BSY | DeviceStatus::DRQ)
    }

    /// Both registers in words.
    pub fn words(self) -> String {
        let status = self.status();
        let kind = if status.contains(DeviceStatus::DF) {
            "device fault"
        } else if status.contains(DeviceStatus::ERR) {
            error_words(self.error())
        } else {
            "no error of the disk's own"
        };
        format!("{kind} (status {:#04x}, error {:#04x})", status.bits(), self.error())
    }
}

/// The gravest bit of the error register (ATA/ATAPI-8 ACS, §6.3).
fn error_words(error: u8) -> &'static str {
    const WORDS: [(u8, &str); 4] = [
        (1 << 7, "transfer damaged on the link (ICRC)"),
        (1 << 6, "uncorrectable data (UNC)"),
        (1 << 4, "no such block (IDNF)"),
        (1 << 2, "command aborted (ABRT)"),
    ];
    let known = WORDS.iter().find(|(bit, _)| error & bit != 0);
    known.map_or("unknown error", |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    const LBA: Lba = Lba(0x0605_0403_0201);

    #[test]
    fn a_write_carries_address_and_count() {
        let fis = AtaCommand::Move(Direction::Write, LBA, 0x0807).fis(5);
        let expected = [0x27, 0x80, 0x35, 0, 1, 2, 3, 0x40, 4, 5, 6, 0, 7, 8, 0, 0, 0, 0, 0, 0];
        assert_eq!(fis.as_bytes(), expected);
    }

    #[test]
    fn a_queued_read_carries_its_tag() {
        let fis = AtaCommand::MoveQueued(Direction::Read, LBA, 0x0807).fis(5);
        let expected =
            [0x27, 0x80, 0x60, 7, 1, 2, 3, 0x40, 4, 5, 6, 8, 5 << 3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(fis.as_bytes(), expected);
    }

    #[test]
    fn the_largest_count_is_all_zeros() {
        assert_eq!(AtaCommand::Move(Direction::Read, LBA, MOST_BLOCKS).fis(0).count, [0, 0]);
    }

    #[test]
    fn errors_come_with_words_and_numbers() {
        let words = |tfd| TaskFile(tfd).words();
        assert_eq!(words(0x4041), "uncorrectable data (UNC) (status 0x41, error 0x40)");
        assert_eq!(words(0x0441), "command aborted (ABRT) (status 0x41, error 0x04)");
        assert_eq!(words(0x0060), "device fault (status 0x60, error 0x00)");
        assert_eq!(words(0x0050), "no error of the disk's own (status 0x50, error 0x00)");
    }
}
