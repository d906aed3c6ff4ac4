//! AML's bytes (ACPI 6.5 §20.2).

use super::Obstacle;
use alloc::vec::Vec;

/// Bytes that are read one after the other.
#[derive(Clone, Copy)]
pub struct Stream<'a>(pub &'a [u8]);

/// A name as it is written: how many scopes up from here, or from the root, and
/// its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// From the root.
    pub absolute: bool,
    /// Scopes up.
    pub up: usize,
    /// The parts.
    pub parts: Vec<[u8; 4]>,
}

impl<'a> Stream<'a> {
    /// The next byte, which stays.
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Obstacle> {
        let (&first, rest) = self.0.split_first().ok_or(Obstacle::Damaged)?;
        self.0 = rest;
        Ok(first)
    }

    /// The next bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Obstacle> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Obstacle::Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A number of so many bytes.
    pub fn number(&mut self, bytes: usize) -> Result<u64, Obstacle> {
        let mut wide = [0; 8];
        wide.get_mut(..bytes).ok_or(Obstacle::Damaged)?.copy_from_slice(self.bytes(bytes)?);
        Ok(u64::from_le_bytes(wide))
    }

    /// An operation's code: one byte, or two with the prefix 0x5b.
    pub fn operation(&mut self) -> Result<u16, Obstacle> {
        match self.byte()? {
            0x5b => Ok(0x5b00 | u16::from(self.byte()?)),
            code => Ok(code.into()),
        }
    }

    /// A package length as it is written, and how many bytes that took (§20.2.4).
    pub fn length(&mut self) -> Result<(usize, usize), Obstacle> {
        let lead = self.byte()?;
        let further = usize::from(lead >> 6);
        if further == 0 {
            return Ok((usize::from(lead & 0x3f), 1));
        }
        let high = self.number(further)? as usize;
        Ok((high << 4 | usize::from(lead & 0xf), 1 + further))
    }

    /// What a package length encloses.
    pub fn enclosed(&mut self) -> Result<Stream<'a>, Obstacle> {
        let (length, own) = self.length()?;
        let inside = length.checked_sub(own).ok_or(Obstacle::Damaged)?;
        Ok(Stream(self.bytes(inside)?))
    }

    /// Whether a name comes next.
    pub fn at_name(&self) -> bool {
        self.peek().is_some_and(|b| matches!(b, b'\\' | b'^' | b'_' | b'A'..=b'Z' | 0x2e | 0x2f))
    }

    /// A name (§20.2.2).
    pub fn path(&mut self) -> Result<Path, Obstacle> {
        let mut path = Path { absolute: false, up: 0, parts: Vec::new() };
        if self.peek() == Some(b'\\') {
            self.byte()?;
            path.absolute = true;
        }
        while self.peek() == Some(b'^') {
            self.byte()?;
            path.up += 1;
        }
        let count = match self.peek() {
            Some(0) => {
                self.byte()?;
                0
            }
            Some(0x2e) => {
                self.byte()?;
                2
            }
            Some(0x2f) => {
                self.byte()?;
                self.byte()?.into()
            }
            _ => 1,
        };
        for _ in 0..count {
            path.parts.push(self.part()?);
        }
        Ok(path)
    }

    /// A part of a name.
    pub fn part(&mut self) -> Result<[u8; 4], Obstacle> {
        let part: [u8; 4] = self.bytes(4)?.try_into().map_err(|_| Obstacle::Damaged)?;
        let lead = matches!(part[0], b'A'..=b'Z' | b'_');
        let rest = part[1..].iter().all(|b| matches!(b, b'A'..=b'Z' | b'_' | b'0'..=b'9'));
        if lead && rest { Ok(part) } else { Err(Obstacle::Damaged) }
    }

    /// An integer constant that comes next; nothing is taken where none does.
    pub fn constant(&mut self) -> Result<Option<u64>, Obstacle> {
        let mut ahead = *self;
        let value = match ahead.byte()? {
            0x00 => 0,
            0x01 => 1,
            0xff => u64::MAX,
            0x0a => ahead.number(1)?,
            0x0b => ahead.number(2)?,
            0x0c => ahead.number(4)?,
            0x0e => ahead.number(8)?,
            _ => return Ok(None),
        };
        *self = ahead;
        Ok(Some(value))
    }
}
