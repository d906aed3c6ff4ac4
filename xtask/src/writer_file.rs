//! The built `writer.elf`: what it takes, and the same program as a bzImage.

use crate::error::Error;
use object::elf::{FileHeader64, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection};

/// The section with the headers that go before the image
/// (writer-kernel/src/entry/linux/header.S).
const HEADERS: &str = ".bzimage";

/// Where the image begins in `writer.elf`: the Multiboot2 header has loaders
/// take it from there as it is.
const IMAGE_OFFSET: u64 = 0x1000;

/// A built `writer.elf`.
pub struct Writer<'a> {
    bytes: &'a [u8],
    file: object::File<'a>,
    /// What is loaded.
    segments: Vec<&'a ProgramHeader64<Endianness>>,
    endian: Endianness,
}

impl<'a> Writer<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = FileHeader64::<Endianness>::parse(bytes).map_err(not_elf)?;
        let endian = header.endian().map_err(not_elf)?;
        let segments = header.program_headers(endian, bytes).map_err(not_elf)?;
        let segments = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
        let file = object::File::parse(bytes).map_err(not_elf)?;
        Ok(Self { bytes, file, segments: segments.collect(), endian })
    }

    /// Where it is loaded if nobody says otherwise.
    fn start(&self) -> Result<u64, Error> {
        let starts = self.segments.iter().map(|segment| segment.p_paddr(self.endian));
        starts.min().ok_or_else(|| Error::Writer("loads nothing".into()))
    }

    /// Bytes of memory that the program takes when it is loaded.
    pub fn window_bytes(&self) -> Result<u64, Error> {
        let end = |segment: &&ProgramHeader64<Endianness>| {
            segment.p_paddr(self.endian) + segment.p_memsz(self.endian)
        };
        Ok(self.segments.iter().map(end).max().unwrap_or_default() - self.start()?)
    }

    /// The same program as a bzImage that is an application for UEFI as well.
    pub fn bzimage(&self) -> Result<Vec<u8>, Error> {
        let start = self.start()?;
        let headers = self.file.section_by_name(HEADERS);
        let headers = headers.ok_or_else(|| Error::Writer(format!("has no section {HEADERS}")))?;
        let headers = headers.data().map_err(not_elf)?;
        let mut image = Vec::new();
        for segment in &self.segments {
            let (from, bytes) = segment.file_range(self.endian);
            let at = segment.p_paddr(self.endian) - start;
            if from != IMAGE_OFFSET + at {
                let words =
                    format!("has the part at {at:#x} of its image at {from:#x} of the file");
                return Err(Error::Writer(words));
            }
            let data = self.bytes.get(from as usize..(from + bytes) as usize);
            let data = data.ok_or_else(|| Error::Writer("is cut short".into()))?;
            image.resize(at as usize, 0);
            image.extend_from_slice(data);
        }
        Ok([headers, &image].concat())
    }
}

fn not_elf(error: object::Error) -> Error {
    Error::Writer(error.to_string())
}
