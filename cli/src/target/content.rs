//! What lies on a target, and whether it may be overwritten.

use super::device::Device;
use super::direct::{Direct, Page};
use crate::error::Result;
use dormouse_handoff::checksum::Nonce;
use dormouse_handoff::image::{Header, HeaderError, Kind, Layout, State};
use dormouse_handoff::units::PAGE_SIZE;

/// Bytes at either end that must be zero for a device to count as blank.
pub const EDGE: u64 = 1 << 20;

/// Where a swap area's signature ends its first page (Linux
/// include/linux/swap.h, `union swap_header`).
const SWAP_SIGNATURE: usize = PAGE_SIZE as usize - 10;

/// What lies on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The first and the last MiB are zero.
    Blank,
    /// A swap area.
    Swap,
    /// A swap area into which Linux has hibernated.
    LinuxImage,
    /// An image of ours.
    Image(Box<Header>),
    /// What was an image of ours, or one of another version.
    BadImage(HeaderError),
    /// Something else; what, where it is known.
    Other(&'static str),
}

/// Signatures that are worth a name: where, what, whose.
const KNOWN: [(usize, &[u8], &str); 10] = [
    (512, b"EFI PART", "a GPT partition table"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"XFSB", "an XFS file system"),
    (1080, &[0x53, 0xef], "an ext2, ext3 or ext4 file system"),
    (536, b"LVM2 001", "an LVM volume"),
    (24, b"LVM2 001", "an LVM volume"),
    (3, b"NTFS    ", "an NTFS file system"),
    (82, b"FAT32   ", "a FAT file system"),
    (54, b"FAT", "a FAT file system"),
    (510, &[0x55, 0xaa], "a partition table or boot sector"),
];

impl Content {
    /// Recognises what lies on `device`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io).
    pub fn of(device: &Device, disk: &Direct) -> Result<Self> {
        let first = disk.read(0)?;
        if let Some(content) = Self::of_first_page(&first) {
            return Ok(content);
        }
        let last = (device.bytes() / PAGE_SIZE * PAGE_SIZE).saturating_sub(EDGE);
        for start in [0, last] {
            if !disk.is_zero(start..(start + EDGE).min(device.bytes()))? {
                return Ok(Self::Other("data of an unknown kind"));
            }
        }
        Ok(Self::Blank)
    }

    /// What the first page alone tells; `None` if it is all zero.
    fn of_first_page(page: &Page) -> Option<Self> {
        match Header::parse(&page.0) {
            Ok(header) => return Some(Self::Image(Box::new(header))),
            Err(HeaderError::None) => {}
            Err(error) => return Some(Self::BadImage(error)),
        }
        match &page.0[SWAP_SIGNATURE..] {
            b"SWAPSPACE2" | b"SWAP-SPACE" => return Some(Self::Swap),
            signature if is_hibernation(signature) => return Some(Self::LinuxImage),
            _ => {}
        }
        let known = KNOWN.iter().find(|(at, magic, _)| page.0[*at..].starts_with(magic));
        match known {
            Some((_, _, name)) => Some(Self::Other(name)),
            None if page.is_zero() => None,
            None => Some(Self::Other("data of an unknown kind")),
        }
    }

    /// Whether an image may take its place without being asked twice.
    pub fn is_free(&self) -> bool {
        match self {
            Self::Blank | Self::Swap => true,
            Self::Image(header) => !matches!(header.state(), State::Valid | State::Inert),
            Self::LinuxImage | Self::BadImage(_) | Self::Other(_) => false,
        }
    }

    /// The same where the snapshot `replaces` is to be overwritten.
    pub fn is_free_for(&self, replaces: Option<Nonce>) -> bool {
        self.is_free() || self.reusable().is_some_and(|header| Some(header.id) == replaces)
    }

    /// The reusable snapshot that lies there and would be woken.
    pub fn reusable(&self) -> Option<&Header> {
        match self {
            Self::Image(header)
                if header.kind() == Kind::Reusable && header.state() == State::Valid =>
            {
                Some(header)
            }
            _ => None,
        }
    }

    /// What it is, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Blank => "nothing".into(),
            Self::Swap => "a swap area".into(),
            Self::LinuxImage => "a system that Linux itself has hibernated".into(),
            Self::Image(header) => match header.state() {
                State::Valid if header.kind() == Kind::Reusable => {
                    format!("a reusable snapshot, generation {}", header.generation)
                }
                State::Valid => "an image of a sleeping system".into(),
                State::Inert => "a snapshot for inspection".into(),
                state => format!("a used-up image ({})", state.name()),
            },
            Self::BadImage(error) => format!("what was an image: {error}"),
            Self::Other(name) => (*name).into(),
        }
    }

    /// What the user can do where it is not free.
    pub fn advice(&self, path: &std::path::Path) -> String {
        let path = path.display();
        match self {
            Self::Image(header) if header.kind() == Kind::Once => {
                format!("wake that system, or give it up with `dormouse discard {path}`")
            }
            Self::Image(_) => {
                format!("if it is not needed any more: `dormouse discard {path}`")
            }
            Self::LinuxImage => "start that system once, so that it resumes".into(),
            _ => format!("if nothing on it is needed any more: `dormouse prepare {path} --erase`"),
        }
    }
}

/// Signatures of hibernation images in a swap area: Linux' own, TuxOnIce's and
/// uswsusp's.
fn is_hibernation(signature: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 4] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001"];
    SIGNATURES.iter().any(|known| signature.starts_with(known))
}

/// The page that belongs at the start of a target once no image lies there.
///
/// On a swap area that is its header; where an older image lies, the page that
/// it kept; otherwise there is none, and zeros stand for it.
///
/// # Errors
/// [`Error::Io`](crate::error::Error::Io).
pub fn page_to_keep(content: &Content, disk: &Direct) -> Result<Page> {
    match content {
        Content::Swap => disk.read(0),
        Content::Image(header) => {
            let page = disk.read(Layout::KEPT_PAGE)?;
            let intact = header.kept_page.length == PAGE_SIZE
                && header.kept_page.matches(header.seed(), &page.0).is_some();
            Ok(if intact { page } else { Page::zero() })
        }
        _ => Ok(Page::zero()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn page(at: usize, bytes: &[u8]) -> Page {
        let mut page = Page::zero();
        page.0[at..at + bytes.len()].copy_from_slice(bytes);
        page
    }

    #[test]
    fn swap_areas_are_free_and_hibernated_ones_are_not() {
        let swap = Content::of_first_page(&page(4086, b"SWAPSPACE2")).unwrap();
        assert_eq!(swap, Content::Swap);
        assert!(swap.is_free());
        let asleep = Content::of_first_page(&page(4086, b"S1SUSPEND")).unwrap();
        assert_eq!(asleep, Content::LinuxImage);
        assert!(!asleep.is_free());
    }

    #[test]
    fn only_a_valid_image_is_in_the_way() {
        let header = Header::begin([1; 16], Kind::Once, 512, 0, 100);
        let found = |state| {
            let page = page(0, header.with_state(state).as_bytes());
            Content::of_first_page(&page).unwrap().is_free()
        };
        assert!(!found(State::Valid));
        assert!(found(State::Writing) && found(State::Consumed) && found(State::Discarded));
    }

    #[test]
    fn snapshots_are_kept_until_they_are_thrown_away() {
        for kind in [Kind::Inspection, Kind::Reusable] {
            let header = Header::begin([1; 16], kind, 512, 0, 100).with_state(kind.committed());
            let content = Content::of_first_page(&page(0, header.as_bytes())).unwrap();
            assert!(!content.is_free() && content.words().contains("snapshot"), "{content:?}");
            assert!(content.advice("/dev/x".as_ref()).contains("dormouse discard /dev/x"));
        }
    }

    #[test]
    fn a_damaged_image_is_not_taken_for_free() {
        let mut page = page(0, Header::begin([1; 16], Kind::Once, 512, 0, 100).as_bytes());
        page.0[100] ^= 1;
        let content = Content::of_first_page(&page).unwrap();
        assert_eq!(content, Content::BadImage(HeaderError::Checksum));
        assert!(!content.is_free());
    }

    #[test]
    fn known_contents_are_named_and_never_free() {
        for (at, magic, name) in KNOWN {
            let content = Content::of_first_page(&page(at, magic)).unwrap();
            assert_eq!(content, Content::Other(name));
            assert!(!content.is_free());
        }
        assert_eq!(Content::of_first_page(&Page::zero()), None);
        assert!(!Content::of_first_page(&page(77, &[1])).unwrap().is_free());
    }
}
