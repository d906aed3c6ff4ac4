//! The image's states on the target: beginning, committing, opening, consuming.
//!
//! Each change of state is one write of one logical block and a flush. What
//! must be durable before it is flushed before it.

use crate::error::Error;
use crate::memory::Buffer;
use crate::stream::Stream;
use alloc::vec::Vec;
use dormouse_drivers::queue::BlockQueue;
use dormouse_handoff::checksum;
use dormouse_handoff::extents::{Extent, ExtentMap};
use dormouse_handoff::image::{
    Attempts, Carried, HEADER_BYTES, Header, JumpBack, Kind, Layout, Section, State,
};
use dormouse_handoff::plan::{self, CheckedPlan};
use dormouse_handoff::units::{Lba, PAGE_SIZE};
use zerocopy::{FromBytes, IntoBytes};

const PAGE: usize = PAGE_SIZE as usize;

/// Makes sure that this is the target that Linux meant, keeps its first page,
/// and begins an image there. From here on no older image can be woken.
pub fn begin(
    stream: &mut Stream<'_>,
    plan: &CheckedPlan<'_>,
    buffer: &mut Buffer,
) -> Result<Header, Error> {
    let kind = plan.image().ok_or(Error::Inconsistent("the plan asks for no image"))?;
    let layout_pages = plan.memory_pages();
    let layout = Layout::for_pages(layout_pages);
    if layout.total() > stream.capacity() {
        return Err(Error::TooSmall { needed: layout.total(), capacity: stream.capacity() });
    }
    stream.read(0, buffer, PAGE)?;
    if checksum::plain(&buffer.bytes()[..PAGE]) != plan.target.first_page_checksum {
        return Err(Error::FirstPageChanged);
    }

    let block_size = plan.target.block_size;
    let mut header = Header::begin(plan.nonce, kind, block_size, plan.created, layout_pages);
    (header.generation, header.series) = (plan.generation, plan.series);
    header.kept_page =
        write_section(stream, buffer, &header, Layout::KEPT_PAGE, &plan.target.kept_page)?;
    // The kept page must be safe before the only other copy is overwritten.
    stream.flush()?;
    // The header's block alone: a page of several blocks may be torn, and then
    // nothing would tell where the old one is kept.
    let header = write_state(stream, buffer, &header, State::Writing)?;
    let block = stream.geometry().block_size as usize;
    if block < PAGE {
        // With it goes the signature that `swapon` looks for; durable at the
        // commit.
        buffer.bytes_mut()[..PAGE].fill(0);
        stream.write(block as u64, buffer, PAGE - block)?;
    }
    Ok(header)
}

/// Writes a piece of the image at its fixed offset.
pub fn write_section(
    stream: &mut Stream<'_>,
    buffer: &mut Buffer,
    header: &Header,
    offset: u64,
    bytes: &[u8],
) -> Result<Section, Error> {
    let room = buffer.bytes_mut();
    if bytes.len() > room.len() {
        return Err(Error::NoBuffers);
    }
    room[..bytes.len()].copy_from_slice(bytes);
    let whole = bytes.len().next_multiple_of(PAGE).min(room.len());
    room[bytes.len()..whole].fill(0);
    if !bytes.is_empty() {
        stream.write(offset, buffer, whole)?;
    }
    Ok(Section::of(header.seed(), bytes))
}

/// Rewrites the header alone, and flushes.
///
/// Everything that the new state promises must have been written before; it is
/// flushed first.
pub fn change_state(
    stream: &mut Stream<'_>,
    buffer: &mut Buffer,
    header: &Header,
    state: State,
) -> Result<Header, Error> {
    stream.flush()?;
    write_state(stream, buffer, header, state)
}

/// Writes `Discarded` over a header whose write failed: it may have got to the
/// disk all the same. Nothing is flushed before, because nothing is promised,
/// and because a disk that does not flush may still write.
pub fn undo(stream: &mut Stream<'_>, buffer: &mut Buffer, header: &Header) -> Result<(), Error> {
    write_state(stream, buffer, header, State::Discarded).map(|_| ())
}

fn write_state(
    stream: &mut Stream<'_>,
    buffer: &mut Buffer,
    header: &Header,
    state: State,
) -> Result<Header, Error> {
    let header = header.with_state(state);
    let block = stream.geometry().block_size as usize;
    buffer.bytes_mut()[..block].fill(0);
    buffer.bytes_mut()[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    stream.write(0, buffer, block)?;
    stream.flush()?;
    Ok(header)
}

/// Counts one more attempt to wake the image, durably, unless all that the
/// plan allows were begun; the count as it is on the disk now.
///
/// `renew` makes what is handed on to the next wake-up out of what the last one
/// handed on to this.
pub fn count_attempt(
    stream: &mut Stream<'_>,
    buffer: &mut Buffer,
    header: &Header,
    allowed: u32,
    renew: impl FnOnce(&Carried) -> Carried,
) -> Result<Attempts, Error> {
    let block = stream.geometry().block_size as usize;
    stream.read(Layout::ATTEMPTS, buffer, block)?;
    let before = Attempts::of(&header.id, buffer.bytes());
    if before.begun >= allowed {
        return Err(Error::Attempts { begun: before.begun });
    }
    let now = before.one_more(renew(&before.carried));
    write_attempts(stream, buffer, &now)?;
    stream.flush()?;
    Ok(now)
}

/// The point of no return, right before the old kernel is entered: the image is
/// used up, durably. A reusable one is not, but this attempt came through, so
/// the count of those that did not begins anew.
pub fn consume(
    stream: &mut Stream<'_>,
    buffer: &mut Buffer,
    header: &Header,
    attempts: &Attempts,
) -> Result<(), Error> {
    match header.kind() {
        Kind::Reusable => {
            write_attempts(stream, buffer, &attempts.through())?;
            stream.flush()
        }
        Kind::Once | Kind::Inspection => {
            change_state(stream, buffer, header, State::Consumed).map(drop)
        }
    }
}

/// Writes the count of attempts, without a flush.
pub fn write_attempts(
    stream: &mut Stream<'_>,
    buffer: &mut Buffer,
    attempts: &Attempts,
) -> Result<(), Error> {
    let block = stream.geometry().block_size as usize;
    let bytes = buffer.bytes_mut();
    bytes[..block].fill(0);
    bytes[..attempts.as_bytes().len()].copy_from_slice(attempts.as_bytes());
    stream.write(Layout::ATTEMPTS, buffer, block)
}

/// An image whose header, plan and jump-back state have been read and checked.
pub struct Opened {
    /// The header.
    pub header: Header,
    /// How to get back into the old kernel.
    pub jump_back: JumpBack,
    plan: Vec<u64>,
}

impl Opened {
    /// The plan that the image was written by.
    pub fn plan(&self) -> Result<CheckedPlan<'_>, Error> {
        Ok(CheckedPlan::parse(self.plan.as_bytes())?)
    }
}

/// Opens the image that begins at block `start` of `device`, to be resumed:
/// valid, that is. Writes nothing.
pub fn open(device: &mut dyn BlockQueue, start: Lba, buffer: &mut Buffer) -> Result<Opened, Error> {
    open_in(device, start, buffer, State::Valid)
}

/// Opens the image that begins at block `start` of `device`, which must be in
/// this state. Writes nothing.
pub fn open_in(
    device: &mut dyn BlockQueue,
    start: Lba,
    buffer: &mut Buffer,
    state: State,
) -> Result<Opened, Error> {
    let geometry = device.geometry();
    // Until the plan is known, the image is taken to go on from its start: the
    // parts that are read here lie in the first extent.
    let page_blocks = PAGE_SIZE / u64::from(geometry.block_size);
    let blocks = geometry.blocks.saturating_sub(start.0) / page_blocks * page_blocks;
    let extent = [Extent { start, blocks }];
    let extents = ExtentMap::new(&extent, geometry.block_size, geometry.blocks)?;
    let mut stream = Stream::new(device, extents)?;

    stream.read(0, buffer, PAGE)?;
    let header = Header::parse(buffer.bytes())?;
    if header.state() != state {
        return Err(Error::NotValid(header.state()));
    }
    if header.block_size != geometry.block_size {
        return Err(Error::BlockSize { device: geometry.block_size, expected: header.block_size });
    }
    let bytes = read_section(&mut stream, buffer, &header, Layout::JUMP_BACK, header.jump_back)
        .ok_or(Error::Section("jump-back state"))??;
    let (jump_back, _) =
        JumpBack::read_from_prefix(bytes).map_err(|_| Error::Section("jump-back state"))?;
    let bytes = read_section(&mut stream, buffer, &header, Layout::PLAN, header.plan)
        .ok_or(Error::Section("plan"))??;
    let mut words = alloc::vec![0u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    let opened = Opened { header, jump_back, plan: words };

    let plan = opened.plan()?;
    if plan.extents().extents()[0].start != start {
        return Err(Error::Elsewhere);
    }
    check_disk(device, &plan)?;
    if plan.nonce != header.id || plan.memory_pages() != header.layout_pages {
        return Err(Error::Inconsistent("header and plan are of different images"));
    }
    Ok(opened)
}

/// Whether this is the disk that the plan's image was written to.
pub fn check_disk(device: &dyn BlockQueue, plan: &CheckedPlan<'_>) -> Result<(), Error> {
    let same = plan.target.device_blocks == device.geometry().blocks
        && plan::text(&plan.target.serial) == device.identity().serial;
    if same { Ok(()) } else { Err(Error::Elsewhere) }
}

/// Reads a piece of the image from its fixed offset. `None`: it is damaged.
fn read_section<'b>(
    stream: &mut Stream<'_>,
    buffer: &'b mut Buffer,
    header: &Header,
    offset: u64,
    section: Section,
) -> Option<Result<&'b [u8], Error>> {
    let length = usize::try_from(section.length).ok()?;
    if length == 0 || length.next_multiple_of(PAGE) > buffer.bytes().len() {
        return None;
    }
    if let Err(error) = stream.read(offset, buffer, length.next_multiple_of(PAGE)) {
        return Some(Err(error));
    }
    section.matches(header.seed(), buffer.bytes()).map(Ok)
}

/// The writer's log, as far as it fits `buffer`; empty if it is damaged or
/// cannot be read: it keeps nobody from waking.
pub fn read_log<'b>(stream: &mut Stream<'_>, buffer: &'b mut Buffer, header: &Header) -> &'b [u8] {
    match read_section(stream, buffer, header, Layout::LOG, header.log) {
        Some(Ok(log)) => log,
        Some(Err(error)) => {
            log::warn!("the writer's log is lost: {error}");
            &[]
        }
        None => &[],
    }
}
