//! The command line file.

use alloc::vec::Vec;

/// The longest file that is looked at.
pub const LONGEST: usize = 4096;

/// Why a command line cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLineError {
    /// The kernel takes no more than `most` bytes.
    Long {
        /// Bytes that it is.
        bytes: usize,
        /// Bytes that the kernel takes.
        most: usize,
    },
    /// There is a zero byte in it: it is no text.
    Zero,
}

impl core::fmt::Display for CommandLineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Long { bytes, most } => {
                write!(f, "it has {bytes} bytes, and the kernel takes {most}")
            }
            Self::Zero => write!(f, "it is no text"),
        }
    }
}

/// The file as a command line: its lines become one, and words of the reader's
/// own that name devices follow.
pub fn make(file: &[u8], more: &str, most: u32) -> Result<Vec<u8>, CommandLineError> {
    if file.contains(&0) {
        return Err(CommandLineError::Zero);
    }
    let mut line = Vec::new();
    let devices =
        more.split_ascii_whitespace().filter(|word| word.starts_with("virtio_mmio.device="));
    let words = file.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for word in words.chain(devices.map(str::as_bytes)) {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(word);
    }
    let most = most as usize;
    if line.len() > most {
        return Err(CommandLineError::Long { bytes: line.len(), most });
    }
    Ok(line)
}

/// Whether the command line has this word.
pub fn has(line: &[u8], word: &str) -> bool {
    line.split(|&byte| byte == b' ').any(|one| one == word.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_become_one_and_devices_follow() {
        let more = "fallback=halt virtio_mmio.device=512@0xfeb00000:5";
        let line = make(b"root=/dev/vda2 ro\n console=ttyS0\r\n", more, 2047).unwrap();
        let text = "root=/dev/vda2 ro console=ttyS0 virtio_mmio.device=512@0xfeb00000:5";
        assert_eq!(line, text.as_bytes());
        assert!(has(&line, "ro") && !has(&line, "root"));
    }

    #[test]
    fn what_is_no_command_line_is_refused() {
        assert_eq!(make(b"a\0b", "", 10), Err(CommandLineError::Zero));
        let long = CommandLineError::Long { bytes: 3, most: 2 };
        assert_eq!(make(b"abc", "", 2), Err(long));
    }

    proptest! {
        #[test]
        fn a_line_has_no_zero_and_keeps_to_its_length(
            file in prop::collection::vec(any::<u8>(), 0..200),
            most in 0u32..100,
        ) {
            if let Ok(line) = make(&file, "", most) {
                prop_assert!(line.len() <= most as usize && !line.contains(&0));
            }
        }
    }
}
