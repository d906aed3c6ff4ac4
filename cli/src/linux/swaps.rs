//! `/proc/swaps`: what the kernel swaps to.

/// One swap area in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The device's or file's path.
    pub path: String,
    /// Bytes in use.
    pub used: u64,
    /// The priority; negative ones were given by the kernel.
    pub priority: i32,
}

/// Reads the file; lines that mean nothing are passed over.
pub fn parse(text: &str) -> Vec<Swap> {
    text.lines().skip(1).filter_map(line).collect()
}

fn line(line: &str) -> Option<Swap> {
    let mut fields = line.split_whitespace();
    let path = unescape(fields.next()?);
    let [_kind, _size, used, priority] = std::array::from_fn(|_| fields.next());
    let used: u64 = used?.parse().ok()?;
    Some(Swap { path, used: used.checked_mul(1024)?, priority: priority?.parse().ok()? })
}

/// Undoes the kernel's `\040` for characters that would break a line apart.
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(value) => {
                bytes.push(value);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn areas_are_read_with_their_priorities() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                    /dev/nvme0n1p2                          partition\t8388604\t\t1024\t\t-2\n\
                    /my\\040swap                             file\t\t1048572\t\t0\t\t10\n";
        assert_eq!(
            parse(text),
            [
                Swap { path: "/dev/nvme0n1p2".into(), used: 1 << 20, priority: -2 },
                Swap { path: "/my swap".into(), used: 0, priority: 10 },
            ]
        );
    }

    #[test]
    fn no_swap_is_no_area() {
        assert_eq!(parse("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"), []);
        assert_eq!(parse(""), []);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in ".*") {
            let _ = parse(&text);
            let _ = unescape(&text);
        }
    }
}
