//! The memory of one port: its command list, and a table for each command.

use super::ata::AtaCommand;
use super::identify::WORDS;
use super::spec::{
    CommandFis, CommandHeader, LIST_BYTES, RECEIVED_BYTES, ScatterEntry, TABLE_ALIGNMENT,
    TABLE_SCATTER,
};
use crate::dma::DmaBuffer;
use crate::platform::{Exhausted, Platform};
use crate::queue::Segment;
use dormouse_handoff::units::PhysAddr;

/// Pieces of memory that a command's scatter list has room for.
pub const MOST_PIECES: usize = 256;

const LIST: usize = 0;
const RECEIVED: usize = LIST + LIST_BYTES;
const ANSWER: usize = RECEIVED + RECEIVED_BYTES;
const ANSWER_BYTES: usize = WORDS * 2;
const TABLES: usize = (ANSWER + ANSWER_BYTES).next_multiple_of(TABLE_ALIGNMENT);
const TABLE_BYTES: usize = TABLE_SCATTER + MOST_PIECES * ScatterEntry::SIZE;

const _: () = {
    assert!(RECEIVED.is_multiple_of(RECEIVED_BYTES));
    assert!(TABLE_BYTES.is_multiple_of(TABLE_ALIGNMENT));
};

/// All that the controller reads and writes for a port, save the old pages.
pub struct CommandMemory {
    memory: DmaBuffer,
}

impl CommandMemory {
    /// Allocates room for `slots` commands, 1 to 32.
    pub fn new(platform: &dyn Platform, slots: u32) -> Result<Self, Exhausted> {
        let bytes = TABLES + slots as usize * TABLE_BYTES;
        Ok(Self { memory: DmaBuffer::allocate(platform, bytes)? })
    }

    /// Where the controller finds the command list.
    pub fn list(&self) -> PhysAddr {
        self.memory.address(LIST)
    }

    /// Where the controller puts what the device sends.
    pub fn received(&self) -> PhysAddr {
        self.memory.address(RECEIVED)
    }

    /// Whether all of it lies below 4 GiB.
    pub fn is_low(&self) -> bool {
        self.memory.address(self.memory.bytes()).0 <= 1 << 32
    }

    /// Room for the answer to IDENTIFY DEVICE.
    pub fn answer_room(&self) -> Segment {
        Segment { address: self.memory.address(ANSWER), bytes: ANSWER_BYTES as u32 }
    }

    /// The answer to IDENTIFY DEVICE.
    pub fn answer(&self) -> [u16; WORDS] {
        self.memory.read(ANSWER)
    }

    /// Puts a command into a slot that is free. There are at most
    /// [`MOST_PIECES`] pieces.
    pub fn build(&mut self, slot: u32, command: AtaCommand, pieces: impl Iterator<Item = Segment>) {
        let table = TABLES + slot as usize * TABLE_BYTES;
        self.memory.write(table, command.fis(slot));
        let mut entries = 0;
        for piece in pieces {
            let entry = ScatterEntry {
                address: piece.address.0,
                reserved: 0,
                last_byte: piece.bytes.wrapping_sub(1),
            };
            let offset = table + TABLE_SCATTER + usize::from(entries) * ScatterEntry::SIZE;
            self.memory.write(offset, entry);
            entries += 1;
        }
        let direction = if command.writes() { CommandHeader::WRITE } else { 0 };
        let header = CommandHeader {
            flags: (CommandFis::SIZE / 4) as u16 | direction,
            entries,
            table: self.memory.address(table).0,
            ..CommandHeader::default()
        };
        self.memory.write(LIST + slot as usize * CommandHeader::SIZE, header);
    }
}
