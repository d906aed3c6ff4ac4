//! Lists of processors as the kernel writes them: `0-3,8` (Linux
//! Documentation/admin-guide/cputopology.rst).

/// Most processors that a kernel for x86-64 is built for (`CONFIG_NR_CPUS`).
pub const MAX_PROCESSORS: u32 = 8192;

/// The numbers in a list, as it has them; `None` where it is no such list.
pub fn parse(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MAX_PROCESSORS {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(parse("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse("0\n"), Some(vec![0]));
        assert_eq!(parse("\n"), Some(vec![]));
        for wrong in ["3-1", "0-", "a", "0-8192", "-", "0 1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_grow(text in "[0-9,-]{0,40}") {
            for number in parse(&text).unwrap_or_default() {
                prop_assert!(number < MAX_PROCESSORS);
            }
        }
    }
}
