//! A screen as firmware or the old kernel set it up: a linear framebuffer.

use crate::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The largest side that is believed, in pixels.
const MAX_SIDE: u32 = 1 << 14;

/// The highest address that is believed: what x86-64 can address.
const MAX_ADDRESS: u64 = 1 << 52;

/// Bytes of `screen_info`.
pub const SCREEN_INFO: usize = 64;

/// Offsets in it.
mod at {
    pub const KIND: usize = 0x0f;
    pub const WIDTH: usize = 0x12;
    pub const HEIGHT: usize = 0x14;
    pub const DEPTH: usize = 0x16;
    pub const BASE: usize = 0x18;
    pub const SIZE: usize = 0x1c;
    pub const PITCH: usize = 0x24;
    pub const RED: usize = 0x26;
    pub const GREEN: usize = 0x28;
    pub const BLUE: usize = 0x2a;
    pub const CAPABILITIES: usize = 0x36;
    pub const BASE_HIGH: usize = 0x3a;
}

/// Kinds of screens that have a framebuffer.
mod kind {
    pub const VESA: u8 = 0x23;
    pub const UEFI: u8 = 0x70;
}

/// "The base has 64 bits."
const WIDE_BASE: u32 = 1 << 1;

/// Where a colour is in a pixel.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Channel {
    /// Its lowest bit.
    pub position: u8,
    /// How many bits it has, at most 8.
    pub bits: u8,
}

/// A linear framebuffer.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Framebuffer {
    /// Physical address of the upper left pixel; 0: there is no framebuffer.
    pub address: PhysAddr,
    /// Pixels in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from one line to the next.
    pub pitch: u32,
    /// Bits of a pixel: 15, 16, 24 or 32.
    pub depth: u32,
    /// Red.
    pub red: Channel,
    /// Green.
    pub green: Channel,
    /// Blue.
    pub blue: Channel,
    /// Zero.
    pub reserved: [u8; 2],
}

/// Why a framebuffer is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its pixels have so many bits, or channels that do not fit in.
    Depth(u32),
    /// Its sides, or its lines' distance, cannot be right.
    Size,
    /// It lies beyond what can be addressed.
    Address(PhysAddr),
    /// It overlaps this memory.
    InMemory(PageRange),
}

impl core::fmt::Display for Unusable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Depth(depth) => write!(f, "its pixels have {depth} bits of an unknown form"),
            Self::Size => write!(f, "its size cannot be right"),
            Self::Address(at) => write!(f, "its address {at} cannot be right"),
            Self::InMemory(range) => write!(f, "it is said to lie in memory, at {range}"),
        }
    }
}

impl Framebuffer {
    /// Whether there is one.
    pub const fn is_there(&self) -> bool {
        self.address.0 != 0
    }

    /// Bytes of a pixel.
    pub const fn pixel_bytes(&self) -> u32 {
        self.depth.div_ceil(8)
    }

    /// Bytes of all of it.
    pub const fn bytes(&self) -> u64 {
        self.pitch as u64 * self.height as u64
    }

    /// Whether it can be drawn to: of a form that is known, and nowhere in
    /// `memory`.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, memory: impl IntoIterator<Item = PageRange>) -> Result<(), Unusable> {
        let fits = |channel: &Channel| {
            (1..=8).contains(&channel.bits)
                && u32::from(channel.position) + u32::from(channel.bits) <= self.depth
        };
        let channels = [&self.red, &self.green, &self.blue];
        if !matches!(self.depth, 15 | 16 | 24 | 32) || !channels.into_iter().all(fits) {
            return Err(Unusable::Depth(self.depth));
        }
        let side = |side| (1..=MAX_SIDE).contains(&side);
        let line = u64::from(self.width) * u64::from(self.pixel_bytes());
        if !side(self.width)
            || !side(self.height)
            || u64::from(self.pitch) < line
            || self.pitch > MAX_SIDE * 4
        {
            return Err(Unusable::Size);
        }
        let end = self.address.0.checked_add(self.bytes()).filter(|&end| end <= MAX_ADDRESS);
        let Some(end) = end.filter(|_| self.address.0 >= PAGE_SIZE) else {
            return Err(Unusable::Address(self.address));
        };
        let first = Pfn::containing(self.address);
        let own = PageRange { start: first, pages: end.div_ceil(PAGE_SIZE) - first.0 };
        let met = |range: &PageRange| range.start < own.end() && own.start < range.end();
        match memory.into_iter().find(met) {
            Some(range) => Err(Unusable::InMemory(range)),
            None => Ok(()),
        }
    }

    /// As Linux is told of it at its start: `screen_info`, the other way round.
    pub fn screen_info(&self) -> [u8; SCREEN_INFO] {
        let mut info = [0; SCREEN_INFO];
        let mut put = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
        let short = |value: u32| (value as u16).to_le_bytes();
        put(at::KIND, &[kind::UEFI]);
        put(at::WIDTH, &short(self.width));
        put(at::HEIGHT, &short(self.height));
        put(at::DEPTH, &short(self.depth));
        put(at::BASE, &(self.address.0 as u32).to_le_bytes());
        // In bytes for this kind.
        put(at::SIZE, &(self.bytes() as u32).to_le_bytes());
        put(at::PITCH, &short(self.pitch));
        for (place, channel) in
            [(at::RED, self.red), (at::GREEN, self.green), (at::BLUE, self.blue)]
        {
            put(place, &[channel.bits, channel.position]);
        }
        put(at::CAPABILITIES, &WIDE_BASE.to_le_bytes());
        put(at::BASE_HIGH, &((self.address.0 >> 32) as u32).to_le_bytes());
        info
    }

    /// The framebuffer that `screen_info` names, with which `boot_params` begins
    /// (Linux include/uapi/linux/screen_info.h); `None` where the screen shows
    /// text, or nothing.
    pub fn of_screen_info(bytes: &[u8]) -> Option<Self> {
        let kind = *bytes.get(at::KIND)?;
        if kind != kind::VESA && kind != kind::UEFI {
            return None;
        }
        let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let channel =
            |at: usize| Some(Channel { bits: *bytes.get(at)?, position: *bytes.get(at + 1)? });
        let wide = u32_at(at::CAPABILITIES)? & WIDE_BASE != 0;
        let high = if wide { u64::from(u32_at(at::BASE_HIGH)?) } else { 0 };
        let found = Self {
            address: PhysAddr(high << 32 | u64::from(u32_at(at::BASE)?)),
            width: u16_at(at::WIDTH)?.into(),
            height: u16_at(at::HEIGHT)?.into(),
            depth: u16_at(at::DEPTH)?.into(),
            pitch: u16_at(at::PITCH)?.into(),
            red: channel(at::RED)?,
            green: channel(at::GREEN)?,
            blue: channel(at::BLUE)?,
            reserved: [0; 2],
        };
        found.is_there().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usual() -> Framebuffer {
        Framebuffer {
            address: PhysAddr(0xfd00_0000),
            width: 1024,
            height: 768,
            pitch: 4096,
            depth: 32,
            red: Channel { position: 16, bits: 8 },
            green: Channel { position: 8, bits: 8 },
            blue: Channel { position: 0, bits: 8 },
            reserved: [0; 2],
        }
    }

    const RAM: PageRange = PageRange::new(0x100, 0x3ff00);

    #[test]
    fn what_cannot_be_right_is_left_alone() {
        assert_eq!(usual().check([RAM]), Ok(()));
        type Change = fn(&mut Framebuffer);
        let changes: [(Change, Unusable); 6] = [
            (|f| f.depth = 8, Unusable::Depth(8)),
            (|f| f.red.bits = 9, Unusable::Depth(32)),
            (|f| f.blue.position = 25, Unusable::Depth(32)),
            (|f| f.pitch = 4095, Unusable::Size),
            (|f| f.address = PhysAddr(0x3fff_f000), Unusable::InMemory(RAM)),
            (|f| f.address = PhysAddr(u64::MAX), Unusable::Address(PhysAddr(u64::MAX))),
        ];
        for (change, why) in changes {
            let mut framebuffer = usual();
            change(&mut framebuffer);
            assert_eq!(framebuffer.check([RAM]), Err(why));
        }
    }

    #[test]
    fn a_framebuffer_that_begins_below_memory_and_reaches_into_it_is_in_memory() {
        let above = PageRange::new(0xfd100, 16);
        assert_eq!(usual().check([RAM, above]), Err(Unusable::InMemory(above)));
        assert_eq!(usual().check([PageRange::new(0xfd300, 16)]), Ok(()));
    }

    /// As Linux 6.1's stub filled it in on OVMF.
    fn screen_info() -> [u8; 64] {
        let mut info = [0; 64];
        info[0x0f] = 0x70;
        info[0x12..0x18].copy_from_slice(&[0x00, 0x05, 0x20, 0x03, 32, 0]);
        info[0x18..0x1c].copy_from_slice(&0xc000_0000_u32.to_le_bytes());
        info[0x24..0x2e].copy_from_slice(&[0x00, 0x14, 8, 16, 8, 8, 8, 0, 8, 24]);
        info
    }

    #[test]
    fn the_screen_of_uefi_firmware_is_read() {
        let found = Framebuffer::of_screen_info(&screen_info()).unwrap();
        let expected = Framebuffer {
            address: PhysAddr(0xc000_0000),
            width: 1280,
            height: 800,
            pitch: 5120,
            ..usual()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_base_above_4_gib_has_its_upper_half_elsewhere() {
        let mut info = screen_info();
        info[0x3a] = 0x40;
        let address = |info: &[u8]| Framebuffer::of_screen_info(info).unwrap().address;
        assert_eq!(address(&info), PhysAddr(0xc000_0000));
        info[0x36] = 2;
        assert_eq!(address(&info), PhysAddr(0x40_c000_0000));
    }

    #[test]
    fn what_linux_is_told_is_what_it_reads() {
        let framebuffer = Framebuffer { address: PhysAddr(0x40_c000_0000), ..usual() };
        assert_eq!(Framebuffer::of_screen_info(&framebuffer.screen_info()), Some(framebuffer));
    }

    #[test]
    fn a_screen_of_text_is_none() {
        let mut info = screen_info();
        info[0x0f] = 1;
        assert_eq!(Framebuffer::of_screen_info(&info), None);
        assert_eq!(Framebuffer::of_screen_info(&screen_info()[..0x38]), None);
    }

    proptest! {
        #[test]
        fn whatever_passes_ends_within_reach(bytes in any::<[u8; 32]>()) {
            let framebuffer = Framebuffer::read_from_bytes(&bytes[..]).unwrap();
            if framebuffer.check([RAM]).is_ok() {
                prop_assert!(framebuffer.address.0 + framebuffer.bytes() <= MAX_ADDRESS);
            }
            let _ = Framebuffer::of_screen_info(&bytes);
        }
    }
}
