//! Header, attempts and jump-back state.

use super::{HEADER_BYTES, Layout, Region, RunKind, TableRegion};
use crate::checksum::{self, Nonce, Seed};
use crate::mailbox::Statistics;
use crate::plan::MAX_GPE_BYTES;
use crate::units::PAGE_SIZE;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The life of an image.
///
/// ```text
///            commit            consume
/// Writing ──────────▶ Valid ─────────────▶ Consumed
///    │                  │
///    ├────── discard ───┴───────────────▶ Discarded
///    └────── commit of an image for inspection ──▶ Inert
/// ```
/// Each arrow is one write of one logical block, followed by a flush. Only
/// `Valid` is ever resumed.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being written, or a writer that was cut off.
    Writing = 1,
    /// Complete and not yet used.
    Valid = 2,
    /// The old kernel was entered from it: never again.
    Consumed = 3,
    /// Made unusable by hand or by a normal boot.
    Discarded = 4,
    /// Complete, to be looked at: never resumed.
    Inert = 5,
}

impl State {
    /// The state with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Writing),
            2 => Some(Self::Valid),
            3 => Some(Self::Consumed),
            4 => Some(Self::Discarded),
            5 => Some(Self::Inert),
            _ => None,
        }
    }

    /// The state's name in messages and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Valid => "valid",
            Self::Consumed => "consumed",
            Self::Discarded => "discarded",
            Self::Inert => "inert",
        }
    }
}

/// How often an image may be resumed.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Once: the system sleeps.
    Once = 1,
    /// Never: the system goes on beside its image.
    Inspection = 2,
    /// As often as one likes: the system writes to no disk.
    Reusable = 3,
}

impl Kind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Once),
            2 => Some(Self::Inspection),
            3 => Some(Self::Reusable),
            _ => None,
        }
    }

    /// The kind's name in messages and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Inspection => "inspection",
            Self::Reusable => "reusable",
        }
    }

    /// The state that the commit leads to.
    pub const fn committed(self) -> State {
        match self {
            Self::Once | Self::Reusable => State::Valid,
            Self::Inspection => State::Inert,
        }
    }

    /// Whether an image of this kind can ever be in `state`. A header that says
    /// otherwise is damaged in a way that its checksum does not tell.
    pub const fn can_be(self, state: State) -> bool {
        match state {
            State::Writing | State::Discarded => true,
            State::Valid => matches!(self, Self::Once | Self::Reusable),
            State::Consumed => matches!(self, Self::Once),
            State::Inert => matches!(self, Self::Inspection),
        }
    }
}

/// How a chunk's pages are stored.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are, one after the other.
    Raw = 0,
}

/// A checksummed piece of the image at a fixed offset.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Section {
    /// Bytes used.
    pub length: u64,
    /// Checksum of these bytes, seeded by the image.
    pub checksum: u64,
}

impl Section {
    /// Describes `bytes`.
    pub fn of(seed: Seed, bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, checksum: seed.checksum(bytes) }
    }

    /// Whether `bytes`, read from the image, are what was written.
    ///
    /// `bytes` may be longer (whole blocks are read).
    pub fn matches<'a>(&self, seed: Seed, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let used = bytes.get(..usize::try_from(self.length).ok()?)?;
        (seed.checksum(used) == self.checksum).then_some(used)
    }
}

/// How many pages of the old kernel's memory met which fate.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Counts {
    /// Pages whose bytes are in the image.
    pub stored: u64,
    /// Pages of zeros, kept as table entries.
    pub zero: u64,
    /// Free pages, whose contents nobody needs.
    pub free: u64,
    /// Pages that must not be touched (poisoned, offline).
    pub excluded: u64,
    /// Pages of the window, whose contents lie elsewhere in RAM.
    pub window: u64,
}

impl Counts {
    /// The number of pages of this fate.
    pub const fn of_mut(&mut self, kind: RunKind) -> &mut u64 {
        match kind {
            RunKind::Stored => &mut self.stored,
            RunKind::Zero => &mut self.zero,
            RunKind::Free => &mut self.free,
            RunKind::Excluded => &mut self.excluded,
            RunKind::Window => &mut self.window,
        }
    }

    /// All pages.
    pub const fn total(&self) -> u64 {
        self.stored + self.zero + self.free + self.excluded + self.window
    }

    /// Those whose contents matter, and had to be looked at.
    pub const fn in_use(&self) -> u64 {
        self.stored + self.zero
    }
}

/// The image's first 512 bytes.
///
/// Magic, version, state and id keep their places in every version, so that any
/// version can tell that there is an image. How the checksum is computed belongs
/// to the version: a reader takes only its own, and what it does not know it
/// does not enter.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Header {
    /// [`Header::MAGIC`].
    pub magic: [u8; 8],
    /// [`Header::VERSION`].
    pub version: u32,
    /// A [`State`] as its number.
    pub state: u32,
    /// The plan's nonce: the image's identity, and the seed of its checksums.
    pub id: Nonce,
    /// A [`Kind`] as its number.
    pub kind: u32,
    /// Bytes in a logical block of the target: 512 or 4096.
    pub block_size: u32,
    /// When the image was begun, in seconds since 1970 (UTC).
    pub created: u64,
    /// Pages that the layout was made for ([`Layout::for_pages`]).
    pub layout_pages: u64,
    /// The plan.
    pub plan: Section,
    /// The jump-back state.
    pub jump_back: Section,
    /// The kept page.
    pub kept_page: Section,
    /// The writer's log.
    pub log: Section,
    /// The run table.
    pub runs: TableRegion,
    /// The chunk table.
    pub chunks: TableRegion,
    /// Bytes of data used.
    pub data_length: u64,
    /// What became of each page.
    pub counts: Counts,
    /// The writer's pass, up to the commit.
    pub statistics: Statistics,
    /// As [`Plan::generation`](crate::plan::Plan::generation).
    pub generation: u32,
    /// As [`Plan::series`](crate::plan::Plan::series).
    pub series: u32,
    /// Zero.
    pub reserved: [u64; 31],
    /// Checksum (seed 0) of all bytes before this field.
    pub checksum: u64,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// Why bytes are not a header, or not one to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// No image: the magic is not there.
    None,
    /// The checksum does not match: torn or damaged.
    Checksum,
    /// Another version than [`Header::VERSION`].
    Version(u32),
    /// A field is out of range; its name.
    Field(&'static str),
}

impl core::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::None => write!(f, "no dormouse image"),
            Self::Checksum => write!(f, "the image header's checksum does not match"),
            Self::Version(v) => write!(
                f,
                "the image has version {v}, this program reads version {}: only the dormouse that \
                 wrote it can wake it",
                Header::VERSION
            ),
            Self::Field(name) => write!(f, "the image header's field `{name}` is out of range"),
        }
    }
}

impl Header {
    /// "This is an image."
    pub const MAGIC: [u8; 8] = *b"DORMOUSE";

    /// The layout's version.
    pub const VERSION: u32 = 2;

    /// The header of an image that is just being begun.
    pub fn begin(id: Nonce, kind: Kind, block_size: u32, created: u64, layout_pages: u64) -> Self {
        let mut header = Self::read_from_bytes(&[0; HEADER_BYTES][..])
            .unwrap_or_else(|_| unreachable!("the length is the structure's own"));
        header.magic = Self::MAGIC;
        header.version = Self::VERSION;
        header.state = State::Writing as u32;
        header.id = id;
        header.kind = kind as u32;
        header.block_size = block_size;
        header.created = created;
        header.layout_pages = layout_pages;
        header.seal();
        header
    }

    /// Sets the checksum: the last thing that happens to a header.
    pub fn seal(&mut self) {
        self.checksum = checksum::plain(&self.as_bytes()[..HEADER_BYTES - 8]);
    }

    /// The same image in another state, sealed.
    pub fn with_state(&self, state: State) -> Self {
        let mut header = *self;
        header.state = state as u32;
        header.seal();
        header
    }

    /// Reads and checks a header; `bytes` may be longer than it.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (header, _) = Self::read_from_prefix(bytes).map_err(|_| HeaderError::None)?;
        if header.magic != Self::MAGIC {
            return Err(HeaderError::None);
        }
        // First, as another version may have another checksum.
        if header.version != Self::VERSION {
            return Err(HeaderError::Version(header.version));
        }
        if header.checksum != checksum::plain(&header.as_bytes()[..HEADER_BYTES - 8]) {
            return Err(HeaderError::Checksum);
        }
        let state = State::from_number(header.state).ok_or(HeaderError::Field("state"))?;
        let kind = Kind::from_number(header.kind).ok_or(HeaderError::Field("kind"))?;
        if !kind.can_be(state) {
            return Err(HeaderError::Field("kind"));
        }
        if header.block_size != 512 && header.block_size != 4096 {
            return Err(HeaderError::Field("block_size"));
        }
        if header.layout_pages > crate::units::PageRange::MAX_PFN {
            return Err(HeaderError::Field("layout_pages"));
        }
        let layout = Layout::for_pages(header.layout_pages);
        let fits = |used: u64, room: u64| used <= room;
        if !fits(header.plan.length, crate::plan::SECTION_BYTES as u64) {
            return Err(HeaderError::Field("plan"));
        }
        if !fits(header.jump_back.length, PAGE_SIZE) {
            return Err(HeaderError::Field("jump_back"));
        }
        if !fits(header.kept_page.length, PAGE_SIZE) {
            return Err(HeaderError::Field("kept_page"));
        }
        if !fits(header.log.length, super::MAX_LOG) {
            return Err(HeaderError::Field("log"));
        }
        if !header.runs.fits(layout.runs) {
            return Err(HeaderError::Field("runs"));
        }
        if !header.chunks.fits(layout.chunks) {
            return Err(HeaderError::Field("chunks"));
        }
        if !fits(header.data_length, layout.data.length) || header.data_length % PAGE_SIZE != 0 {
            return Err(HeaderError::Field("data_length"));
        }
        let counted = [
            header.counts.stored,
            header.counts.zero,
            header.counts.free,
            header.counts.excluded,
            header.counts.window,
        ];
        if counted.iter().any(|&n| n > header.layout_pages) {
            return Err(HeaderError::Field("counts"));
        }
        Ok(header)
    }

    /// The state, which [`Header::parse`] has checked.
    pub fn state(&self) -> State {
        State::from_number(self.state).unwrap_or(State::Discarded)
    }

    /// The kind, which [`Header::parse`] has checked.
    pub fn kind(&self) -> Kind {
        Kind::from_number(self.kind).unwrap_or(Kind::Inspection)
    }

    /// The seed of all checksums in the image.
    pub fn seed(&self) -> Seed {
        Seed::of(&self.id)
    }

    /// Where everything lies.
    pub fn layout(&self) -> Layout {
        Layout::for_pages(self.layout_pages)
    }

    /// The data that is used.
    pub fn data(&self) -> Region {
        Region { offset: self.layout().data.offset, length: self.data_length }
    }
}

/// How many wake-ups of this image were begun, and what they hand on to each
/// other; in a block of its own, so that a torn count never costs the image.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Attempts {
    /// [`Attempts::MAGIC`].
    pub magic: [u8; 8],
    /// The image that is meant; another id counts as no attempt.
    pub id: Nonce,
    /// Wake-ups that were begun, one after the other, and did not get through.
    pub begun: u32,
    /// Zero.
    pub reserved: u32,
    /// Wake-ups that did get through: more than one where the image is reusable.
    pub woken: u64,
    /// What the last wake-up left for the next one's random numbers; zero before
    /// the first.
    pub carried: Carried,
    /// Checksum (seeded by the image) of all bytes before this field.
    pub checksum: u64,
}

/// Bytes that one wake-up hands to the next, so that no two are alike: worth
/// nothing as a secret, as they lie on the disk.
pub type Carried = [u8; 32];

impl Attempts {
    /// "This counts attempts."
    pub const MAGIC: [u8; 8] = *b"DORMTRYS";

    /// A count of an image that nobody has woken yet, sealed.
    pub fn new(id: Nonce, begun: u32) -> Self {
        Self::sealed(id, begun, 0, Carried::default())
    }

    fn sealed(id: Nonce, begun: u32, woken: u64, carried: Carried) -> Self {
        let mut attempts =
            Self { magic: Self::MAGIC, id, begun, reserved: 0, woken, carried, checksum: 0 };
        attempts.checksum = Seed::of(&id).checksum(&attempts.as_bytes()[..size_of::<Self>() - 8]);
        attempts
    }

    /// What the attempts block of image `id` says.
    ///
    /// A damaged block (a count that was cut off by a power failure) counts as
    /// one attempt.
    pub fn of(id: &Nonce, bytes: &[u8]) -> Self {
        let torn = Self::new(*id, 1);
        let Ok((attempts, _)) = Self::read_from_prefix(bytes) else { return torn };
        let whole = Self::sealed(*id, attempts.begun, attempts.woken, attempts.carried);
        if attempts == whole { attempts } else { torn }
    }

    /// One more wake-up is begun, with something else to hand on.
    #[must_use]
    pub fn one_more(&self, carried: Carried) -> Self {
        Self::sealed(self.id, self.begun.saturating_add(1), self.woken, carried)
    }

    /// The wake-up that was begun last got through.
    #[must_use]
    pub fn through(&self) -> Self {
        Self::sealed(self.id, 0, self.woken.saturating_add(1), self.carried)
    }
}

/// What the processor was when the old kernel called the writer, and how to
/// get back.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct JumpBack {
    /// Physical address at which the old kernel continues.
    pub entry: u64,
    /// CR0 on entry.
    pub cr0: u64,
    /// CR3 on entry: the old kernel's identity map for the jump, which is part
    /// of its memory and comes back with it.
    pub cr3: u64,
    /// CR4 on entry.
    pub cr4: u64,
    /// IA32_EFER on entry.
    pub efer: u64,
    /// IA32_PAT on entry.
    pub pat: u64,
    /// Linear address of the GDT for the return path, valid under the old
    /// kernel's page tables.
    pub gdt: u64,
    /// Bytes of that GDT minus one.
    pub gdt_limit: u64,
    /// Checksum of the program that wrote the image. What the old kernel has of
    /// it, and enters at its next jump, is that same one.
    pub program: u64,
    /// What firmware does not bring back.
    pub platform: PlatformState,
    /// IA32_APIC_BASE on entry; 0: no APIC was on.
    pub apic_base: u64,
}

/// The state of ACPI's fixed hardware when the old kernel called the writer. It
/// switches none of this on again when it comes back from a jump.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct PlatformState {
    /// 1: ACPI was on (SCI_EN of PM1 control).
    pub acpi_on: u32,
    /// PM1a enable.
    pub pm1a_enable: u16,
    /// PM1b enable.
    pub pm1b_enable: u16,
    /// The enable registers of GPE block 0.
    pub gpe0_enable: [u8; MAX_GPE_BYTES],
    /// The enable registers of GPE block 1.
    pub gpe1_enable: [u8; MAX_GPE_BYTES],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header::begin([3; 16], Kind::Once, 512, 1_800_000_000, 1 << 18)
    }

    #[test]
    fn a_header_survives_the_disk() {
        let valid = header().with_state(State::Valid);
        assert_eq!(Header::parse(valid.as_bytes()), Ok(valid));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes: Vec<u8> = header().as_bytes().to_vec();
        // Miri is slow.
        for bit in (0..bytes.len() * 8).step_by(if cfg!(miri) { 397 } else { 1 }) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn fields_out_of_range_are_refused_even_when_sealed() {
        let mut h = header();
        h.data_length = h.layout().data.length + 4096;
        h.seal();
        assert_eq!(Header::parse(h.as_bytes()), Err(HeaderError::Field("data_length")));
        let mut h = header();
        h.version = 1;
        h.seal();
        assert_eq!(Header::parse(h.as_bytes()), Err(HeaderError::Version(1)));
        // Which may have another checksum.
        h.checksum ^= 1;
        assert_eq!(Header::parse(h.as_bytes()), Err(HeaderError::Version(1)));
        let mut h = header();
        h.layout_pages = u64::MAX;
        h.seal();
        assert_eq!(Header::parse(h.as_bytes()), Err(HeaderError::Field("layout_pages")));
    }

    #[test]
    fn no_change_of_one_field_makes_an_image_resumable() {
        // An image beside a running system: neither its kind nor its state alone
        // makes it one to be woken, even where somebody sealed the change.
        let inspection = Header::begin([3; 16], Kind::Inspection, 512, 0, 1);
        let inert = inspection.with_state(State::Inert);
        assert_eq!(Header::parse(inert.as_bytes()), Ok(inert));
        for state in [State::Valid, State::Consumed] {
            let changed = inspection.with_state(state);
            assert_eq!(Header::parse(changed.as_bytes()), Err(HeaderError::Field("kind")));
        }
        for kind in [Kind::Once, Kind::Reusable] {
            let mut changed = inert;
            changed.kind = kind as u32;
            changed.seal();
            assert_eq!(Header::parse(changed.as_bytes()), Err(HeaderError::Field("kind")));
        }
        let consumed =
            Header::begin([3; 16], Kind::Reusable, 512, 0, 1).with_state(State::Consumed);
        assert_eq!(Header::parse(consumed.as_bytes()), Err(HeaderError::Field("kind")));
    }

    #[test]
    fn attempts_of_another_image_or_torn_ones_count_as_one() {
        let mine = Attempts::new([3; 16], 2);
        assert_eq!(Attempts::of(&[3; 16], mine.as_bytes()), mine);
        assert_eq!(Attempts::of(&[4; 16], mine.as_bytes()), Attempts::new([4; 16], 1));
        assert_eq!(Attempts::of(&[3; 16], &[]), Attempts::new([3; 16], 1));
    }

    #[test]
    fn what_is_handed_on_outlives_the_count() {
        let begun = Attempts::new([3; 16], 0).one_more([7; 32]);
        assert_eq!((begun.begun, begun.woken), (1, 0));
        let through = begun.through();
        assert_eq!((through.begun, through.woken, through.carried), (0, 1, [7; 32]));
        assert_eq!(Attempts::of(&[3; 16], through.as_bytes()), through);
    }
}
