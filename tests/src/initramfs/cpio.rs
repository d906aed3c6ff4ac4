//! The archive format that the kernel unpacks as its first root
//! (Linux Documentation/driver-api/early-userspace/buffer-format.rst,
//! "newc").

/// What a file is; the upper bits of its mode (inode(7)).
#[derive(Clone, Copy)]
enum Kind {
    Directory = 0o040_000,
    File = 0o100_000,
    Link = 0o120_000,
    CharacterDevice = 0o020_000,
}

/// An archive under way.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    count: u32,
}

impl Archive {
    /// Adds a directory; its parent must be there.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, Kind::Directory, 0o755, (0, 0), &[]);
    }

    /// Adds a file that everybody may run.
    pub fn program(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, Kind::File, 0o755, (0, 0), contents);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.entry(path, Kind::Link, 0o777, (0, 0), to.as_bytes());
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, number: (u32, u32)) {
        self.entry(path, Kind::CharacterDevice, 0o600, number, &[]);
    }

    /// The complete archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", Kind::File, 0, (0, 0), &[]);
        self.bytes
    }

    /// A head of 14 numbers in hexadecimal, the name, the contents, the last
    /// two each padded to a multiple of four.
    fn entry(&mut self, path: &str, kind: Kind, mode: u32, device: (u32, u32), contents: &[u8]) {
        let path = path.trim_start_matches('/');
        self.count += 1;
        let head = [
            self.count,            // inode
            kind as u32 | mode,    // mode
            0,                     // owner
            0,                     // group
            1,                     // links
            0,                     // time
            contents.len() as u32, // size
            0,                     // device the archive was made on, major
            0,                     // and minor
            device.0,              // major number of a device node
            device.1,              // and minor
            path.len() as u32 + 1, // length of the name with its zero byte
            0,                     // checksum, not used by this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for number in head {
            self.bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_begins_on_a_multiple_of_four() {
        let mut archive = Archive::default();
        archive.directory("/bin");
        archive.program("/bin/a", b"12345");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes).unwrap();
        let starts: Vec<_> = text.match_indices("070701").map(|(at, _)| at % 4).collect();
        assert_eq!(starts, [0, 0, 0]);
        assert!(text.contains("bin/a\0"));
    }
}
